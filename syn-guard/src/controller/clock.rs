//! The data path's clock.

use nix::time::{ClockId, clock_gettime};

/// `CLOCK_MONOTONIC` in nanoseconds, as `bpf_ktime_get_coarse_ns` tells it, up
/// to a scheduler tick later.
#[must_use]
pub fn now_ns() -> u64 {
    // The clock is there on every Linux; 0 would only delay what waits for it.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| {
        let part = |value: i64| u64::try_from(value).unwrap_or(0);
        part(time.tv_sec()) * 1_000_000_000 + part(time.tv_nsec())
    })
}
