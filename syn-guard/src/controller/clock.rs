//! The data path's clock, and that of this thread's work.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// `CLOCK_MONOTONIC` in nanoseconds, as `bpf_ktime_get_coarse_ns` tells it, up
/// to a scheduler tick later.
#[must_use]
pub fn now_ns() -> u64 {
    // Nanoseconds of an uptime fill 64 bits after centuries.
    read(ClockId::CLOCK_MONOTONIC).as_nanos() as u64
}

/// How much of a core's time this thread took so far.
#[must_use]
pub fn worked() -> Duration {
    read(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

/// The clocks are there on every Linux; 0 would only delay what waits for one.
fn read(clock: ClockId) -> Duration {
    clock_gettime(clock).map_or(Duration::ZERO, Duration::from)
}
