//! The pressure on a service that protects.

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

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

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
}
