//! Which cookies' connections were handed to the stack: one is good once.

use syn_guard_common::abi::{
    HANDED_WAYS, handed_choice, handed_is_seen, handed_over, handed_seen, handed_set, is_replay,
};

use crate::clock::now_ns;
use crate::maps::HANDED_OVER;

/// The cells that a flow's cookies may be in.
#[inline(always)]
fn set(hash: u32) -> Option<*mut u64> {
    let cells = HANDED_OVER.get_ptr_mut(0)?;
    // SAFETY: a set of cells of the map value.
    Some(unsafe { cells.cast::<u64>().add(handed_set(hash)) })
}

/// More than any choice; as a mask it keeps each as it is.
const CHOICES: u64 = (1 << 19) - 1;

/// The same choice, of which the verifier remembers nothing: else it follows the
/// rest of the program for each cell that may be the best one. `cell` is any
/// number that it does not know.
#[inline(always)]
fn forget(choice: u64, cell: u64) -> u64 {
    let mut choice = choice;
    // SAFETY: changes one register, twice, to what it was.
    unsafe {
        core::arch::asm!("{0} ^= {1}", "{0} ^= {1}", inout(reg) choice, in(reg) cell);
    }
    choice & CHOICES
}

/// The best choice of a set for a cookie, and its cell.
#[inline(always)]
fn choose(set: *mut u64, hash: u32, cookie: u32, now_ns: u64) -> (u64, *mut u64) {
    let mut best = CHOICES;
    for way in 0..HANDED_WAYS {
        // SAFETY: a cell of the set; a word is read whole.
        let cell = unsafe { set.add(way).read_volatile() };
        let choice = forget(handed_choice(cell, way, hash, cookie, now_ns), cell);
        best = forget(if choice < best { choice } else { best }, cell);
    }
    // SAFETY: as above.
    let cell = unsafe { set.add(best as usize & (HANDED_WAYS - 1)) };
    (best, cell)
}

/// The connection of this cookie goes to the stack. Where it did before, the first
/// time counts.
#[inline(always)]
pub fn over(hash: u32, cookie: u32) {
    if let Some(set) = set(hash) {
        let now = now_ns();
        let (choice, cell) = choose(set, hash, cookie, now);
        if choice >= HANDED_WAYS as u64 {
            // SAFETY: a cell of the map value; a word is written whole.
            unsafe { cell.write_volatile(handed_over(hash, cookie, now)) }
        }
    }
}

/// A connection of this flow is there.
#[inline(always)]
pub fn seen(hash: u32) {
    if let Some(set) = set(hash) {
        for way in 0..HANDED_WAYS {
            // SAFETY: as above.
            unsafe {
                let cell = set.add(way);
                let before = cell.read_volatile();
                let after = handed_seen(before, hash);
                if after != before {
                    cell.write_volatile(after);
                }
            }
        }
    }
}

/// Whether the connection of this cookie was handed over before.
#[inline(always)]
pub fn was_over(hash: u32, cookie: u32) -> bool {
    let Some(set) = set(hash) else {
        return false;
    };
    choose(set, hash, cookie, now_ns()).0 < HANDED_WAYS as u64
}

/// Whether the connection of this cookie was handed over, and not seen since.
#[inline(always)]
pub fn is_waiting(hash: u32, cookie: u32) -> bool {
    let Some(set) = set(hash) else {
        return false;
    };
    let (choice, cell) = choose(set, hash, cookie, now_ns());
    // SAFETY: a cell of the map value; a word is read whole.
    choice < HANDED_WAYS as u64 && !handed_is_seen(unsafe { cell.read_volatile() })
}

/// Whether the connection of this cookie was there before.
#[inline(always)]
pub fn is_replayed(hash: u32, cookie: u32) -> bool {
    let Some(set) = set(hash) else {
        return false;
    };
    let now = now_ns();
    let (choice, cell) = choose(set, hash, cookie, now);
    // SAFETY: a cell of the map value; a word is read whole.
    choice < HANDED_WAYS as u64 && is_replay(unsafe { cell.read_volatile() }, now)
}
