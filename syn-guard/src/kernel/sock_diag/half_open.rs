//! Half-open connections.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use netlink_packet_sock_diag::{
    constants::AF_INET6,
    inet::{ExtensionFlags, InetResponseHeader, StateFlags, Timer},
};

use super::{SockDiagError, each_socket, ends, half_open_age};

/// A request socket in SYN_RECV: the SYN came, the handshake is not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HalfOpen {
    /// The own end.
    pub local: SocketAddr,
    /// The client's end, IPv4-mapped addresses as IPv4.
    pub remote: SocketAddr,
    /// The listener is an IPv6 socket, also when the addresses are IPv4.
    pub ipv6_socket: bool,
    /// SYN-ACKs sent again so far.
    pub retransmits: u8,
    /// Time until the next SYN-ACK, or until the kernel gives up.
    pub expires: Duration,
    /// Time since the SYN, see [`half_open_age`].
    pub age: Duration,
}

/// All half-open connections, IPv4 sockets first, in the kernel's order.
pub fn half_open() -> Result<Vec<HalfOpen>, SockDiagError> {
    let mut found = Vec::new();
    each_socket(
        "half-open connections",
        // The kernel adds TCP_NEW_SYN_RECV, the request sockets' state.
        StateFlags::SYN_RECV,
        ExtensionFlags::empty(),
        |header, _| {
            let (expires, retransmits) = timer(header);
            let (local, remote) = ends(&header.socket_id);
            found.push(HalfOpen {
                local,
                remote,
                ipv6_socket: header.family == AF_INET6,
                retransmits,
                expires,
                age: half_open_age(retransmits, expires),
            });
            Ok(())
        },
    )?;
    Ok(found)
}

/// Time until the SYN-ACK timer ends, and SYN-ACKs sent again so far.
fn timer(header: &InetResponseHeader) -> (Duration, u8) {
    match header.timer {
        Some(Timer::Retransmit(expires, retransmits)) => (expires, retransmits),
        _ => (Duration::ZERO, 0),
    }
}

/// Half-open connections of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HalfOpenCount {
    /// All.
    pub all: u64,
    /// Those whose SYN-ACK was sent again at least once.
    pub retransmitted: u64,
}

/// How many half-open connections each local port has that `counts` by port
/// and age. Keeps nothing else: memory does not grow with their number.
pub fn half_open_by_port(
    counts: impl Fn(u16, Duration) -> bool,
) -> Result<HashMap<u16, HalfOpenCount>, SockDiagError> {
    let mut by_port: HashMap<u16, HalfOpenCount> = HashMap::new();
    each_socket(
        "half-open connections",
        StateFlags::SYN_RECV,
        ExtensionFlags::empty(),
        |header, _| {
            let (expires, retransmits) = timer(header);
            let port = header.socket_id.source_port;
            if counts(port, half_open_age(retransmits, expires)) {
                let count = by_port.entry(port).or_default();
                count.all += 1;
                count.retransmitted += u64::from(retransmits > 0);
            }
            Ok(())
        },
    )?;
    Ok(by_port)
}
