//! The state of services, shared by all CPUs.

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_or, atomic_xadd, atomic_xchg};
use core::ptr::{addr_of, addr_of_mut};

use syn_guard_common::abi::{ALL_MARKED_NS, Event, EventKind, ServiceConfig, ServiceState, State};
use syn_guard_common::address::Address;

use crate::count;
use crate::level::Level;
use crate::maps::{
    ALL_MARKED, ANY_PROTECTING, EVENTS, SERVICE_BY_PORT, SERVICE_CONFIG, SERVICE_STATE, VALIDATING,
};
use crate::zero::zero;

/// A coarse time may be so late: a jiffy at HZ=100, and a margin.
const JIFFY_NS: u64 = 20_000_000;

/// A service's slot with its state.
#[derive(Clone, Copy)]
pub struct Service {
    /// Its slot.
    pub slot: u32,
    state: *mut ServiceState,
}

/// Adds to a count that other CPUs change too, for the effect only.
///
/// # Safety
/// `count` must point into a map value.
#[inline(always)]
pub unsafe fn add(count: *mut u64, value: u64) {
    // SAFETY: by the caller's word.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(count, value) };
}

/// Adds to a count that other CPUs change too; what it was before.
///
/// # Safety
/// `count` must point into a map value.
#[inline(always)]
pub unsafe fn fetch_add(count: *mut u64, value: u64) -> u64 {
    // SAFETY: by the caller's word. A relaxed one whose result is used is
    // compiled wrongly with alu32 (LLVM 22).
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::AcqRel }>(count, value) }
}

/// Sets bits of a word that other CPUs change too.
///
/// # Safety
/// `word` must point into a map value.
#[inline(always)]
pub unsafe fn set(word: *mut u64, bits: u64) {
    // SAFETY: by the caller's word.
    unsafe { atomic_or::<u64, u64, { AtomicOrdering::Relaxed }>(word, bits) };
}

/// Replaces a word; what it was.
///
/// # Safety
/// `word` must point into a map value.
#[inline(always)]
pub unsafe fn swap(word: *mut u32, value: u32) -> u32 {
    // SAFETY: by the caller's word.
    unsafe { atomic_xchg::<u32, { AtomicOrdering::AcqRel }>(word, value) }
}

/// Replaces a word if it is still `before`; what it was.
///
/// # Safety
/// `word` must point into a map value.
#[inline(always)]
pub unsafe fn exchange(word: *mut u64, before: u64, after: u64) -> u64 {
    const ORDER: AtomicOrdering = AtomicOrdering::AcqRel;
    // SAFETY: by the caller's word.
    unsafe { atomic_cxchg::<u64, ORDER, { AtomicOrdering::Acquire }>(word, before, after) }.0
}

/// Whether a service protects.
#[inline(always)]
pub fn any_protecting() -> bool {
    ANY_PROTECTING.get(0).is_some_and(|any| *any != 0)
}

/// Whether any service validates cookies.
#[inline(always)]
pub fn any_validating() -> bool {
    let Some(count) = VALIDATING.get_ptr(0) else {
        return true;
    };
    // SAFETY: a map value; a word is read whole.
    unsafe { count.read_volatile() != 0 }
}

impl Service {
    /// The service of a port.
    #[inline(always)]
    pub fn of_port(port: u16) -> Option<Self> {
        let slot = SERVICE_BY_PORT.get(u32::from(port))?.checked_sub(1)?;
        Self::of_slot(slot)
    }

    /// The service of a slot.
    #[inline(always)]
    pub fn of_slot(slot: u32) -> Option<Self> {
        Some(Self {
            slot,
            state: SERVICE_STATE.get_ptr_mut(slot)?,
        })
    }

    /// What the controller says of it.
    #[inline(always)]
    pub fn config(&self) -> Option<&'static ServiceConfig> {
        SERVICE_CONFIG.get(self.slot)
    }

    /// Its state.
    #[inline(always)]
    pub fn state(&self) -> State {
        // SAFETY: a map value; a word is read whole.
        State::from_u32(unsafe { addr_of!((*self.state).state).read_volatile() })
    }

    /// Whether every connection that it has is marked in the connection filter: those
    /// that were there when the controller marked all, while it protected already,
    /// and those that came since, which the data path saw.
    #[inline(always)]
    pub fn has_all_marked(&self, now_ns: u64) -> bool {
        let Some(marked) = ALL_MARKED.get_ptr(0) else {
            return false;
        };
        // SAFETY: map values; words are read whole.
        unsafe {
            let at = marked.read_volatile();
            self.state() == State::Protecting
                && at > addr_of!((*self.state).since_ns).read_volatile() + JIFFY_NS
                && now_ns.wrapping_sub(at) < ALL_MARKED_NS
        }
    }

    /// Whether its cookies are validated.
    #[inline(always)]
    pub fn is_validating(&self) -> bool {
        // SAFETY: as above.
        unsafe { addr_of!((*self.state).validating).read_volatile() != 0 }
    }

    /// Changes the state; protecting also starts validating.
    #[inline(always)]
    pub fn set_state(&self, state: State, now_ns: u64) {
        if state == State::Protecting
            && let Some(any) = ANY_PROTECTING.get_ptr_mut(0)
        {
            // SAFETY: a map value; a word is written whole.
            unsafe { any.write_volatile(1) }
        }
        // SAFETY: a map value; words are written whole. Validation starts
        // before the first cookie leaves.
        unsafe {
            if state == State::Protecting {
                self.validate(true);
            } else {
                addr_of_mut!((*self.state).switching).write_volatile(0);
                addr_of_mut!((*self.state).unanswered).write_volatile(0);
            }
            addr_of_mut!((*self.state).since_ns).write_volatile(now_ns);
            addr_of_mut!((*self.state).state).write_volatile(state as u32);
        }
    }

    /// Stops validating, unless the service protects.
    #[inline(always)]
    pub fn stop_validating(&self) {
        if self.state() == State::Protecting {
            return;
        }
        self.validate(false);
        // A switch between the look and the write is seen by the second look.
        if self.state() == State::Protecting {
            self.validate(true);
        }
    }

    /// Starts or stops validating. The count of services that do is never behind.
    #[inline(always)]
    fn validate(&self, validates: bool) {
        let Some(count) = VALIDATING.get_ptr_mut(0) else {
            return;
        };
        // SAFETY: map values.
        unsafe {
            if validates {
                add(count, 1);
            }
            let word = addr_of_mut!((*self.state).validating);
            let did = swap(word, u32::from(validates)) != 0;
            if did {
                add(count, u64::MAX);
            }
        }
    }

    /// One more half-open connection.
    #[inline(always)]
    pub fn add_half_open(&self) {
        // SAFETY: a map value.
        unsafe { add(addr_of_mut!((*self.state).half_open), 1) }
    }

    /// One half-open connection less.
    #[inline(always)]
    pub fn remove_half_open(&self) {
        // SAFETY: a map value.
        unsafe { add(addr_of_mut!((*self.state).half_open), u64::MAX) }
    }

    /// Half-open connections now.
    #[inline(always)]
    pub fn half_open(&self) -> u64 {
        // SAFETY: a map value.
        unsafe { addr_of!((*self.state).half_open).read_volatile() }
    }

    /// The level of unanswered SYNs.
    #[inline(always)]
    pub fn unanswered(&self) -> Level {
        // SAFETY: two fields of a map value.
        unsafe {
            Level::new(
                addr_of_mut!((*self.state).unanswered),
                addr_of_mut!((*self.state).unanswered_tick),
            )
        }
    }

    /// One more SYN that passed untracked; how many in the running second.
    #[inline(always)]
    pub fn add_untracked(&self, now_ns: u64) -> u64 {
        // 2^30 ns are a second and a bit.
        let second = now_ns >> 30;
        // SAFETY: a map value. Two CPUs that start a second together lose a
        // few counts of it.
        unsafe {
            if addr_of!((*self.state).untracked_second).read_volatile() != second {
                addr_of_mut!((*self.state).untracked_second).write_volatile(second);
                addr_of_mut!((*self.state).untracked).write_volatile(0);
            }
            fetch_add(addr_of_mut!((*self.state).untracked), 1) + 1
        }
    }

    /// Starts to protect and tells the controller why: `value`, and `untracked`
    /// SYNs of this second, reached `limit`.
    #[inline(always)]
    pub fn protect(&self, kind: EventKind, value: u64, untracked: u64, limit: u64, now_ns: u64) {
        // SAFETY: a map value.
        if unsafe { fetch_add(addr_of_mut!((*self.state).switching), 1) } != 0 {
            // Another CPU switches it.
            return;
        }
        self.set_state(State::Protecting, now_ns);
        count::service(self.slot, |counters| counters.protections += 1);
        let event = Event {
            at_ns: now_ns,
            value,
            limit,
            source: Address([zero() as u32; 4]),
            slot: self.slot,
            untracked: untracked as u32,
            kind: kind as u32,
            suppressed: 0,
        };
        // A full ring buffer loses the reason, not the change: the controller
        // reads the state as well.
        let _ = EVENTS.output::<Event>(event, 0);
    }
}
