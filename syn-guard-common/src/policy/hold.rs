//! How long calm must last.

/// Waits for calm to last before a service stops protecting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    last_pressed_ns: u64,
}

impl Hold {
    /// Begins at `now_ns`, when the service started to protect.
    #[must_use]
    pub const fn new(now_ns: u64) -> Self {
        Self {
            last_pressed_ns: now_ns,
        }
    }

    /// Takes whether it is calm at `now_ns`; true when it was for `hold_ns`.
    #[must_use]
    pub const fn is_over(&mut self, now_ns: u64, is_calm: bool, hold_ns: u64) -> bool {
        if !is_calm {
            self.last_pressed_ns = now_ns;
            return false;
        }
        now_ns.saturating_sub(self.last_pressed_ns) >= hold_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calm_must_last_for_the_hold_time() {
        let mut hold = Hold::new(0);
        assert!(!hold.is_over(20, true, 30));
        assert!(!hold.is_over(29, false, 30), "pressure again");
        assert!(!hold.is_over(58, true, 30));
        assert!(hold.is_over(59, true, 30));
        assert!(!hold.is_over(60, true, 60), "another hold time");
    }

    #[test]
    fn without_a_hold_time_it_still_waits_for_calm() {
        let mut hold = Hold::new(0);
        assert!(!hold.is_over(1, false, 0));
        assert!(hold.is_over(2, true, 0));
    }
}
