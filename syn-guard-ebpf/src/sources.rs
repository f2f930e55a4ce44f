//! Counting SYNs by source and by prefix, each CPU for itself; no forged source
//! costs more than a few cells of a sketch.

use syn_guard_common::abi::{SAMPLE_SYNS, SAMPLE_WORDS, Settings, Source, SourceKey, SourceSample};
use syn_guard_common::address::Address;
use syn_guard_common::flow::Flow;
use syn_guard_common::sketch::{self, Cells, Totals};

use crate::maps::{PREFIX_SKETCH, SAMPLES, SETTINGS, SKETCH_TOTALS, SOURCE_SKETCH};
use crate::seed::seed;
use crate::zero::zero;
use crate::{clock, count, filters, limits};

/// What a flow counts for.
#[derive(Clone, Copy)]
pub struct Counted {
    /// Its source.
    pub source: Address,
    /// The hash of source and service.
    pub hash: u64,
    prefix: u64,
}

impl Counted {
    #[inline(always)]
    fn of(flow: &Flow, slot: u32, settings: &Settings) -> Self {
        let source = settings.source_of(&flow.remote);
        Self {
            hash: sketch::source_hash(&source, slot, seed()),
            prefix: sketch::prefix_hash(&flow.remote, seed()),
            source,
        }
    }
}

/// The hash of a source of a service.
#[inline(always)]
pub fn hash(key: &SourceKey) -> u64 {
    sketch::source_hash(&key.source, key.slot, seed())
}

/// The counters of a source with one SYN and `half_open` half-open connections.
#[inline(always)]
pub fn first_seen(half_open: u64) -> Source {
    let zero = zero();
    Source {
        half_open,
        syns: 1,
        completed: zero,
        reset: zero,
        expired: zero,
        unanswered: zero,
        unanswered_tick: zero,
        dropped_tick: zero,
    }
}

/// What the limits say of a SYN.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Within all limits.
    Fine,
    /// Its source is over its limit.
    OverSource,
    /// Too many replies went to its prefix.
    OverReplies,
}

/// Counts a SYN. Limits hold where the service protects.
#[inline(always)]
pub fn syn(slot: u32, flow: &Flow, flow_hash: u32, protects: bool, now: u64) -> Standing {
    let (Some(settings), Some(prefixes), Some(totals)) = (
        SETTINGS.get(0),
        PREFIX_SKETCH.get_ptr_mut(0),
        SKETCH_TOTALS.get_ptr_mut(0),
    ) else {
        return Standing::Fine;
    };
    // SAFETY: this CPU's own values.
    let (prefixes, totals) = unsafe { (&mut *prefixes, &mut *totals) };
    let second = sketch::second(now);
    totals.begin(second, zero() as u32);
    let weight = totals.weight(seed() ^ u64::from(flow_hash));
    if weight == 0 && !filters::any_may_have_counters() {
        return Standing::Fine;
    }
    let source = settings.source_of(&flow.remote);
    let hash = sketch::source_hash(&source, slot, seed());
    let (mut prefix, mut replies, mut heavy) = (0, 0, false);
    if weight != 0 {
        sample(slot, hash);
        prefix = sketch::prefix_hash(&flow.remote, seed());
        replies = sketch::estimate(prefixes, prefix, second);
        // Of a widely forged flood most SYNs end here.
        heavy = totals.is_busy(replies, settings.heavy)
            && is_heavy(hash, second, settings.heavy, weight, totals);
    }
    if heavy {
        count::service(slot, |counters| counters.heavy_syns += u64::from(weight));
    }
    if protects
        && (heavy || filters::may_have_counters(hash))
        && limits::is_over(slot, &source, hash, settings, heavy, now)
    {
        count::service(slot, |counters| counters.source_limited += 1);
        return Standing::OverSource;
    }
    if weight == 0 {
        return Standing::Fine;
    }
    if protects
        && settings.reply_rate != 0
        && u64::from(replies) >= settings.reply_rate + u64::from(totals.replies.most_noise())
    {
        totals.count_all();
        count::service(slot, |counters| counters.reply_limited += 1);
        return Standing::OverReplies;
    }
    totals.replies.add(weight);
    sketch::add(prefixes, prefix, second, weight);
    Standing::Fine
}

/// A handshake was completed: what its SYN added is taken away again.
#[inline(always)]
pub fn completed(slot: u32, flow: &Flow) {
    let Some(settings) = SETTINGS.get(0) else {
        return;
    };
    let counted = Counted::of(flow, slot, settings);
    if let Some(sample) = SAMPLES.get_ptr_mut(slot) {
        // SAFETY: this CPU's own value.
        let sample: &mut SourceSample = unsafe { &mut *sample };
        mark(&mut sample.answered, counted.hash);
    }
    take_back(slot, &counted);
}

/// A SYN went to the stack, which answers it unseen: what it added is taken away
/// again.
#[inline(always)]
pub fn passed(slot: u32, flow: &Flow) {
    if let Some(settings) = SETTINGS.get(0) {
        take_back(slot, &Counted::of(flow, slot, settings));
    }
}

#[inline(always)]
fn take_back(slot: u32, counted: &Counted) {
    let second = sketch::second(clock::now_ns());
    if let Some(cells) = PREFIX_SKETCH.get_ptr_mut(0) {
        // SAFETY: this CPU's own value.
        sketch::take(unsafe { &mut *cells }, counted.prefix, second);
    }
    if let Some(cells) = SOURCE_SKETCH.get_ptr_mut(0) {
        // SAFETY: this CPU's own value.
        sketch::take(unsafe { &mut *cells }, counted.hash, second);
    }
    if filters::may_have_counters(counted.hash) {
        limits::take_back(slot, &counted.source);
    }
}

/// Counts a SYN of a source whose prefix is busy; whether the source is heavy.
#[inline(always)]
fn is_heavy(hash: u64, second: u32, heavy: u32, weight: u32, totals: &mut Totals) -> bool {
    let Some(cells) = SOURCE_SKETCH.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: this CPU's own value.
    let cells: &mut Cells = unsafe { &mut *cells };
    totals.is_heavy(cells, hash, second, heavy, weight)
}

/// Puts the source into the sample of its service, while that is not full.
#[inline(always)]
fn sample(slot: u32, hash: u64) {
    let Some(sample) = SAMPLES.get_ptr_mut(slot) else {
        return;
    };
    // SAFETY: this CPU's own value; what the controller clears meanwhile is
    // one sample more or less.
    let sample: &mut SourceSample = unsafe { &mut *sample };
    if sample.syns < SAMPLE_SYNS {
        sample.syns += 1;
        mark(&mut sample.seen, hash);
    }
}

#[inline(always)]
fn mark(words: &mut [u64; SAMPLE_WORDS], hash: u64) {
    let word = (hash >> 57) as usize & (SAMPLE_WORDS - 1);
    words[word] |= 1 << ((hash >> 51) & 63);
}
