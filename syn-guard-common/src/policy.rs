//! When a service protects, and when it stops.

/// Half-open connections at which a service starts and stops protecting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Protect from this many half-open connections on.
    pub on: u64,
    /// Calm is less pressure than this.
    pub off: u64,
}

impl Limits {
    /// Half of the listener's `backlog` unless the operator set
    /// `max_half_open`; never above `capacity`, the half-open connections
    /// that can be told apart, and never 0. Calm is half of that.
    #[must_use]
    pub fn new(backlog: u64, max_half_open: Option<u64>, capacity: u64) -> Self {
        let on = max_half_open
            .unwrap_or(backlog / 2)
            .clamp(1, capacity.max(1));
        Self {
            on,
            off: on.div_ceil(2),
        }
    }
}

/// What the pressure on a protecting service is computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Load {
    /// Half-open connections now.
    pub half_open: u64,
    /// Cookies sent for which no handshake completed, over `window_ns`.
    pub unanswered: u64,
    /// The time over which `unanswered` was counted, nanoseconds.
    pub window_ns: u64,
}

impl Load {
    /// Half-open connections there would be if the service did not protect:
    /// those there are, and every unanswered SYN for as long as the kernel
    /// would keep it (`life_ns`).
    #[must_use]
    pub fn pressure(&self, life_ns: u64) -> u64 {
        let kept =
            u128::from(self.unanswered) * u128::from(life_ns) / u128::from(self.window_ns.max(1));
        self.half_open
            .saturating_add(u64::try_from(kept).unwrap_or(u64::MAX))
    }
}

/// Waits for calm to last before a service stops protecting.
#[derive(Clone, Copy, Debug)]
pub struct Hold {
    hold_ns: u64,
    last_pressure_ns: u64,
}

impl Hold {
    /// Begins at `now_ns`, when the service started to protect; calm must
    /// last for `hold_ns`.
    #[must_use]
    pub const fn new(now_ns: u64, hold_ns: u64) -> Self {
        Self {
            hold_ns,
            last_pressure_ns: now_ns,
        }
    }

    /// Takes the pressure of `now_ns`; true when the service may stop
    /// protecting.
    #[must_use]
    pub fn is_over(&mut self, now_ns: u64, pressure: u64, limits: Limits) -> bool {
        if pressure >= limits.off {
            self.last_pressure_ns = now_ns;
        }
        now_ns.saturating_sub(self.last_pressure_ns) >= self.hold_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn the_limit_is_half_of_the_backlog_unless_it_is_set() {
        assert_eq!(Limits::new(511, None, 1000), Limits { on: 255, off: 128 });
        assert_eq!(
            Limits::new(511, Some(100), 1000),
            Limits { on: 100, off: 50 }
        );
        assert_eq!(Limits::new(65_536, None, 1000).on, 1000);
    }

    #[test]
    fn a_backlog_of_one_still_has_a_limit() {
        assert_eq!(Limits::new(1, None, 1000), Limits { on: 1, off: 1 });
        assert_eq!(Limits::new(0, Some(0), 0), Limits { on: 1, off: 1 });
    }

    #[test]
    fn three_unanswered_syns_a_second_would_refill_a_queue_of_128() {
        let load = Load {
            half_open: 0,
            unanswered: 15,
            window_ns: 5 * SECOND,
        };
        assert_eq!(load.pressure(63 * SECOND), 189);
        let flood = Load {
            unanswered: u64::MAX,
            window_ns: 0,
            half_open: 5,
        };
        assert_eq!(flood.pressure(u64::MAX), u64::MAX);
    }

    #[test]
    fn calm_must_last_for_the_hold_time() {
        let limits = Limits { on: 256, off: 128 };
        let mut hold = Hold::new(0, 30 * SECOND);
        assert!(!hold.is_over(20 * SECOND, 0, limits));
        assert!(!hold.is_over(29 * SECOND, 128, limits), "pressure again");
        assert!(!hold.is_over(58 * SECOND, 127, limits));
        assert!(hold.is_over(59 * SECOND, 127, limits));
    }
}
