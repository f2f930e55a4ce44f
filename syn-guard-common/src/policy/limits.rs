//! At what a service starts to protect, and below what it is calm.

use super::percent_of;

/// SYNs a second that may go unanswered without anybody calling it a
/// flood, unless the operator says otherwise: the background noise of a public
/// address is far below.
const LEAST_UNANSWERED_RATE: u64 = 1_000;

/// The least limit of half-open connections, unless the operator says otherwise: a port scan
/// or some lost handshakes leave fewer, and a listener with a smaller queue is served by the
/// kernel's own cookies as soon as that is full.
pub const LEAST_HALF_OPEN: u64 = 16;

/// A limit with hysteresis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// Reached from this value on.
    pub on: u64,
    /// Calm is less than this.
    pub off: u64,
}

impl Threshold {
    /// Never reached, always calm.
    pub const NEVER: Self = Self {
        on: u64::MAX,
        off: u64::MAX,
    };

    /// Reached at `on` (at least 1), calm below `calm_percent` of that.
    #[must_use]
    pub const fn new(on: u64, calm_percent: u64) -> Self {
        let on = if on == 0 { 1 } else { on };
        let off = percent_of(on, calm_percent);
        Self {
            on,
            off: if off == 0 {
                1
            } else if off > on {
                on
            } else {
                off
            },
        }
    }

    /// The same, but 0 stands for no limit.
    const fn or_never(on: u64, calm_percent: u64) -> Self {
        if on == 0 {
            Self::NEVER
        } else {
            Self::new(on, calm_percent)
        }
    }

    /// Whether a value reaches it.
    #[must_use]
    pub const fn is_reached(self, value: u64) -> bool {
        value >= self.on && self.on != u64::MAX
    }

    /// Whether a value is calm.
    #[must_use]
    pub const fn is_calm(self, value: u64) -> bool {
        value < self.off || self.off == u64::MAX
    }
}

/// What the operator wants of a service's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Half-open connections; none: half of the backlog, at least [`LEAST_HALF_OPEN`].
    pub half_open: Option<u64>,
    /// Half-open connections retransmitted at least once; none: four fifths of
    /// the limit of half-open ones; 0: no limit.
    pub retransmitted: Option<u64>,
    /// Connections refused a second for want of backlog; 0: no limit.
    pub refused_rate: u64,
    /// Unanswered SYNs a second; none: as many as half-open connections, but at
    /// least 1,000; 0: no limit.
    pub unanswered_rate: Option<u64>,
    /// Calm is below this share of a limit, percent.
    pub calm_percent: u64,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            half_open: None,
            retransmitted: None,
            refused_rate: 5,
            unanswered_rate: None,
            calm_percent: 50,
        }
    }
}

/// The limits of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Half-open connections.
    pub half_open: Threshold,
    /// Half-open connections that were retransmitted at least once.
    pub retransmitted: Threshold,
    /// Connections a second that the stack refused for want of backlog.
    pub refused: Threshold,
    /// Unanswered SYNs a second.
    pub unanswered: Threshold,
    /// From this many half-open connections in the kernel on a service may be
    /// the one whose connections are refused.
    pub near: u64,
}

impl Limits {
    /// For a listener's `backlog`; half-open connections never above `capacity`,
    /// which is as many as can be told apart.
    #[must_use]
    pub fn new(backlog: u64, wanted: &Wanted, capacity: u64) -> Self {
        let calm = wanted.calm_percent;
        let half_open = wanted
            .half_open
            .unwrap_or((backlog / 2).max(LEAST_HALF_OPEN))
            .clamp(1, capacity.max(1));
        let half_open = Threshold::new(half_open, calm);
        let retransmitted = wanted
            .retransmitted
            .unwrap_or_else(|| percent_of(half_open.on, 80).max(1));
        let unanswered = wanted
            .unanswered_rate
            .unwrap_or(half_open.on.max(LEAST_UNANSWERED_RATE));
        Self {
            half_open,
            retransmitted: Threshold::or_never(retransmitted, calm),
            refused: Threshold::or_never(wanted.refused_rate, calm),
            unanswered: Threshold::or_never(unanswered, calm),
            // The stack refuses when its backlog is full, wherever the
            // operator put the limit.
            near: half_open.off.min((backlog / 2).max(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half_open(backlog: u64, max_half_open: Option<u64>, capacity: u64) -> Threshold {
        let wanted = Wanted {
            half_open: max_half_open,
            ..Wanted::default()
        };
        Limits::new(backlog, &wanted, capacity).half_open
    }

    #[test]
    fn the_limit_is_half_of_the_backlog_unless_it_is_set() {
        assert_eq!(half_open(511, None, 1000), Threshold { on: 255, off: 128 });
        assert_eq!(
            half_open(511, Some(100), 1000),
            Threshold { on: 100, off: 50 }
        );
        assert_eq!(half_open(65_536, None, 1000).on, 1000);
    }

    #[test]
    fn a_small_backlog_is_not_in_danger_for_a_port_scan() {
        for backlog in [0, 1, 5, 31] {
            assert_eq!(half_open(backlog, None, 1000).on, LEAST_HALF_OPEN);
        }
        assert_eq!(half_open(34, None, 1000).on, 17);
        assert_eq!(half_open(5, Some(2), 1000).on, 2);
        assert_eq!(half_open(5, None, 8).on, 8);
        assert_eq!(half_open(0, Some(0), 0), Threshold { on: 1, off: 1 });
    }

    #[test]
    fn the_other_limits_go_by_that_of_half_open_connections() {
        let limits = Limits::new(511, &Wanted::default(), 65_536);
        assert_eq!(limits.retransmitted, Threshold { on: 204, off: 102 });
        assert_eq!(limits.refused, Threshold { on: 5, off: 3 });
        assert_eq!(limits.unanswered, Threshold { on: 1000, off: 500 });
        assert_eq!(limits.near, 128);
        let large = Limits::new(8192, &Wanted::default(), 65_536);
        assert_eq!(large.unanswered.on, 4096);
    }

    #[test]
    fn a_limit_above_the_backlog_does_not_hide_that_it_is_full() {
        let wanted = Wanted {
            half_open: Some(10_000),
            ..Wanted::default()
        };
        assert_eq!(Limits::new(128, &wanted, 65_536).near, 64);
    }

    #[test]
    fn no_limit_is_never_reached_and_always_calm() {
        let wanted = Wanted {
            retransmitted: Some(0),
            refused_rate: 0,
            unanswered_rate: Some(0),
            ..Wanted::default()
        };
        let limits = Limits::new(511, &wanted, 65_536);
        for never in [limits.retransmitted, limits.refused, limits.unanswered] {
            assert!(!never.is_reached(u64::MAX) && never.is_calm(u64::MAX));
        }
    }

    #[test]
    fn calm_is_never_above_the_limit_and_never_impossible() {
        assert_eq!(Threshold::new(10, 0), Threshold { on: 10, off: 1 });
        assert_eq!(Threshold::new(10, 300), Threshold { on: 10, off: 10 });
        assert_eq!(Threshold::new(u64::MAX - 1, 100).off, u64::MAX - 1);
    }
}
