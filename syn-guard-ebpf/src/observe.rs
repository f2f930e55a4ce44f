//! SYNs to a service that observes: counted, tracked, passed.

use syn_guard_common::abi::{
    BUDGET_TICK_SHIFT, EventKind, HalfOpen, Mode, TRACK_BUDGET, TRACK_BURST,
};
use syn_guard_common::bucket;
use syn_guard_common::flow::Flow;

use crate::half_open::End;
use crate::maps::TRACK_BUDGETS;
use crate::state::Service;
use crate::{count, filters, half_open};

/// Takes note of a SYN; true when with it the service starts to protect, so
/// that this SYN is answered already.
#[inline(always)]
pub fn handle(service: &Service, flow: &Flow, hash: u32, sequence: u32, now: u64) -> bool {
    let Some(config) = service.config() else {
        return false;
    };
    let slot = service.slot;
    // Past the budget a SYN that came again counts as one that is not tracked: a
    // flood would pay for a look-up that it always misses.
    let tracks = within_budget(now);
    if tracks
        && filters::may_be_half_open(hash)
        && let Some(known) = half_open::find(flow)
    {
        if known.ends_ns > now {
            // Also with another sequence number: the stack keeps its request.
            half_open::retransmitted(flow, slot);
            filters::mark_syn(hash);
            return false;
        }
        half_open::end(flow, hash, known, End::Expired, now);
    }
    let total = service.half_open();
    if config.mode == Mode::Auto as u32 && total >= config.limit {
        service.protect(EventKind::HalfOpen, total, 0, config.limit, now);
        return true;
    }
    let unanswered = service.unanswered();
    let level = unanswered.lowered(config.unanswered_rate, now);
    if level < bucket::full(config.unanswered_rate) {
        unanswered.raise();
    } else if config.mode == Mode::Auto as u32 && config.unanswered_rate != 0 {
        service.protect(
            EventKind::UnansweredRate,
            bucket::events(level),
            0,
            config.unanswered_rate,
            now,
        );
        return true;
    }
    // The stack gets this SYN, so a later one of its flow must go there too.
    filters::mark_syn(hash);
    let entry = HalfOpen {
        started_ns: now,
        ends_ns: now + config.life_ns,
        sequence,
        slot,
    };
    if tracks {
        // Counted first: who ends the entry takes the count away.
        service.add_half_open();
        if half_open::begin(flow, hash, &entry) {
            return false;
        }
        service.remove_half_open();
    }
    count::service(slot, |counters| counters.untracked += 1);
    let untracked = service.add_untracked(now);
    if config.mode == Mode::Auto as u32 && total + untracked >= config.limit {
        service.protect(EventKind::HalfOpen, total, untracked, config.limit, now);
    }
    false
}

/// Takes note of a SYN of a connection that is half-open already.
#[inline(always)]
pub fn came_again(service: &Service, flow: &Flow, hash: u32, now: u64) {
    if service.half_open() != 0
        && filters::may_be_half_open(hash)
        && half_open::find(flow).is_some_and(|known| known.ends_ns > now)
    {
        half_open::retransmitted(flow, service.slot);
    }
}

/// Whether this CPU may make another entry: what a forged source can cause has
/// a bound. A token bucket.
#[inline(always)]
fn within_budget(now_ns: u64) -> bool {
    let Some(budget) = TRACK_BUDGETS.get_ptr_mut(0) else {
        return false;
    };
    let tick = now_ns >> BUDGET_TICK_SHIFT;
    // SAFETY: this CPU's own value.
    let [filled_in, left] = unsafe { &mut *budget };
    let passed = tick.wrapping_sub(*filled_in);
    if passed != 0 {
        // A long time fills it, and must not overflow.
        let earned = if passed > TRACK_BURST {
            TRACK_BURST
        } else {
            passed * TRACK_BUDGET
        };
        let sum = *left + earned;
        *left = if sum > TRACK_BURST { TRACK_BURST } else { sum };
        *filled_in = tick;
    }
    if *left == 0 {
        return false;
    }
    *left -= 1;
    true
}
