//! Counting, each CPU for itself.

use syn_guard_common::abi::{Reason, ServiceCounters};

use crate::maps::{SERVICE_COUNTERS, VERDICTS};

/// Counts a verdict.
#[inline(always)]
pub fn verdict(reason: Reason) {
    if let Some(count) = VERDICTS.get_ptr_mut(reason as u32) {
        // SAFETY: this CPU's own value; a program is not interrupted by
        // another run of itself on its CPU.
        unsafe { *count += 1 }
    }
}

/// Counts something of the service `slot`.
#[inline(always)]
pub fn service(slot: u32, count: impl FnOnce(&mut ServiceCounters)) {
    if let Some(counters) = SERVICE_COUNTERS.get_ptr_mut(slot) {
        // SAFETY: as above.
        count(unsafe { &mut *counters });
    }
}
