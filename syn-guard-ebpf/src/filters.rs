//! The filters before the look-ups.

use aya_ebpf::helpers::generated::bpf_jiffies64;
use syn_guard_common::abi::{
    CONNECTION_AGE, CONNECTION_CELLS, COOKIE_AGE, COOKIE_CELLS, HALF_OPEN_CELLS,
};

use crate::maps::{CONNECTION_FILTER, COOKIE_FILTER, HALF_OPEN_FILTER};
use crate::state;

/// The kernel's tick counter; the JIT reads it in place (Linux 5.6).
#[inline(always)]
pub fn jiffies() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_jiffies64() }
}

/// A packet of this flow goes to the stack: there may be a socket for it.
#[inline(always)]
pub fn mark_connection(hash: u32) {
    if let Some(cells) = CONNECTION_FILTER.get_ptr_mut(0) {
        let cell = hash as usize & (CONNECTION_CELLS - 1);
        let mark = CONNECTION_AGE.mark(jiffies());
        // SAFETY: a cell of the map value. Written only when it changes, so
        // that the CPUs share the cache line.
        unsafe {
            let cell = cells.cast::<u8>().add(cell);
            if cell.read_volatile() != mark {
                cell.write_volatile(mark);
            }
        }
    }
}

/// Whether there may be a socket for this flow.
#[inline(always)]
pub fn may_be_connection(hash: u32) -> bool {
    let Some(cells) = CONNECTION_FILTER.get_ptr(0) else { return true };
    let cell = hash as usize & (CONNECTION_CELLS - 1);
    // SAFETY: a cell of the map value.
    let cell = unsafe { cells.cast::<u8>().add(cell).read_volatile() };
    cell != 0 && CONNECTION_AGE.is_recent(cell, CONNECTION_AGE.mark(jiffies()))
}

/// A cookie goes out to this flow.
#[inline(always)]
pub fn mark_cookie(hash: u32) {
    if let Some(cells) = COOKIE_FILTER.get_ptr_mut(0) {
        let cell = hash as usize & (COOKIE_CELLS - 1);
        let mark = COOKIE_AGE.mark(jiffies());
        // SAFETY: a cell of the map value.
        unsafe { cells.cast::<u8>().add(cell).write_volatile(mark) }
    }
}

/// Whether a cookie may have gone out to this flow lately.
#[inline(always)]
pub fn may_have_cookie(hash: u32) -> bool {
    let Some(cells) = COOKIE_FILTER.get_ptr(0) else { return false };
    let cell = hash as usize & (COOKIE_CELLS - 1);
    // SAFETY: a cell of the map value.
    let cell = unsafe { cells.cast::<u8>().add(cell).read_volatile() };
    cell != 0 && COOKIE_AGE.is_recent(cell, COOKIE_AGE.mark(jiffies()))
}

/// Adds `change` (1 or -1) half-open connections to the flow's cell.
#[inline(always)]
pub fn count_half_open(hash: u32, change: i64) {
    if let Some(cells) = HALF_OPEN_FILTER.get_ptr_mut(0) {
        let cell = hash as usize & (HALF_OPEN_CELLS - 1);
        // SAFETY: a cell of the map value.
        unsafe { state::add(cells.cast::<u64>().add(cell), change as u64) }
    }
}

/// Whether this flow may be half-open.
#[inline(always)]
pub fn may_be_half_open(hash: u32) -> bool {
    let Some(cells) = HALF_OPEN_FILTER.get_ptr(0) else { return true };
    let cell = hash as usize & (HALF_OPEN_CELLS - 1);
    // SAFETY: a cell of the map value.
    unsafe { cells.cast::<u64>().add(cell).read_volatile() != 0 }
}
