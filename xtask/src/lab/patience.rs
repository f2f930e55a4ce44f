//! Machines that are much slower than a real one.

use std::{sync::OnceLock, time::Duration};

/// How many times slower than on a real machine everything may be: the environment's
/// `SYN_GUARD_LAB_PATIENCE`, or 1. Waits of the lab last so many times longer, and honest clients
/// come so many times less often.
#[must_use]
pub fn patience() -> u32 {
    static PATIENCE: OnceLock<u32> = OnceLock::new();

    *PATIENCE.get_or_init(|| {
        std::env::var("SYN_GUARD_LAB_PATIENCE")
            .ok()
            .and_then(|factor| factor.parse().ok())
            .unwrap_or(1)
            .max(1)
    })
}

/// A wait as long as this machine needs.
#[must_use]
pub fn patiently(wait: Duration) -> Duration {
    wait * patience()
}
