//! When the kernel gives half-open connections up, also while
//! `net.ipv4.tcp_synack_retries` changes.

use syn_guard_common::life::{half_open_life_ns, timeouts};

/// How often SYN-ACKs were sent again, over time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lives {
    /// `tcp_synack_retries` from when on, `CLOCK_MONOTONIC` nanoseconds; the
    /// latest last.
    retries: Vec<(u64, u32)>,
    /// What they are without the guard's own hardening; none while it is not
    /// hardened.
    usual: Option<u32>,
}

impl Lives {
    /// What `tcp_synack_retries` was found to be at `now_ns`.
    pub fn found(&mut self, now_ns: u64, retries: u32) {
        if self.now() == Some(retries) {
            return;
        }
        self.retries.push((now_ns, retries));
        // What was before the longest life decides of nothing that is left.
        let oldest = now_ns.saturating_sub(half_open_life_ns(u32::MAX));
        while self
            .retries
            .get(1)
            .is_some_and(|(since, _)| *since < oldest)
        {
            self.retries.remove(0);
        }
    }

    /// What `tcp_synack_retries` will be again; none while it is as it was.
    pub const fn set_usual(&mut self, usual: Option<u32>) {
        self.usual = usual;
    }

    /// How long half-open connections live where the guard does not harden the
    /// system: a decision that is to last goes by that.
    #[must_use]
    pub fn usual_ns(&self) -> u64 {
        half_open_life_ns(self.usual.or(self.now()).unwrap_or(0))
    }

    /// Whether a half-open connection that began at `started_ns` is over. The
    /// kernel looks at `tcp_synack_retries` at each time-out of the SYN-ACK
    /// (`reqsk_timer_handler`, Linux 6.18): a connection ends with the first
    /// one that is not below what holds then.
    #[must_use]
    pub fn is_over(&self, started_ns: u64, now_ns: u64) -> bool {
        let mut at_ns = started_ns;
        for (timeout, ns) in timeouts().enumerate() {
            at_ns = at_ns.saturating_add(ns);
            if at_ns > now_ns {
                return false;
            }
            if timeout >= self.at(at_ns) as usize {
                return true;
            }
        }
        true
    }

    fn now(&self) -> Option<u32> {
        self.retries.last().map(|(_, retries)| *retries)
    }

    /// What held at that time; before the first that is known, what was found
    /// first.
    fn at(&self, at_ns: u64) -> u32 {
        self.retries
            .iter()
            .rev()
            .find(|(since, _)| *since <= at_ns)
            .or(self.retries.first())
            .map_or(u32::MAX, |(_, retries)| *retries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const START: u64 = 1_000 * SECOND;

    /// Seconds that a connection begun at `START` lives.
    fn life(lives: &Lives) -> u64 {
        (0..1_000)
            .find(|seconds| lives.is_over(START, START + seconds * SECOND))
            .unwrap()
    }

    fn lives(changes: &[(u64, u32)]) -> Lives {
        let mut lives = Lives::default();
        for (seconds, retries) in changes {
            lives.found(seconds * SECOND, *retries);
        }
        lives
    }

    #[test]
    fn without_a_change_it_is_the_life_of_the_setting() {
        for retries in [0, 1, 2, 5, 8] {
            let expected = half_open_life_ns(retries) / SECOND;
            assert_eq!(life(&lives(&[(0, retries)])), expected, "{retries}");
        }
        // Known only after the connection began.
        assert_eq!(life(&lives(&[(1_010, 5)])), 63);
    }

    #[test]
    fn fewer_retries_end_it_at_its_next_timeout() {
        for (at, expected) in [
            (0, 7),
            (3, 7),
            (7, 7),
            (8, 15),
            (14, 15),
            (16, 31),
            (40, 63),
        ] {
            let lives = lives(&[(0, 5), (1_000 + at, 2)]);
            assert_eq!(life(&lives), expected, "after {at} s");
        }
    }

    #[test]
    fn more_retries_keep_what_is_still_there() {
        assert_eq!(life(&lives(&[(0, 5), (900, 2), (1_004, 5)])), 63);
        assert_eq!(life(&lives(&[(0, 5), (900, 2), (1_009, 5)])), 7);
    }

    #[test]
    fn hardening_does_not_change_what_is_usual() {
        let mut lives = lives(&[(0, 5)]);
        lives.set_usual(Some(5));
        lives.found(10 * SECOND, 2);
        assert_eq!(lives.usual_ns(), 63 * SECOND);
        lives.set_usual(None);
        assert_eq!(lives.usual_ns(), 7 * SECOND);
    }

    #[test]
    fn what_was_long_ago_is_forgotten() {
        let mut lives = Lives::default();
        for hour in 0..1_000_u64 {
            lives.found(hour * 3_600 * SECOND * 24, (hour % 2) as u32);
        }
        assert!(lives.retries.len() < 4, "{lives:?}");
    }
}
