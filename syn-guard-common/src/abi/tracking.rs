//! Half-open connections and their sources.

use crate::address::Address;

/// A half-open connection, by its [`Flow`](crate::flow::Flow).
///
/// | offset | size | what |
/// | --- | --- | --- |
/// | 0 | 8 | first SYN, `CLOCK_MONOTONIC` ns |
/// | 8 | 8 | end of its life, same clock |
/// | 16 | 4 | sequence number of the SYN, host byte order |
/// | 20 | 4 | slot of the service |
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct HalfOpen {
    /// When its first SYN came, nanoseconds.
    pub started_ns: u64,
    /// When the kernel gives it up, nanoseconds.
    pub ends_ns: u64,
    /// The client's initial sequence number.
    pub sequence: u32,
    /// The slot of its service.
    pub slot: u32,
}

const _: () = assert!(size_of::<HalfOpen>() == 24);

/// A source, for one service.
///
/// | offset | size | what |
/// | --- | --- | --- |
/// | 0 | 16 | address, cut to the length of a source |
/// | 16 | 4 | slot of the service |
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceKey {
    /// See [`Settings::source_of`](super::Settings::source_of).
    pub source: Address,
    /// The slot of the service.
    pub slot: u32,
}

const _: () = assert!(size_of::<SourceKey>() == 20);

/// What a source did to a service.
///
/// | offset | size | what |
/// | --- | --- | --- |
/// | 0 | 8 | half-open now |
/// | 8 | 8 | SYNs, retransmissions among them |
/// | 16 | 8 | handshakes completed |
/// | 24 | 8 | half-open connections reset |
/// | 32 | 8 | half-open connections expired |
/// | 40 | 8 | level of unanswered SYNs, see [`bucket`](crate::bucket) |
/// | 48 | 8 | tick until which time was taken from that level |
/// | 56 | 8 | tick at which a SYN was last dropped, 0: never |
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Source {
    /// Half-open connections now.
    pub half_open: u64,
    /// SYNs seen, retransmissions among them.
    pub syns: u64,
    /// Handshakes that the source completed.
    pub completed: u64,
    /// Half-open connections that it reset.
    pub reset: u64,
    /// Half-open connections whose life ended.
    pub expired: u64,
    /// Unanswered SYNs while the service protects, less what time took away.
    pub unanswered: u64,
    /// The tick until which time was taken away.
    pub unanswered_tick: u64,
    /// The tick at which one of its SYNs was last dropped; 0: never.
    pub dropped_tick: u64,
}

const _: () = assert!(size_of::<Source>() == 64);
