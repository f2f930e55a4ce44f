//! The layout of the maps, the same on both sides. Every type is `repr(C)`,
//! without implicit padding, its size asserted.

mod connection;
mod control;
mod counters;
mod engine;
mod event;
mod filter;
mod handed;
mod keys;
mod listener;
mod mac;
mod prefix;
mod sample;
mod sent;
mod service;
mod settings;
mod silent;
mod standing;
mod tracking;
mod verdict;

pub use connection::{
    ALL_MARKED_NS, CONNECTION_WORDS, NEAR_WORDS, connection_mark, connection_marked,
    connection_word, is_connection_marked,
};
pub use control::{Command, Operation};
pub use counters::{HANDSHAKE_BOUNDS_MS, HANDSHAKE_BUCKETS, ServiceCounters, handshake_bucket};
pub use engine::EngineKind;
pub use event::{Event, EventKind};
pub use filter::{
    Age, ESTABLISHED_CELLS, HALF_OPEN_CELLS, JUST_COMPLETED_CELLS, SOURCE_AGE, SOURCE_CELLS,
    established_cell, established_lately,
};
pub use handed::{
    HANDED_CELLS, HANDED_WAYS, handed_choice, handed_is_seen, handed_over, handed_seen, handed_set,
    is_replay,
};
pub use keys::{CookieKeys, KEY_SLOTS};
pub use listener::{Listener, ListenerKey, NEAR_LISTENERS, NearListener, RouteKey, listener_flags};
pub use mac::{ANY_MAC, NO_MAC, OWN_MAC_CELLS, mac, mac_cell};
pub use prefix::{ListKind, MAX_PREFIXES, PrefixEntry, prefix_flags};
pub use sample::{SAMPLE_BITS, SAMPLE_SYNS, SAMPLE_WORDS, SourceSample};
pub use sent::{
    LATE_TRIES, SENT_AGE, SENT_CELLS, SENT_FLOOD_AGE, SENT_MANY, SENT_TRIES, Sent, sent_are_few,
    sent_bits, sent_cell, sent_done, sent_lately, sent_mark, sent_tried,
};
pub use service::{Mode, ServiceConfig, ServiceState, State};
pub use settings::{Settings, settings_flags};
pub use silent::{SILENT_CELLS, silent_cell};
pub use standing::{
    ELSEWHERE, Moment, asks, is_proved, is_unanswered, moment, stands_back, with_hand_over,
    with_loss,
};
pub use tracking::{HalfOpen, Source, SourceKey};
pub use verdict::{Action, REASONS, Reason};

/// Services guarded at most. The maps have as many slots as the loader gives them
/// room for: each costs 792 bytes a CPU, and a hundred more.
pub const MAX_SERVICES: u32 = 16_384;
/// Slots that there are at least.
pub const LEAST_SLOTS: u32 = 1024;
/// Pairs of an own address and a guarded port at most.
pub const MAX_LISTENERS: u32 = 65_536;
/// Prefixes of clients with a route class of their own at most.
pub const MAX_ROUTES: u32 = 4096;
/// Half-open connections tracked at most; past it they are counted as
/// untracked.
pub const MAX_HALF_OPEN: u32 = 131_072;
/// Sources counted at most; the least recently seen makes room.
pub const MAX_SOURCES: u32 = 65_536;
/// Half-open connections that one CPU may begin to track in a budget tick:
/// 20,000 a second.
pub const TRACK_BUDGET: u64 = 21;
/// Those that it may begin at once, after a calm time.
pub const TRACK_BURST: u64 = 8192;
/// Nanoseconds of a budget tick, as a shift: 1.05 ms.
pub const BUDGET_TICK_SHIFT: u32 = 20;
/// Bytes of the ring buffer that events travel in.
pub const EVENT_BYTES: u32 = 64 * 1024;

/// Lets aya read and write these types as map keys and values.
#[cfg(feature = "user")]
macro_rules! plain {
    ($($type:ty),+ $(,)?) => {$(
        // SAFETY: repr(C), made of integers only, no padding: any bytes are a
        // value and every byte of a value is initialised.
        unsafe impl aya::Pod for $type {}
    )+};
}

#[cfg(feature = "user")]
plain!(
    crate::address::Address,
    crate::flow::Flow,
    CookieKeys,
    HalfOpen,
    Listener,
    ListenerKey,
    NearListener,
    PrefixEntry,
    crate::prefix_filter::PrefixFilter,
    RouteKey,
    ServiceConfig,
    ServiceCounters,
    ServiceState,
    Settings,
    Source,
    SourceKey,
    SourceSample,
);
