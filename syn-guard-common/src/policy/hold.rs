//! How long calm must last.

use super::Limits;

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
    fn calm_must_last_for_the_hold_time() {
        let limits = Limits { on: 256, off: 128 };
        let mut hold = Hold::new(0, 30 * SECOND);
        assert!(!hold.is_over(20 * SECOND, 0, limits));
        assert!(!hold.is_over(29 * SECOND, 128, limits), "pressure again");
        assert!(!hold.is_over(58 * SECOND, 127, limits));
        assert!(hold.is_over(59 * SECOND, 127, limits));
    }
}
