//! SYNs to a service that observes: counted, tracked, passed.

use syn_guard_common::abi::{BUDGET_TICK_SHIFT, HalfOpen, Mode, TRACK_BUDGET};
use syn_guard_common::flow::Flow;

use crate::maps::TRACKED_IN_TICK;
use crate::state::Service;
use crate::{clock, count, filters, half_open};

/// Takes note of a SYN; true when with it the service starts to protect, so
/// that this SYN is answered already.
#[inline(always)]
pub fn handle(service: &Service, flow: &Flow, hash: u32, sequence: u32) -> bool {
    let Some(config) = service.config() else { return false };
    let slot = service.slot;
    if filters::may_be_half_open(hash)
        && let Some(known) = half_open::find(flow)
        && known.sequence == sequence
    {
        half_open::retransmitted(flow, slot);
        filters::mark_connection(hash);
        return false;
    }
    let now = clock::now_ns();
    let (total, untracked) = (service.half_open(), 0);
    if config.mode == Mode::Auto as u32 && total >= config.limit {
        service.protect(now, total, untracked, config.limit);
        return true;
    }
    // The stack gets this SYN, so a later one of its flow must go there too.
    filters::mark_connection(hash);
    let entry = HalfOpen {
        started_ns: now,
        ends_ns: now + config.life_ns,
        sequence,
        slot,
    };
    if within_budget(now) && half_open::begin(flow, hash, &entry) {
        service.add_half_open();
        return false;
    }
    count::service(slot, |counters| counters.untracked += 1);
    let untracked = service.add_untracked(now);
    if config.mode == Mode::Auto as u32 && total + untracked >= config.limit {
        service.protect(now, total, untracked, config.limit);
    }
    false
}

/// Whether this CPU may still make entries in this tick: what a forged source
/// can cause has a bound.
#[inline(always)]
fn within_budget(now_ns: u64) -> bool {
    let Some(tracked) = TRACKED_IN_TICK.get_ptr_mut(0) else { return false };
    let tick = (now_ns >> BUDGET_TICK_SHIFT) << 32;
    // SAFETY: this CPU's own value.
    unsafe {
        if *tracked & !0xffff_ffff != tick {
            *tracked = tick;
        }
        if *tracked as u32 >= TRACK_BUDGET {
            return false;
        }
        *tracked += 1;
    }
    true
}
