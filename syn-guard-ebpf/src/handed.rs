//! Which cookies' connections were handed to the stack: one is good once.

use syn_guard_common::abi::{handed_cell, handed_over, handed_seen, is_replay, was_handed};

use crate::clock::now_ns;
use crate::maps::HANDED_OVER;

#[inline(always)]
fn cell(hash: u32) -> Option<*mut u64> {
    let cells = HANDED_OVER.get_ptr_mut(0)?;
    // SAFETY: a cell of the map value.
    Some(unsafe { cells.cast::<u64>().add(handed_cell(hash)) })
}

/// The connection of this cookie goes to the stack.
#[inline(always)]
pub fn over(hash: u32, cookie: u32) {
    if let Some(cell) = cell(hash) {
        // SAFETY: a cell of the map value; a word is written whole.
        unsafe { cell.write_volatile(handed_over(cell.read_volatile(), hash, cookie, now_ns())) }
    }
}

/// A connection of this flow is there.
#[inline(always)]
pub fn seen(hash: u32) {
    if let Some(cell) = cell(hash) {
        // SAFETY: as above.
        unsafe {
            let before = cell.read_volatile();
            let after = handed_seen(before, hash);
            if after != before {
                cell.write_volatile(after);
            }
        }
    }
}

/// Whether the connection of this cookie was handed over before.
#[inline(always)]
pub fn was_over(hash: u32, cookie: u32) -> bool {
    let Some(cell) = cell(hash) else {
        return false;
    };
    // SAFETY: as above.
    was_handed(unsafe { cell.read_volatile() }, hash, cookie, now_ns())
}

/// Whether the connection of this cookie was there before.
#[inline(always)]
pub fn is_replayed(hash: u32, cookie: u32) -> bool {
    let Some(cell) = cell(hash) else {
        return false;
    };
    // SAFETY: as above.
    is_replay(unsafe { cell.read_volatile() }, hash, cookie, now_ns())
}
