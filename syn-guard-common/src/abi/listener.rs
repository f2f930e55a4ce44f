//! What a listener's own SYN-ACK says.

use super::Moment;
use crate::address::Address;

/// An own address and a port on it, for the clients of a route class.
///
/// | offset | size | what |
/// | --- | --- | --- |
/// | 0 | 16 | local address |
/// | 16 | 4 | port, host byte order |
/// | 20 | 4 | route class |
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct ListenerKey {
    /// The own address, never a wildcard.
    pub address: Address,
    /// The port.
    pub port: u32,
    /// 0 for clients in general; another for those whose route makes the
    /// SYN-ACK another one ([`RouteKey`]).
    pub route: u32,
}

const _: () = assert!(size_of::<ListenerKey>() == 24);

/// A prefix of clients' addresses, the key of a longest-prefix map whose value
/// is the route class.
///
/// | offset | size | what |
/// | --- | --- | --- |
/// | 0 | 4 | bits of the prefix, 96 more for IPv4 |
/// | 4 | 16 | address |
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteKey {
    /// Bits of the prefix (`struct bpf_lpm_trie_key`).
    pub bits: u32,
    /// The address.
    pub address: Address,
}

const _: () = assert!(size_of::<RouteKey>() == 20);

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
    /// The stack takes no cookie's connection for it (MPTCP), or answers only some SYNs
    /// (`IP_MINTTL`, a socket filter): SYNs pass.
    pub const NO_COOKIES: u32 = 16;
    /// Some clients have a route class of their own.
    pub const ROUTED: u32 = 32;
    /// `net.ipv4.tcp_reflect_tos` is not 0: the SYN-ACK has the SYN's DSCP.
    pub const REFLECT_TOS: u32 = 64;
    /// `net.ipv6.auto_flowlabels` gives the SYN-ACK a flow label.
    pub const FLOW_LABEL: u32 = 128;
    /// Several listeners (`SO_REUSEPORT`): where one is full, others may have
    /// room.
    pub const GROUP: u32 = 256;
    /// There are firewall rules: no cookie goes before the stack was seen to answer a SYN
    /// as this listener.
    pub const PROOF: u32 = 512;
    /// The stack answers only some clients, who have a route class of their own; those who
    /// have none get no cookies. Goes with [`ROUTED`].
    pub const CLOSED: u32 = 1024;
}

/// A listener on an own address: what its SYN-ACK says, and whether it is
/// there.
///
/// | offset | size | what |
/// | --- | --- | --- |
/// | 0 | 8 | until when the accept queue counts as full, `CLOCK_MONOTONIC` ns |
/// | 8 | 4 | flags |
/// | 12 | 4 | when the data path last looked the listener up, the jiffies' lower half |
/// | 16 | 2 | MSS to advertise |
/// | 18 | 2 | first window without timestamps |
/// | 20 | 2 | first window with timestamps |
/// | 22 | 2 | the most that a client's MSS counts for; 0: any |
/// | 24 | 2 | when the stack was last seen to answer a SYN, a [`Moment`](super::Moment), or [`ELSEWHERE`](super::ELSEWHERE) |
/// | 26 | 2 | when a SYN was last passed for that |
/// | 28 | 2 | since when it stands back |
/// | 30 | 2 | MSS of the stack's last SYN-ACK as it left the host; 0: not seen |
/// | 32 | 1 | window scale |
/// | 33 | 1 | TTL or hop limit |
/// | 34 | 1 | TOS or traffic class |
/// | 35 | 1 | 1 when the last look-up found no listener |
/// | 36 | 1 | TTL or hop limit of the stack's last SYN-ACK |
/// | 37 | 1 | its TOS or traffic class |
/// | 38 | 1 | connections handed over and lost, see [`with_loss`](super::with_loss) |
/// | 39 | 1 | how often it stood back since all was well |
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Listener {
    /// Until then the accept queue counts as full, nanoseconds: the stack would
    /// drop a SYN, so it gets it. A time, so that it ends without a controller.
    pub full_until_ns: u64,
    /// See [`listener_flags`].
    pub flags: u32,
    /// Written by the data path.
    pub probed_at: u32,
    /// The MSS to advertise, bytes.
    pub mss: u16,
    /// The first window, bytes, where the connection has no timestamps.
    pub window: u16,
    /// The first window, bytes, where it has.
    pub window_with_timestamps: u16,
    /// The most that a client's MSS counts for, bytes: the listener's
    /// `TCP_MAXSEG`. 0: any.
    pub most_mss: u16,
    /// Written by the data path.
    pub proved_at: Moment,
    /// Written by the data path.
    pub asked_at: Moment,
    /// Written by the data path.
    pub back_since: Moment,
    /// Written by the data path, bytes.
    pub answered_mss: u16,
    /// The window scale to offer.
    pub scale: u8,
    /// The TTL (IPv4) or hop limit (IPv6) of the reply.
    pub ttl: u8,
    /// The TOS (IPv4) or traffic class (IPv6) of the reply.
    pub tos: u8,
    /// Written by the data path.
    pub gone: u8,
    /// Written by the data path.
    pub answered_ttl: u8,
    /// Written by the data path.
    pub answered_tos: u8,
    /// Written by the data path.
    pub lost: u8,
    /// Written by the data path.
    pub stood_back: u8,
}

const _: () = assert!(size_of::<Listener>() == 40);

/// Cells of near listeners (256 KiB).
pub const NEAR_LISTENERS: u32 = 1 << 12;

/// A cell of near listeners: what a look-up in the hash map finds, in one cache line
/// and without it. A listener is in its cell or, where another one is, in the map.
///
/// The key comes last: whoever finds it finds the listener written, as the kernel
/// copies values from their beginning to their end (`bpf_long_memcpy`, Linux 6.18).
///
/// | offset | size | what |
/// | --- | --- | --- |
/// | 0 | 40 | listener |
/// | 40 | 24 | its key; all zeroes in an empty cell: no service has port 0 |
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct NearListener {
    /// The listener.
    pub listener: Listener,
    /// Its key.
    pub key: ListenerKey,
}

const _: () = assert!(size_of::<NearListener>() == 64);

impl NearListener {
    /// The cell of a key.
    #[inline(always)]
    #[must_use]
    pub const fn cell(key: &ListenerKey) -> u32 {
        // An odd constant: 2^32 divided by the golden ratio.
        const STEP: u32 = 0x9e37_79b1;
        let [a, b, c, d] = key.address.0;
        let mixed = (a ^ b ^ c ^ d).wrapping_mul(STEP) ^ key.port;
        mixed.wrapping_mul(STEP) >> (u32::BITS - NEAR_LISTENERS.trailing_zeros())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::IpAddr;
    use std::collections::HashSet;

    #[test]
    fn listeners_of_a_host_spread_over_the_cells() {
        for addresses in [&["198.18.0.1"][..], &["198.18.0.1", "2001:db8::1"]] {
            let mut cells = HashSet::new();
            let mut keys = 0;
            for address in addresses {
                let address = address.parse::<IpAddr>().unwrap().into();
                for port in 8000..9000 {
                    let key = ListenerKey {
                        address,
                        port,
                        route: 0,
                    };
                    let cell = NearListener::cell(&key);
                    assert!(cell < NEAR_LISTENERS);
                    cells.insert(cell);
                    keys += 1;
                }
            }
            assert!(cells.len() * 10 >= keys * 7, "{} of {keys}", cells.len());
        }
    }
}
