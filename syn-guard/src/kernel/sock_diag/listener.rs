//! Listening sockets.

use std::{collections::HashSet, net::SocketAddr};

use netlink_packet_core::parse_u32;
use netlink_packet_sock_diag::{
    constants::{AF_INET6, INET_DIAG_SKMEMINFO, INET_DIAG_SKV6ONLY},
    inet::{ExtensionFlags, InetResponseHeader, StateFlags},
};

use super::{HEADER, SockDiagError, each_socket, ends};
use crate::kernel::netlink::{NetlinkError, attributes};

/// A socket in LISTEN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where it listens; an unspecified address is a wildcard. IPv4-mapped
    /// addresses as IPv4.
    pub local: SocketAddr,
    /// An IPv6 socket.
    pub ipv6_socket: bool,
    /// An IPv6 socket that takes no IPv4 connections (`IPV6_V6ONLY`).
    pub v6_only: bool,
    /// Room in its queues: `min(listen(), somaxconn)`.
    pub backlog: u32,
    /// Connections that wait for `accept()`.
    pub accept_queue: u32,
    /// Its receive buffer (`sk_rcvbuf`), bytes.
    pub rcvbuf: u32,
    /// The interface it is bound to, 0 for any.
    pub interface: u32,
    /// Its inode, by which its owner is found.
    pub inode: u64,
    /// The user who made it.
    pub uid: u32,
}

impl Listener {
    /// Whether a connection to `local`, of an IPv6 socket or not, is its own.
    #[must_use]
    pub fn accepts(&self, local: SocketAddr, ipv6_socket: bool) -> bool {
        let address = self.local.ip();
        self.local.port() == local.port()
            && self.ipv6_socket == ipv6_socket
            && (address == local.ip()
                || (address.is_unspecified() && !(self.v6_only && local.is_ipv4())))
    }
}

/// All listening TCP sockets, IPv4 first.
pub fn listeners() -> Result<Vec<Listener>, SockDiagError> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    each_socket(
        "listening sockets",
        StateFlags::LISTEN,
        ExtensionFlags::SKMEMINFO,
        |header, payload| {
            // The dump goes on by position: a listener that closed meanwhile
            // makes it tell another one twice.
            if seen.insert(header.inode) {
                found.push(listener(header, payload)?);
            }
            Ok(())
        },
    )?;
    Ok(found)
}

fn listener(header: &InetResponseHeader, payload: &[u8]) -> Result<Listener, NetlinkError> {
    let (mut v6_only, mut rcvbuf) = (false, 0);
    for attribute in attributes(payload, HEADER) {
        let attribute = attribute?;
        match attribute.kind() {
            INET_DIAG_SKV6ONLY => v6_only = attribute.value().first().is_some_and(|&on| on != 0),
            // u32 values; the second is SK_MEMINFO_RCVBUF.
            INET_DIAG_SKMEMINFO => {
                rcvbuf = parse_u32(attribute.value().get(4..8).unwrap_or_default())?;
            }
            _ => {}
        }
    }
    Ok(Listener {
        local: ends(&header.socket_id).0,
        ipv6_socket: header.family == AF_INET6,
        v6_only,
        backlog: header.send_queue,
        accept_queue: header.recv_queue,
        rcvbuf,
        interface: header.socket_id.interface_id,
        inode: header.inode.into(),
        uid: header.uid,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn finds_our_own_listener() {
        let ours = TcpListener::bind("[::1]:0").unwrap();
        let local = ours.local_addr().unwrap();
        let found = listeners().unwrap();
        let listener = found.iter().find(|l| l.local == local).unwrap();
        assert!(listener.ipv6_socket);
        assert!(listener.backlog >= 128, "{listener:?}");
        assert!(listener.rcvbuf >= 4096, "{listener:?}");
        assert_eq!(listener.accept_queue, 0);
        assert_ne!(listener.inode, 0);
    }

    #[test]
    fn a_listener_accepts_its_family_and_address() {
        let listener = |local: &str, ipv6_socket, v6_only| Listener {
            local: local.parse().unwrap(),
            ipv6_socket,
            v6_only,
            backlog: 0,
            accept_queue: 0,
            rcvbuf: 0,
            interface: 0,
            inode: 1,
            uid: 0,
        };
        let v4: SocketAddr = "10.0.0.1:80".parse().unwrap();
        let v6: SocketAddr = "[2001:db8::1]:80".parse().unwrap();
        assert!(listener("0.0.0.0:80", false, false).accepts(v4, false));
        assert!(!listener("0.0.0.0:81", false, false).accepts(v4, false));
        assert!(!listener("0.0.0.0:80", false, false).accepts(v4, true));
        assert!(listener("[::]:80", true, false).accepts(v4, true));
        assert!(!listener("[::]:80", true, true).accepts(v4, true));
        assert!(listener("[::]:80", true, true).accepts(v6, true));
        assert!(listener("10.0.0.1:80", true, false).accepts(v4, true));
        assert!(!listener("10.0.0.2:80", false, false).accepts(v4, false));
    }
}
