//! Leaky buckets that all CPUs share.

use syn_guard_common::bucket;

use crate::state::{add, fetch_add};

/// A level and the tick until which time was taken from it, both in a map value.
#[derive(Clone, Copy)]
pub struct Level {
    value: *mut u64,
    tick: *mut u64,
}

impl Level {
    /// The level at these places.
    ///
    /// # Safety
    /// Both must point into a map value.
    #[inline(always)]
    pub const unsafe fn new(value: *mut u64, tick: *mut u64) -> Self {
        Self { value, tick }
    }

    /// The level after time took away what it does.
    #[inline(always)]
    pub fn lowered(self, rate: u64, now_ns: u64) -> u64 {
        let now = bucket::tick(now_ns);
        // SAFETY: by the word of who called `new`.
        unsafe {
            let then = self.tick.read_volatile();
            let passed = bucket::passed(now, then);
            let level = bucket::level(self.value.read_volatile());
            if passed == 0 {
                return level;
            }
            if fetch_add(self.tick, passed) != then {
                // Another CPU was faster.
                add(self.tick, passed.wrapping_neg());
                return level;
            }
            let leak = bucket::leak(rate, passed);
            let less = if leak < level { leak } else { level };
            add(self.value, less.wrapping_neg());
            level - less
        }
    }

    /// One event more.
    #[inline(always)]
    pub fn raise(self) {
        // SAFETY: as above.
        unsafe { add(self.value, bucket::UNIT) }
    }

    /// One event less, if there is one.
    #[inline(always)]
    pub fn take_back(self) {
        // SAFETY: as above.
        unsafe {
            if bucket::level(self.value.read_volatile()) >= bucket::UNIT {
                add(self.value, bucket::UNIT.wrapping_neg());
            }
        }
    }
}
