//! At how many half-open connections a service protects.

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
