//! Half-open connections: begun by a SYN, ended once, by whom ever.

use core::ptr::addr_of_mut;

use syn_guard_common::abi::{HalfOpen, Settings, SourceKey, handshake_bucket};
use syn_guard_common::flow::Flow;

use crate::maps::{HALF_OPEN, SETTINGS, SOURCES};
use crate::state::{self, Service};
use crate::{count, filters, sources};

/// How a half-open connection ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The client's ACK came.
    Completed,
    /// The client's RST came.
    Reset,
    /// The kernel gave it up.
    Expired,
    /// Its service is no more.
    Forgotten,
}

/// Begins to track a half-open connection; false when there is no room.
#[inline(always)]
pub fn begin(flow: &Flow, hash: u32, half_open: &HalfOpen) -> bool {
    const BPF_NOEXIST: u64 = 1;
    // Before the entry: who finds the entry takes the count away again.
    filters::count_half_open(hash, 1);
    if HALF_OPEN.insert(flow, half_open, BPF_NOEXIST).is_err() {
        filters::count_half_open(hash, -1);
        return false;
    }
    count_source(flow, half_open.slot, 1);
    count::service(half_open.slot, |counters| counters.tracked += 1);
    true
}

/// A SYN of a half-open connection came again.
#[inline(always)]
pub fn retransmitted(flow: &Flow, slot: u32) {
    count_source(flow, slot, 0);
    count::service(slot, |counters| counters.syn_retransmissions += 1);
}

/// Counts a SYN, and `half_open` half-open connections (0 or 1), for the flow's
/// source, which is made if need be.
#[inline(always)]
fn count_source(flow: &Flow, slot: u32, half_open: u64) {
    let Some(settings) = SETTINGS.get(0) else {
        return;
    };
    let key = SourceKey {
        source: settings.source_of(&flow.remote),
        slot,
    };
    if let Some(source) = SOURCES.get_ptr_mut(&key) {
        // SAFETY: a map value, counted with atomic adds.
        let half_open = unsafe {
            if half_open != 0 {
                state::add(addr_of_mut!((*source).half_open), half_open);
            }
            state::add(addr_of_mut!((*source).syns), 1);
            addr_of_mut!((*source).half_open).read_volatile()
        };
        note_limit(&key, settings, half_open);
        return;
    }
    // Fails when another CPU was first: one SYN goes uncounted.
    let _ = SOURCES.insert(&key, &sources::first_seen(half_open), 1);
    note_limit(&key, settings, half_open);
}

/// Marks a source that has reached its limit of half-open connections: its SYNs
/// are looked at, however few they are, once the service protects.
#[inline(always)]
fn note_limit(key: &SourceKey, settings: &Settings, half_open: u64) {
    if settings.source_half_open != 0 && half_open >= settings.source_half_open {
        filters::mark_has_counters(sources::hash(key));
    }
}

/// Ends the half-open connection that `flow` was found to be. Whoever takes
/// the entry out counts, so each is counted once.
#[inline(always)]
pub fn end(flow: &Flow, hash: u32, found: HalfOpen, how: End, now_ns: u64) {
    if HALF_OPEN.remove(flow).is_err() {
        return;
    }
    filters::count_half_open(hash, -1);
    if let Some(service) = Service::of_slot(found.slot) {
        service.remove_half_open();
        if how == End::Completed {
            service.unanswered().take_back();
            sources::completed(found.slot, flow);
        }
    }
    count::service(found.slot, |counters| match how {
        End::Completed => {
            let took = now_ns.saturating_sub(found.started_ns);
            counters.completed += 1;
            counters.handshake_ns += took;
            let bucket = handshake_bucket(took);
            if let Some(bucket) = counters.handshakes.get_mut(bucket) {
                *bucket += 1;
            }
        }
        End::Reset => counters.reset += 1,
        End::Expired => counters.expired += 1,
        End::Forgotten => {}
    });
    let Some(settings) = SETTINGS.get(0) else {
        return;
    };
    let key = SourceKey {
        source: settings.source_of(&flow.remote),
        slot: found.slot,
    };
    if let Some(source) = SOURCES.get_ptr_mut(&key) {
        // SAFETY: a map value. A source that made room for others and came
        // back starts at 0 and must not go below.
        unsafe {
            if addr_of_mut!((*source).half_open).read_volatile() != 0 {
                state::add(addr_of_mut!((*source).half_open), u64::MAX);
            }
            match how {
                End::Completed => state::add(addr_of_mut!((*source).completed), 1),
                End::Reset => state::add(addr_of_mut!((*source).reset), 1),
                End::Expired => state::add(addr_of_mut!((*source).expired), 1),
                End::Forgotten => {}
            }
        }
    }
}

/// The half-open connection of a flow.
#[inline(always)]
pub fn find(flow: &Flow) -> Option<HalfOpen> {
    // SAFETY: the value is copied at once; an entry that is replaced meanwhile
    // is of the same flow.
    unsafe { HALF_OPEN.get(flow).copied() }
}
