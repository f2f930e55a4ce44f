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
    /// The accept queue is full: the stack would drop a SYN, so it gets it.
    pub const ACCEPT_QUEUE_FULL: u32 = 16;
}

/// A listener on an own address: what its SYN-ACK says, and whether it is
/// there.
///
/// | offset | size | what |
/// | --- | --- | --- |
/// | 0 | 8 | when the data path last looked the listener up, jiffies |
/// | 8 | 4 | slot of the service |
/// | 12 | 4 | flags |
/// | 16 | 4 | 1 when the last look-up found no listener |
/// | 20 | 2 | MSS to advertise |
/// | 22 | 2 | first window without timestamps |
/// | 24 | 2 | first window with timestamps |
/// | 26 | 1 | window scale |
/// | 27 | 1 | TTL or hop limit |
/// | 28 | 4 | zero |
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Listener {
    /// Written by the data path.
    pub probed_at: u64,
    /// The service it belongs to.
    pub slot: u32,
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
    /// Zero.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Listener>() == 32);
