//! When the first step of the ladder is taken, and when it is taken back.

use super::percent_of;

/// Whether the system is to be hardened, told once a second.
///
/// It is from the moment when a service has `at_percent` of its limit of
/// half-open connections, until all had less than `calm_percent` of that for
/// the whole hold time.
#[derive(Clone, Copy, Debug)]
pub struct Ladder {
    at_percent: u64,
    calm_percent: u64,
    hold_ns: u64,
    hardened: bool,
    last_pressed_ns: u64,
}

impl Ladder {
    /// Not hardened yet. Shares are percent of a service's limit; `calm_percent`
    /// is percent of `at_percent`.
    #[must_use]
    pub const fn new(at_percent: u64, calm_percent: u64, hold_ns: u64) -> Self {
        Self {
            at_percent,
            calm_percent,
            hold_ns,
            hardened: false,
            last_pressed_ns: 0,
        }
    }

    /// What an earlier guard left hardened is so until it was calm for the hold
    /// time.
    pub const fn found_hardened(&mut self, now_ns: u64) {
        self.hardened = true;
        self.last_pressed_ns = now_ns;
    }

    /// Other limits, from now on. What is hardened stays so until it is calm by
    /// these.
    pub const fn set(&mut self, at_percent: u64, calm_percent: u64, hold_ns: u64) {
        self.at_percent = at_percent;
        self.calm_percent = calm_percent;
        self.hold_ns = hold_ns;
    }

    /// Whether the system is to be hardened now.
    #[must_use]
    pub const fn is_hardened(&self) -> bool {
        self.hardened
    }

    /// Takes the highest share that a service has of its limit, percent; a
    /// service that protects counts with its pressure
    /// ([`Load::pressure`](super::Load::pressure)), for with cookies it has no
    /// half-open connections. `Some(true)`: harden now; `Some(false)`: undo it
    /// now.
    #[must_use]
    pub fn second(&mut self, now_ns: u64, highest_share_percent: u64) -> Option<bool> {
        let off = percent_of(self.at_percent, self.calm_percent).max(1);
        if highest_share_percent >= off {
            self.last_pressed_ns = now_ns;
        }
        if !self.hardened && highest_share_percent >= self.at_percent.max(1) {
            self.hardened = true;
            return Some(true);
        }
        if self.hardened && now_ns.saturating_sub(self.last_pressed_ns) >= self.hold_ns {
            self.hardened = false;
            return Some(false);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn ladder() -> Ladder {
        Ladder::new(50, 50, 10 * SECOND)
    }

    #[test]
    fn it_hardens_at_the_share_and_undoes_it_after_the_hold() {
        let mut ladder = ladder();
        assert_eq!(ladder.second(0, 49), None);
        assert_eq!(ladder.second(SECOND, 50), Some(true));
        assert_eq!(ladder.second(2 * SECOND, 100), None, "already");
        for second in 3..12 {
            assert_eq!(ladder.second(second * SECOND, 24), None, "{second}");
        }
        assert_eq!(ladder.second(12 * SECOND, 24), Some(false));
        assert_eq!(ladder.second(13 * SECOND, 0), None, "already");
    }

    #[test]
    fn between_the_two_limits_nothing_changes() {
        let mut ladder = ladder();
        for second in 0..60 {
            assert_eq!(ladder.second(second * SECOND, 30), None);
        }
        assert_eq!(ladder.second(60 * SECOND, 50), Some(true));
        for second in 61..120 {
            assert_eq!(ladder.second(second * SECOND, 25), None, "{second}");
        }
    }

    #[test]
    fn what_was_left_hardened_is_undone_after_the_hold() {
        let mut ladder = ladder();
        ladder.found_hardened(5 * SECOND);
        assert_eq!(ladder.second(14 * SECOND, 0), None);
        assert_eq!(ladder.second(15 * SECOND, 0), Some(false));
        assert!(!ladder.is_hardened());
    }

    #[test]
    fn a_share_of_zero_hardens_nothing() {
        let mut ladder = Ladder::new(0, 0, 0);
        assert_eq!(ladder.second(0, 0), None);
        assert_eq!(ladder.second(SECOND, 1), Some(true));
        assert_eq!(ladder.second(2 * SECOND, 0), Some(false));
    }
}
