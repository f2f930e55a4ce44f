//! Which flows a cookie went to lately.

use syn_guard_common::abi::{
    SENT_AGE, SENT_MANY, Sent, sent_cell, sent_done, sent_lately, sent_mark, sent_tried,
};

use crate::clock::jiffies;
use crate::maps::{COOKIE_SENT, COOKIES_SENT, COOKIES_TO_ALL};

/// Changes the flow's cell.
#[inline(always)]
fn change(hash: u32, change: impl FnOnce(u32) -> u32) {
    if let Some(cells) = COOKIE_SENT.get_ptr_mut(0) {
        // SAFETY: a cell of the map value. Two CPUs that change it at once lose
        // one change: two flows that share it get cookies in the same moment.
        unsafe {
            let cell = cells.cast::<u32>().add(sent_cell(hash));
            let before = cell.read_volatile();
            let after = change(before);
            if after != before {
                cell.write_volatile(after);
            }
        }
    }
}

/// A cookie goes to this flow.
#[inline(always)]
pub fn mark(hash: u32) {
    if !are_many() {
        change(hash, |cell| sent_mark(cell, hash, jiffies()));
    }
}

/// A segment of this flow carried no valid cookie.
#[inline(always)]
pub fn tried(hash: u32) {
    change(hash, |cell| sent_tried(cell, hash));
}

/// The flow's connection is there.
#[inline(always)]
pub fn done(hash: u32) {
    change(hash, |cell| sent_done(cell, hash));
}

/// Whether a cookie went to this flow lately.
#[inline(always)]
pub fn lately(hash: u32) -> Sent {
    if went_to_all() {
        return Sent::Maybe;
    }
    let Some(cells) = COOKIE_SENT.get_ptr(0) else {
        return Sent::Maybe;
    };
    // SAFETY: a cell of the map value.
    let cell = unsafe { cells.cast::<u32>().add(sent_cell(hash)).read_volatile() };
    sent_lately(cell, hash, jiffies())
}

/// Counts a cookie; whether so many went in this tick that this one need not be
/// remembered.
#[inline(always)]
fn are_many() -> bool {
    let Some(sent) = COOKIES_SENT.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: this CPU's own value.
    let [tick, count] = unsafe { &mut *sent };
    let now = u32::from(SENT_AGE.mark(jiffies()));
    if *tick != now {
        *tick = now;
        *count = 0;
    }
    if *count >= SENT_MANY {
        return true;
    }
    *count += 1;
    if *count == SENT_MANY
        && let Some(all) = COOKIES_TO_ALL.get_ptr_mut(0)
    {
        // SAFETY: a map value; a word is written whole, once a tick.
        unsafe { all.write_volatile(now) }
    }
    false
}

/// Whether lately so many cookies went that any flow may have got one.
#[inline(always)]
fn went_to_all() -> bool {
    let Some(all) = COOKIES_TO_ALL.get_ptr(0) else {
        return true;
    };
    // SAFETY: a map value; a word is read whole.
    let tick = unsafe { all.read_volatile() };
    tick != 0 && SENT_AGE.is_recent(tick as u8, SENT_AGE.mark(jiffies()))
}
