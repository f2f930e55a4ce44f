//! Limits of single sources: exact counters for those that are heavy.

use core::ptr::addr_of_mut;

use syn_guard_common::abi::{Event, EventKind, Settings, Source, SourceKey};
use syn_guard_common::address::Address;
use syn_guard_common::bucket;
use syn_guard_common::sketch;

use crate::level::Level;
use crate::maps::{EVENT_BUDGET, EVENTS, SOURCES};
use crate::zero::zero;
use crate::{filters, sources, state};

/// Events about sources that a CPU sends in a second.
const EVENTS_A_SECOND: u32 = 16;
/// Ticks without a dropped SYN after which another is news: 60 s.
const QUIET: u64 = 57_220;

/// Counts a SYN to a protecting service in its source's own counters; whether
/// it is one too many. Only a heavy source gets such counters here.
#[inline(always)]
pub fn is_over(
    slot: u32,
    address: &Address,
    hash: u64,
    settings: &Settings,
    heavy: bool,
    now_ns: u64,
) -> bool {
    let key = SourceKey {
        source: *address,
        slot,
    };
    let Some(source) = SOURCES.get_ptr_mut(&key) else {
        if heavy {
            // Fails when another CPU was first.
            let _ = SOURCES.insert(&key, &sources::first_seen(zero()), 1);
            filters::mark_has_counters(hash);
        }
        return false;
    };
    if heavy {
        filters::mark_has_counters(hash);
    }
    // SAFETY: a map value, counted with atomic adds.
    let half_open = unsafe {
        state::add(addr_of_mut!((*source).syns), 1);
        addr_of_mut!((*source).half_open).read_volatile()
    };
    if settings.source_half_open != 0 && half_open >= settings.source_half_open {
        tell(
            source,
            &key,
            EventKind::SourceHalfOpen,
            half_open,
            settings.source_half_open,
            now_ns,
        );
        return true;
    }
    if settings.source_rate == 0 {
        return false;
    }
    let unanswered = level(source);
    let level = unanswered.lowered(settings.source_rate, now_ns);
    if level >= bucket::full(settings.source_rate) {
        tell(
            source,
            &key,
            EventKind::SourceRate,
            bucket::events(level),
            settings.source_rate,
            now_ns,
        );
        return true;
    }
    unanswered.raise();
    false
}

/// A SYN of the source does not count.
#[inline(always)]
pub fn take_back(slot: u32, source: &Address) {
    let key = SourceKey {
        source: *source,
        slot,
    };
    if let Some(source) = SOURCES.get_ptr_mut(&key) {
        level(source).take_back();
    }
}

#[inline(always)]
fn level(source: *mut Source) -> Level {
    // SAFETY: two fields of a map value.
    unsafe {
        Level::new(
            addr_of_mut!((*source).unanswered),
            addr_of_mut!((*source).unanswered_tick),
        )
    }
}

/// Tells the controller that a source's SYNs begin to be dropped.
#[inline(always)]
fn tell(
    source: *mut Source,
    key: &SourceKey,
    kind: EventKind,
    value: u64,
    limit: u64,
    now_ns: u64,
) {
    let tick = bucket::tick(now_ns);
    // SAFETY: a map value; a word is read and written whole. Two CPUs may both
    // tell.
    let last = unsafe {
        let last = addr_of_mut!((*source).dropped_tick).read_volatile();
        if last != tick {
            addr_of_mut!((*source).dropped_tick).write_volatile(tick);
        }
        last
    };
    if last != 0 && bucket::passed(tick, last) < QUIET {
        return;
    }
    let Some(budget) = EVENT_BUDGET.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: this CPU's own value.
    let [second, sent, suppressed] = unsafe { &mut *budget };
    let now = sketch::second(now_ns);
    if *second != now {
        *second = now;
        *sent = 0;
    }
    if *sent >= EVENTS_A_SECOND {
        *suppressed += 1;
        return;
    }
    *sent += 1;
    let event = Event {
        at_ns: now_ns,
        value,
        limit,
        source: key.source,
        slot: key.slot,
        untracked: 0,
        kind: kind as u32,
        suppressed: *suppressed,
    };
    if EVENTS.output::<Event>(event, 0).is_ok() {
        *suppressed = 0;
    } else {
        *suppressed += 1;
    }
}
