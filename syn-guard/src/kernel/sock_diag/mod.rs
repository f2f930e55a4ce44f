//! TCP sockets, as `sock_diag` (`NETLINK_SOCK_DIAG`, `inet_diag.c`) dumps them.
//!
//! A dump walks hash tables without stopping the world: a socket that comes,
//! goes or moves meanwhile may be missing or told twice.

mod age;
mod connection;
mod half_open;
mod listener;

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use netlink_packet_core::{Emitable, Parseable};
use netlink_packet_sock_diag::{
    constants::{AF_INET, AF_INET6, IPPROTO_TCP, SOCK_DIAG_BY_FAMILY},
    inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags},
};

use super::netlink::{NetlinkError, dump};

pub use age::half_open_age;
pub use connection::{Connection, TcpState, for_each_connection};
pub use half_open::{HalfOpen, HalfOpenCount, half_open, half_open_by_port};
pub use listener::{AcceptQueue, Listener, Signed, accept_queues, listeners, listeners_and_signed};

/// `NETLINK_SOCK_DIAG`.
const PROTOCOL: isize = libc::NETLINK_SOCK_DIAG as isize;

/// Bytes of `struct inet_diag_msg`.
const HEADER: usize = 72;

/// Why sockets could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the {what} by sock_diag")]
pub struct SockDiagError {
    what: &'static str,
    source: NetlinkError,
}

/// Calls `each` with the header and the whole payload of every TCP socket in
/// `states`, IPv4 first.
fn each_socket(
    what: &'static str,
    states: StateFlags,
    extensions: ExtensionFlags,
    mut each: impl FnMut(&InetResponseHeader, &[u8]) -> Result<(), NetlinkError>,
) -> Result<(), SockDiagError> {
    each_message(what, states, extensions, 0, |payload| {
        each(&InetResponseHeader::parse(payload)?, payload)
    })
}

/// Calls `each` with the whole payload of every TCP socket in `states` at a local
/// port, or at any for 0; IPv4 first.
fn each_message(
    what: &'static str,
    states: StateFlags,
    extensions: ExtensionFlags,
    port: u16,
    mut each: impl FnMut(&[u8]) -> Result<(), NetlinkError>,
) -> Result<(), SockDiagError> {
    for (family, mut socket_id) in [
        (AF_INET, SocketId::new_v4()),
        (AF_INET6, SocketId::new_v6()),
    ] {
        socket_id.source_port = port;
        let request = InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: extensions.clone(),
            states: states.clone(),
            socket_id,
        };
        let mut bytes = vec![0; request.buffer_len()];
        request.emit(&mut bytes);
        // inet_diag never sets NLM_F_DUMP_INTR: there is nothing to retry on.
        let outcome = dump(PROTOCOL, SOCK_DIAG_BY_FAMILY, &bytes, |kind, payload| {
            if kind == SOCK_DIAG_BY_FAMILY {
                each(payload)?;
            }
            Ok(())
        });
        match outcome {
            // A kernel without IPv6 knows no such sockets.
            Err(NetlinkError::Refused(error))
                if family == AF_INET6 && error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(source) => return Err(SockDiagError { what, source }),
            Ok(_) => {}
        }
    }
    Ok(())
}

/// The local and the remote end; IPv4-mapped addresses as IPv4.
fn ends(id: &SocketId) -> (SocketAddr, SocketAddr) {
    (
        end(id.source_address, id.source_port, id.interface_id),
        end(id.destination_address, id.destination_port, id.interface_id),
    )
}

fn end(address: IpAddr, port: u16, interface: u32) -> SocketAddr {
    match address.to_canonical() {
        // Only link-local addresses mean something else on each interface.
        IpAddr::V6(address) if address.is_unicast_link_local() => {
            SocketAddrV6::new(address, port, 0, interface).into()
        }
        address => SocketAddr::new(address, port),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn mapped_addresses_are_ipv4_and_link_local_ones_keep_their_interface() {
        let end = |text: &str| super::end(text.parse().unwrap(), 80, 3).to_string();
        assert_eq!(end("::ffff:10.0.0.1"), "10.0.0.1:80");
        assert_eq!(end("fe80::1"), "[fe80::1%3]:80");
        assert_eq!(end("2001:db8::1"), "[2001:db8::1]:80");
        assert_eq!(end("::"), "[::]:80");
    }
}
