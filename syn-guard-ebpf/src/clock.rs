//! Time that costs next to nothing.

use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns};

use crate::maps::CLOCK;

/// The kernel's tick counter; the JIT reads it in place (Linux 5.6).
#[inline(always)]
pub fn jiffies() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_jiffies64() }
}

/// `CLOCK_MONOTONIC` nanoseconds, up to a jiffy late: what
/// `bpf_ktime_get_coarse_ns` (Linux 5.11) says, asked once a jiffy.
#[inline(always)]
pub fn now_ns() -> u64 {
    let jiffies = jiffies();
    let Some(clock) = CLOCK.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: this CPU's own value; a helper without arguments.
    unsafe {
        let clock = &mut *clock;
        if clock[0] != jiffies {
            *clock = [jiffies, bpf_ktime_get_coarse_ns()];
        }
        clock[1]
    }
}
