//! The filters before the look-ups.

use syn_guard_common::abi::{
    CONNECTION_WORDS, ESTABLISHED_CELLS, HALF_OPEN_CELLS, JUST_COMPLETED_CELLS, NEAR_WORDS,
    SOURCE_AGE, SOURCE_CELLS, connection_mark, connection_marked, connection_word,
    established_cell, established_lately, is_connection_marked,
};
use syn_guard_common::cookie;

use crate::clock::{jiffies, now_ns};
use crate::maps::{
    COMPLETED_LATELY, CONNECTION_FILTER, ESTABLISHED_FILTER, HALF_OPEN_FILTER, JUST_COMPLETED,
    LAST_MARKED_SOURCE, NEAR_CONNECTION_FILTER, SOURCE_FILTER,
};
use crate::{handed, sent, state};

/// A packet of this flow goes to the stack: there may be a socket for it.
#[inline(always)]
pub fn mark_connection(hash: u32) {
    let (Some(near), Some(words)) = (
        NEAR_CONNECTION_FILTER.get_ptr_mut(0),
        CONNECTION_FILTER.get_ptr_mut(0),
    ) else {
        return;
    };
    let (mark, epoch) = (connection_mark(hash), cookie::epoch(now_ns()));
    // SAFETY: words of the map values.
    unsafe {
        let word = words
            .cast::<u64>()
            .add(connection_word::<CONNECTION_WORDS>(hash));
        let before = word.read_volatile();
        let after = connection_marked(before, mark, epoch);
        // What the large filter has, the small one got before.
        if after != before {
            let near = near.cast::<u64>().add(connection_word::<NEAR_WORDS>(hash));
            leave(near, mark, epoch);
            leave(word, mark, epoch);
        }
    }
}

/// Leaves a mark in a word. Written only when it changes, so that the CPUs share the
/// cache line.
///
/// # Safety
/// `word` must point into a map value.
#[inline(always)]
unsafe fn leave(word: *mut u64, mark: u64, epoch: u64) {
    // SAFETY: by the caller's word.
    unsafe {
        let before = word.read_volatile();
        let after = connection_marked(before, mark, epoch);
        if after == before {
            return;
        }
        // Where another CPU was first, the mark is added to what it wrote.
        if after == before | mark || state::exchange(word, before, after) != before {
            state::set(word, mark);
        }
    }
}

/// A SYN of this flow goes to the stack: there may be a socket for it, and the stack
/// may have answered with a cookie of its own.
#[inline(always)]
pub fn mark_syn(hash: u32) {
    mark_connection(hash);
    sent::mark(hash);
}

/// Whether there may be a socket for this flow.
#[inline(always)]
pub fn may_be_connection(hash: u32, now_ns: u64) -> bool {
    let (Some(near), Some(words)) = (
        NEAR_CONNECTION_FILTER.get_ptr(0),
        CONNECTION_FILTER.get_ptr(0),
    ) else {
        return true;
    };
    let (mark, epoch) = (connection_mark(hash), cookie::epoch(now_ns));
    // SAFETY: a word of the map value.
    let word = unsafe {
        near.cast::<u64>()
            .add(connection_word::<NEAR_WORDS>(hash))
            .read_volatile()
    };
    if !is_connection_marked(word, mark, epoch) {
        return false;
    }
    // SAFETY: as above.
    let word = unsafe {
        words
            .cast::<u64>()
            .add(connection_word::<CONNECTION_WORDS>(hash))
            .read_volatile()
    };
    is_connection_marked(word, mark, epoch)
}

/// This flow was found established.
#[inline(always)]
pub fn mark_established(hash: u32) {
    handed::seen(hash);
    sent::done(hash);
    if let Some(cells) = ESTABLISHED_FILTER.get_ptr_mut(0) {
        let index = hash as usize & (ESTABLISHED_CELLS - 1);
        let cell = established_cell(hash, jiffies());
        // SAFETY: a cell of the map value.
        unsafe { cells.cast::<u64>().add(index).write_volatile(cell) }
    }
}

/// This flow is not established any more.
#[inline(always)]
pub fn forget_established(hash: u32) {
    if let Some(cells) = ESTABLISHED_FILTER.get_ptr_mut(0) {
        let index = hash as usize & (ESTABLISHED_CELLS - 1);
        // SAFETY: a cell of the map value.
        unsafe { cells.cast::<u64>().add(index).write_volatile(0) }
    }
}

/// Whether this flow was found established lately.
#[inline(always)]
pub fn is_established(hash: u32) -> bool {
    let Some(cells) = ESTABLISHED_FILTER.get_ptr(0) else {
        return false;
    };
    let index = hash as usize & (ESTABLISHED_CELLS - 1);
    // SAFETY: a cell of the map value.
    let cell = unsafe { cells.cast::<u64>().add(index).read_volatile() };
    established_lately(cell, hash, jiffies())
}

/// The source of this hash has counters that its SYNs must go by.
#[inline(always)]
pub fn mark_has_counters(hash: u64) {
    let mark = SOURCE_AGE.mark(jiffies());
    if let Some(cells) = SOURCE_FILTER.get_ptr_mut(0) {
        // SAFETY: a cell of the map value. Written only when it changes, as below.
        unsafe {
            let cell = cells.cast::<u8>().add(source_cell(hash));
            if cell.read_volatile() != mark {
                cell.write_volatile(mark);
            }
        }
    }
    if let Some(last) = LAST_MARKED_SOURCE.get_ptr_mut(0) {
        // SAFETY: a map value; a word is read and written whole.
        unsafe {
            if last.read_volatile() != u32::from(mark) {
                last.write_volatile(u32::from(mark));
            }
        }
    }
}

/// Whether any source may have such counters.
#[inline(always)]
pub fn any_may_have_counters() -> bool {
    let Some(last) = LAST_MARKED_SOURCE.get_ptr(0) else {
        return true;
    };
    // SAFETY: as above.
    let last = unsafe { last.read_volatile() } as u8;
    SOURCE_AGE.is_recent(last, SOURCE_AGE.mark(jiffies()))
}

/// Whether the source of this hash may have such counters.
#[inline(always)]
pub fn may_have_counters(hash: u64) -> bool {
    let Some(cells) = SOURCE_FILTER.get_ptr(0) else {
        return true;
    };
    // SAFETY: a cell of the map value.
    let cell = unsafe { cells.cast::<u8>().add(source_cell(hash)).read_volatile() };
    SOURCE_AGE.is_recent(cell, SOURCE_AGE.mark(jiffies()))
}

#[inline(always)]
const fn source_cell(hash: u64) -> usize {
    (hash >> 44) as usize & (SOURCE_CELLS - 1)
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
    let Some(cells) = HALF_OPEN_FILTER.get_ptr(0) else {
        return true;
    };
    let cell = hash as usize & (HALF_OPEN_CELLS - 1);
    // SAFETY: a cell of the map value.
    unsafe { cells.cast::<u64>().add(cell).read_volatile() != 0 }
}

/// The handshake of this flow goes to the stack now, with this cookie.
#[inline(always)]
pub fn remember_completed(hash: u32, cookie: u32) {
    if let Some(cell) = JUST_COMPLETED.get_ptr_mut(hash & (JUST_COMPLETED_CELLS - 1)) {
        // SAFETY: this CPU's own value.
        unsafe { *cell = (u64::from(hash ^ cookie) << 32) | (jiffies() & 0xffff_ffff) }
    }
    if let Some(lately) = COMPLETED_LATELY.get_ptr_mut(0) {
        // SAFETY: this CPU's own value.
        let [tick, before, now] = unsafe { &mut *lately };
        match (jiffies() as u32).wrapping_sub(*tick) {
            0 => *now = now.wrapping_add(1),
            passed => {
                *before = if passed == 1 { *now } else { 0 };
                *now = 1;
                *tick = jiffies() as u32;
            }
        }
    }
}

/// Handshakes that went to the stack within the last two jiffies on this CPU.
#[inline(always)]
pub fn completed_lately() -> u32 {
    let Some(lately) = COMPLETED_LATELY.get_ptr(0) else {
        return 0;
    };
    // SAFETY: this CPU's own value.
    let [tick, before, now] = unsafe { *lately };
    match (jiffies() as u32).wrapping_sub(tick) {
        0 => before.wrapping_add(now),
        1 => now,
        _ => 0,
    }
}

/// Jiffies that a batch may take from here to the stack, which a busy machine
/// interrupts; less than a client waits before it sends again.
const BATCH_JIFFIES: u32 = 8;

/// Whether the handshake of this flow with this cookie went to the stack within the last
/// few jiffies on this CPU: another one's is of a client that comes again.
#[inline(always)]
pub fn just_completed(hash: u32, cookie: u32) -> bool {
    let Some(cell) = JUST_COMPLETED.get_ptr(hash & (JUST_COMPLETED_CELLS - 1)) else {
        return false;
    };
    // SAFETY: this CPU's own value.
    let cell = unsafe { *cell };
    (cell >> 32) as u32 == hash ^ cookie
        && (jiffies() as u32).wrapping_sub(cell as u32) <= BATCH_JIFFIES
}
