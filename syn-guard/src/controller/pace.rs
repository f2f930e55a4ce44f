//! How often accept queues are looked at.

use std::time::Duration;

/// With few listeners, while a service protects.
pub const FAST: Duration = Duration::from_millis(100);
/// With ever so many. The data path looks for itself once what it was told of a
/// full accept queue is a second old.
const SLOWEST: Duration = Duration::from_millis(500);
/// They may take one in so many of a core's nanoseconds.
const SHARE: u32 = 200;

/// How long to wait after a look that took so much of a core's time.
#[must_use]
pub fn pause(took: Duration) -> Duration {
    took.saturating_mul(SHARE).clamp(FAST, SLOWEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_take_no_more_than_their_share_and_are_never_rare() {
        for (took_us, pause_ms) in [
            (0, 100),
            (500, 100),
            (1_000, 200),
            (2_000, 400),
            (9_000, 500),
        ] {
            let took = Duration::from_micros(took_us);
            assert_eq!(pause(took), Duration::from_millis(pause_ms), "{took_us}");
        }
        assert_eq!(pause(Duration::MAX), SLOWEST);
    }
}
