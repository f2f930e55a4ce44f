//! Which flows a cookie went to lately.

use syn_guard_common::abi::{
    LATE_TRIES, SENT_AGE, SENT_FLOOD_AGE, SENT_MANY, Sent, sent_are_few, sent_cell, sent_done,
    sent_lately, sent_mark, sent_tried,
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

/// Whether a cookie went to this flow lately. `tries`: a segment that may be any flow's
/// is one of few.
#[inline(always)]
pub fn lately(hash: u32, tries: bool) -> Sent {
    let now = SENT_AGE.mark(jiffies());
    let all = went_to_all();
    if SENT_FLOOD_AGE.is_recent(all, now) {
        return Sent::Maybe;
    }
    let Some(cells) = COOKIE_SENT.get_ptr(0) else {
        return Sent::Maybe;
    };
    // SAFETY: a cell of the map value.
    let cell = unsafe { cells.cast::<u32>().add(sent_cell(hash)).read_volatile() };
    let sent = sent_lately(cell, hash, jiffies());
    if sent != Sent::Maybe && SENT_AGE.is_recent(all, now) && (!tries || is_late_try()) {
        return Sent::Maybe;
    }
    sent
}

/// A tick, and in it on this CPU: cookies sent, segments that may be late.
#[inline(always)]
fn this_tick() -> Option<&'static mut [u32; 3]> {
    let sent = COOKIES_SENT.get_ptr_mut(0)?;
    // SAFETY: this CPU's own value.
    let sent = unsafe { &mut *sent };
    let now = u32::from(SENT_AGE.mark(jiffies()));
    if sent[0] != now {
        *sent = [now, 0, 0];
    }
    Some(sent)
}

/// Whether this CPU sent so few cookies in this tick that a look-up for each costs nothing to
/// speak of.
#[inline(always)]
pub fn are_few() -> bool {
    let Some(sent) = COOKIES_SENT.get_ptr(0) else {
        return false;
    };
    // SAFETY: this CPU's own value.
    let [tick, count, _] = unsafe { *sent };
    sent_are_few(tick, count, jiffies())
}

/// Counts a cookie; whether so many went in this tick that this one need not be
/// remembered.
#[inline(always)]
fn are_many() -> bool {
    let Some([tick, count, _]) = this_tick() else {
        return false;
    };
    if *count >= SENT_MANY {
        return true;
    }
    *count += 1;
    if *count == SENT_MANY
        && let Some(all) = COOKIES_TO_ALL.get_ptr_mut(0)
    {
        // SAFETY: a map value; a word is written whole, once a tick.
        unsafe { all.write_volatile(*tick) }
    }
    false
}

/// Counts a segment that may be late, as long as they are few in this tick.
#[inline(always)]
fn is_late_try() -> bool {
    let Some([_, _, late]) = this_tick() else {
        return false;
    };
    let few = *late < LATE_TRIES;
    *late += u32::from(few);
    few
}

/// The last tick in which so many cookies went that any flow may have got one; 0: none.
#[inline(always)]
fn went_to_all() -> u8 {
    let Some(all) = COOKIES_TO_ALL.get_ptr(0) else {
        return 0;
    };
    // SAFETY: a map value; a word is read whole.
    unsafe { all.read_volatile() as u8 }
}
