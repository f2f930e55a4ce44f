//! What a listener's own SYN-ACK says.

use crate::address::Address;

/// An own address and a port on it.
///
/// | offset | size | what |
/// | --- | --- | --- |
/// | 0 | 16 | local address |
/// | 16 | 4 | port, host byte order |
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerKey {
    /// The own address, never a wildcard.
    pub address: Address,
    /// The port.
    pub port: u32,
}

const _: () = assert!(size_of::<ListenerKey>() == 20);

/// Bits of [`Listener::flags`].
pub mod listener_flags {
    /// `net.ipv4.tcp_timestamps` is not 0.
    pub const TIMESTAMPS: u32 = 1;
    /// `net.ipv4.tcp_sack` is not 0.
    pub const SACK: u32 = 2;
    /// `net.ipv4.tcp_window_scaling` is not 0.
    pub const WINDOW_SCALING: u32 = 4;
    /// `net.ipv4.tcp_ecn` lets the stack accept ECN.
    pub const ECN: u32 = 8;
    /// The stack takes no cookie's connection for it (MPTCP): SYNs pass.
    pub const NO_COOKIES: u32 = 16;
}

/// A listener on an own address: what its SYN-ACK says, and whether it is
/// there.
///
/// | offset | size | what |
/// | --- | --- | --- |
/// | 0 | 8 | when the data path last looked the listener up, jiffies |
/// | 8 | 8 | until when the accept queue counts as full, `CLOCK_MONOTONIC` ns |
/// | 16 | 4 | flags |
/// | 20 | 4 | 1 when the last look-up found no listener |
/// | 24 | 2 | MSS to advertise |
/// | 26 | 2 | first window without timestamps |
/// | 28 | 2 | first window with timestamps |
/// | 30 | 1 | window scale |
/// | 31 | 1 | TTL or hop limit |
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Listener {
    /// Written by the data path.
    pub probed_at: u64,
    /// Until then the accept queue counts as full, nanoseconds: the stack would
    /// drop a SYN, so it gets it. A time, so that it ends without a controller.
    pub full_until_ns: u64,
    /// See [`listener_flags`].
    pub flags: u32,
    /// Written by the data path.
    pub gone: u32,
    /// The MSS to advertise, bytes.
    pub mss: u16,
    /// The first window, bytes, where the connection has no timestamps.
    pub window: u16,
    /// The first window, bytes, where it has.
    pub window_with_timestamps: u16,
    /// The window scale to offer.
    pub scale: u8,
    /// The TTL (IPv4) or hop limit (IPv6) of the reply.
    pub ttl: u8,
}

const _: () = assert!(size_of::<Listener>() == 32);
