//! Listening sockets.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;

use netlink_packet_core::{parse_u8, parse_u32};
use netlink_packet_sock_diag::{
    constants::{
        AF_INET6, INET_DIAG_SKMEMINFO, INET_DIAG_SKV6ONLY, INET_DIAG_TCLASS, INET_DIAG_TOS,
    },
    inet::{ExtensionFlags, InetResponseHeader, StateFlags},
};

use super::{HEADER, SockDiagError, each_message, each_socket, ends};
use crate::kernel::netlink::{NetlinkError, attributes};

/// `INET_DIAG_MD5SIG` of `inet_diag.h`.
const INET_DIAG_MD5SIG: u16 = 18;
/// `INET_DIAG_ULP_INFO` and `INET_ULP_INFO_NAME` of `inet_diag.h`.
const INET_DIAG_ULP_INFO: u16 = 19;
const INET_ULP_INFO_NAME: u16 = 1;

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
    /// The TOS of its IPv4 packets.
    pub tos: u8,
    /// The traffic class of its IPv6 packets.
    pub traffic_class: u8,
    /// The first subflow's socket of an MPTCP listener.
    pub mptcp: bool,
    /// Its inode, by which its owner is found.
    pub inode: u64,
}

impl Listener {
    /// Whether its accept queue takes no more (`sk_acceptq_is_full`, Linux 6.18).
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.accept_queue > self.backlog
    }

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

/// A port and those whose segments to it must be signed (`TCP_MD5SIG`).
pub type Signed = BTreeSet<(u16, IpNet)>;

/// All listening TCP sockets, IPv4 first.
pub fn listeners() -> Result<Vec<Listener>, SockDiagError> {
    Ok(listeners_and_signed()?.0)
}

/// The same, and whose segments must be signed, which the kernel tells only with
/// CAP_NET_ADMIN.
pub fn listeners_and_signed() -> Result<(Vec<Listener>, Signed), SockDiagError> {
    let (mut found, mut signed) = (Vec::new(), BTreeSet::new());
    let mut seen = HashSet::new();
    each_socket(
        "listening sockets",
        StateFlags::LISTEN,
        // The upper protocol (`INET_DIAG_ULP_INFO`) comes with INFO only.
        ExtensionFlags::SKMEMINFO
            | ExtensionFlags::INFO
            | ExtensionFlags::TOS
            | ExtensionFlags::TCLASS,
        |header, payload| {
            // The dump goes on by position: a listener that closed meanwhile
            // makes it tell another one twice.
            if seen.insert(header.inode) {
                let (listener, keys) = listener(header, payload)?;
                let port = listener.local.port();
                signed.extend(keys.into_iter().map(|peer| (port, peer)));
                found.push(listener);
            }
            Ok(())
        },
    )?;
    Ok((found, signed))
}

/// The queue of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptQueue {
    /// See [`Listener::backlog`].
    pub backlog: u32,
    /// See [`Listener::accept_queue`].
    pub waiting: u32,
}

/// The queues of the TCP sockets that listen at a port, or at any for 0, by inode:
/// a fraction of the work of [`listeners`].
pub fn accept_queues(
    port: u16,
    queues: &mut HashMap<u64, AcceptQueue>,
) -> Result<(), SockDiagError> {
    /// Places in `struct inet_diag_msg` (linux/inet_diag.h).
    const RECEIVE_QUEUE: usize = 56;
    const SEND_QUEUE: usize = 60;
    const INODE: usize = 68;
    each_message(
        "listening sockets",
        StateFlags::LISTEN,
        ExtensionFlags::empty(),
        port,
        |message| {
            let word = |at: usize| parse_u32(message.get(at..at + 4).unwrap_or_default());
            let queue = AcceptQueue {
                backlog: word(SEND_QUEUE)?,
                waiting: word(RECEIVE_QUEUE)?,
            };
            queues.insert(word(INODE)?.into(), queue);
            Ok(())
        },
    )
}

fn listener(
    header: &InetResponseHeader,
    payload: &[u8],
) -> Result<(Listener, Vec<IpNet>), NetlinkError> {
    let mut signed = Vec::new();
    let (mut v6_only, mut rcvbuf, mut mptcp) = (false, 0, false);
    let (mut tos, mut traffic_class) = (0, 0);
    for attribute in attributes(payload, HEADER) {
        let attribute = attribute?;
        match attribute.kind() {
            INET_DIAG_SKV6ONLY => v6_only = attribute.value().first().is_some_and(|&on| on != 0),
            // u32 values; the second is SK_MEMINFO_RCVBUF.
            INET_DIAG_SKMEMINFO => {
                rcvbuf = parse_u32(attribute.value().get(4..8).unwrap_or_default())?;
            }
            INET_DIAG_TOS => tos = parse_u8(attribute.value())?,
            INET_DIAG_TCLASS => traffic_class = parse_u8(attribute.value())?,
            INET_DIAG_MD5SIG => signed = keys(attribute.value()),
            INET_DIAG_ULP_INFO => mptcp = is_mptcp(attribute.value())?,
            _ => {}
        }
    }
    let listener = Listener {
        local: ends(&header.socket_id).0,
        ipv6_socket: header.family == AF_INET6,
        v6_only,
        backlog: header.send_queue,
        accept_queue: header.recv_queue,
        rcvbuf,
        tos,
        traffic_class,
        mptcp,
        inode: header.inode.into(),
    };
    Ok((listener, signed))
}

/// The peers of `struct tcp_diag_md5sig`s (linux/inet_diag.h): family at 0, bits of the
/// prefix at 1, address at 4; 100 bytes each.
fn keys(value: &[u8]) -> Vec<IpNet> {
    const EACH: usize = 100;
    let peer = |key: &[u8]| {
        let octets: [u8; 16] = key.get(4..20)?.try_into().ok()?;
        let address: IpAddr = if i32::from(*key.first()?) == libc::AF_INET {
            <[u8; 4]>::try_from(&octets[..4]).ok()?.into()
        } else {
            octets.into()
        };
        IpNet::new(address, *key.get(1)?).ok()
    };
    value.chunks_exact(EACH).filter_map(peer).collect()
}

/// Whether the nested attributes of `INET_DIAG_ULP_INFO` name MPTCP.
fn is_mptcp(nested: &[u8]) -> Result<bool, NetlinkError> {
    for attribute in attributes(nested, 0) {
        let attribute = attribute?;
        if attribute.kind() == INET_ULP_INFO_NAME {
            return Ok(attribute.value().strip_suffix(&[0]) == Some(b"mptcp"));
        }
    }
    Ok(false)
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
        assert!(!listener.mptcp);
        for port in [0, local.port()] {
            let mut queues = HashMap::new();
            accept_queues(port, &mut queues).unwrap();
            let queue = queues[&listener.inode];
            assert_eq!((queue.backlog, queue.waiting), (listener.backlog, 0));
            assert!(port == 0 || queues.len() < 3, "{queues:?}");
        }
    }

    #[test]
    fn the_upper_protocol_is_named() {
        let nested = |name: &[u8; 6]| {
            let mut bytes = vec![10, 0, 1, 0];
            bytes.extend_from_slice(name);
            bytes.extend_from_slice(&[0, 0]);
            bytes
        };
        assert!(is_mptcp(&nested(b"mptcp\0")).unwrap());
        assert!(!is_mptcp(&nested(b"smctc\0")).unwrap());
        assert!(!is_mptcp(&[]).unwrap());
    }

    #[test]
    fn an_mptcp_listener_is_known() {
        // SAFETY: plain calls; the descriptor is owned at once.
        let ours = unsafe {
            let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP);
            if socket < 0 {
                eprintln!("skipped: this kernel has no MPTCP");
                return;
            }
            let ours = <TcpListener as std::os::fd::FromRawFd>::from_raw_fd(socket);
            assert_eq!(libc::listen(socket, 5), 0);
            ours
        };
        let port = ours.local_addr().unwrap().port();
        let found = listeners().unwrap();
        let listener = found.iter().find(|l| l.local.port() == port).unwrap();
        assert!(listener.mptcp, "{listener:?}");
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
            tos: 0,
            traffic_class: 0,
            mptcp: false,
            inode: 1,
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
