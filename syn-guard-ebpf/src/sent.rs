//! Which flows a cookie went to lately.

use syn_guard_common::abi::{Sent, sent_cell, sent_done, sent_lately, sent_mark, sent_tried};

use crate::clock::jiffies;
use crate::maps::COOKIE_SENT;

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
    change(hash, |cell| sent_mark(cell, hash, jiffies()));
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
    let Some(cells) = COOKIE_SENT.get_ptr(0) else {
        return Sent::Maybe;
    };
    // SAFETY: a cell of the map value.
    let cell = unsafe { cells.cast::<u32>().add(sent_cell(hash)).read_volatile() };
    sent_lately(cell, hash, jiffies())
}
