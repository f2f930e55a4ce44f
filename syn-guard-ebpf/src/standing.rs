//! Whether cookies may go out for a listener.
//!
//! Where there are firewall rules only the stack's own answer says who gets a SYN, if
//! anybody does: the program of what leaves the host ([`crate::answers`]) sees it. And
//! whatever there is, a listener whose connections are lost again and again stands back.

use core::ptr::{addr_of, addr_of_mut};

use syn_guard_common::abi::{
    ELSEWHERE, Event, EventKind, Listener, Moment, Reason, asks, is_proved, listener_flags, moment,
    stands_back, with_hand_over, with_loss,
};
use syn_guard_common::address::Address;

use crate::maps::{EVENTS, LAST_FULL};
use crate::zero::zero;

/// For how long a cookie may come again, moments (`abi/handed`: `AGAIN`).
const TRIES: Moment = 64;

/// Why a SYN must go to the stack, if it must.
#[inline(always)]
pub fn why_not(listener: *mut Listener, flags: u32, now_ns: u64) -> Option<Reason> {
    let now = moment(now_ns);
    // SAFETY: a map value; a field is read whole.
    if unsafe { is_back(listener, now) } {
        return Some(Reason::StandsBack);
    }
    if flags & listener_flags::PROOF == 0 {
        return None;
    }
    // SAFETY: as above.
    let (proved_at, asked_at) = unsafe {
        (
            addr_of!((*listener).proved_at).read_volatile(),
            addr_of!((*listener).asked_at).read_volatile(),
        )
    };
    if is_proved(proved_at, now) && !asks(proved_at, asked_at, now) {
        return None;
    }
    // CPUs that ask in the same moment pass a SYN each.
    asked(listener, now);
    Some(Reason::Asked)
}

/// Whether a look-up of a flow tells what the stack does with it: not where packets are
/// led elsewhere on their way, and the look-up finds the listener in place of the
/// connection. Nothing is dropped for what it finds then.
#[inline(always)]
pub fn is_straight(listener: *mut Listener, now_ns: u64) -> bool {
    let now = moment(now_ns);
    // SAFETY: a map value; fields are read whole.
    unsafe {
        let flags = addr_of!((*listener).flags).read_volatile();
        let proved_at = addr_of!((*listener).proved_at).read_volatile();
        !is_back(listener, now) && (flags & listener_flags::PROOF == 0 || is_proved(proved_at, now))
    }
}

/// Whether it stands back now.
///
/// # Safety
/// `listener` must point to a map value.
#[inline(always)]
unsafe fn is_back(listener: *mut Listener, now: Moment) -> bool {
    // SAFETY: by the caller's word; fields are read whole.
    unsafe {
        let since = addr_of!((*listener).back_since).read_volatile();
        since != 0 && stands_back(since, addr_of!((*listener).stood_back).read_volatile(), now)
    }
}

/// The stack gets a SYN to this listener, and its answer is waited for.
#[inline(always)]
pub fn asked(listener: *mut Listener, now: Moment) {
    // SAFETY: a map value; written only when it changes.
    unsafe {
        let asked_at = addr_of_mut!((*listener).asked_at);
        if asked_at.read_volatile() != now {
            asked_at.write_volatile(now);
        }
    }
}

/// The stack answered a SYN as this listener.
#[inline(always)]
pub fn proved(listener: *mut Listener, now_ns: u64) {
    let now = moment(now_ns);
    // SAFETY: a map value; written only when it changes.
    unsafe {
        let proved_at = addr_of_mut!((*listener).proved_at);
        if proved_at.read_volatile() != now {
            proved_at.write_volatile(now);
        }
    }
}

/// Another listener, to which the port is led, answered a SYN.
#[inline(always)]
pub fn led_elsewhere(listener: *mut Listener) {
    // SAFETY: a map value; written only when it changes.
    unsafe {
        let proved_at = addr_of_mut!((*listener).proved_at);
        if proved_at.read_volatile() != ELSEWHERE {
            proved_at.write_volatile(ELSEWHERE);
        }
    }
}

/// Whether the last answer that told its listener was another's.
#[inline(always)]
pub fn is_elsewhere(listener: *mut Listener) -> bool {
    // SAFETY: a map value; a field is read whole.
    unsafe { addr_of!((*listener).proved_at).read_volatile() == ELSEWHERE }
}

/// What the stack's answer said as it left the host, to the clients of a route class.
#[inline(always)]
pub fn answered(listener: *mut Listener, mss: u16, ttl: u8, tos: u8) {
    // SAFETY: as above.
    unsafe {
        let seen = addr_of_mut!((*listener).answered_mss);
        if (*listener).answered_ttl != ttl || (*listener).answered_tos != tos {
            addr_of_mut!((*listener).answered_ttl).write_volatile(ttl);
            addr_of_mut!((*listener).answered_tos).write_volatile(tos);
        }
        if seen.read_volatile() != mss {
            seen.write_volatile(mss);
        }
    }
}

/// A connection is handed over.
#[inline(always)]
pub fn handed_over(listener: *mut Listener) {
    // SAFETY: as above. Two CPUs at once lose a count.
    unsafe {
        let lost = addr_of_mut!((*listener).lost);
        let before = lost.read_volatile();
        if before != 0 {
            let after = with_hand_over(before);
            lost.write_volatile(after);
            if after == 0 {
                addr_of_mut!((*listener).stood_back).write_volatile(0);
            }
        }
    }
}

/// A connection is handed over whose accept queue may be full: the stack may drop it, and
/// its cookie comes again.
#[inline(always)]
pub fn may_be_full(now_ns: u64) {
    let now = u32::from(moment(now_ns));
    if let Some(last) = LAST_FULL.get_ptr_mut(0) {
        // SAFETY: a map value; written only when it changes.
        unsafe {
            if last.read_volatile() != now {
                last.write_volatile(now);
            }
        }
    }
}

/// Whether an accept queue may have been full since the first of the tries that a cookie
/// has.
#[inline(always)]
fn was_full_lately(now: Moment) -> bool {
    LAST_FULL
        .get(0)
        .is_some_and(|last| *last != 0 && now.wrapping_sub(*last as Moment) < TRIES)
}

/// A cookie whose connection was handed over comes again, although the accept queue has
/// room: it is not there.
#[inline(always)]
pub fn came_again(listener: *mut Listener, own: &Address, slot: u32, now_ns: u64) {
    if !was_full_lately(moment(now_ns)) {
        lost(listener, own, slot, now_ns);
    }
}

/// A connection that was handed over was not there: the stack reset it.
#[inline(always)]
pub fn lost(listener: *mut Listener, own: &Address, slot: u32, now_ns: u64) {
    let now = moment(now_ns);
    // SAFETY: as above.
    if unsafe { is_back(listener, now) } {
        // A connection of before.
        return;
    }
    // SAFETY: as above.
    let began = unsafe {
        let lost = addr_of_mut!((*listener).lost);
        let (more, too_much) = with_loss(lost.read_volatile());
        lost.write_volatile(more);
        if too_much {
            let times = addr_of_mut!((*listener).stood_back);
            times.write_volatile(times.read_volatile().saturating_add(1));
            addr_of_mut!((*listener).back_since).write_volatile(now);
            addr_of_mut!((*listener).proved_at).write_volatile(0);
        }
        too_much
    };
    if began {
        let event = Event {
            at_ns: now_ns,
            value: zero(),
            limit: zero(),
            source: *own,
            slot,
            untracked: zero() as u32,
            kind: EventKind::StandsBack as u32,
            suppressed: zero() as u32,
        };
        // A full ring buffer loses the word, not the deed.
        let _ = EVENTS.output::<Event>(event, 0);
    }
}
