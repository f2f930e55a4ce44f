//! From the host's listening sockets to what the data path must know of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use syn_guard_common::abi::{Listener as Entry, ListenerKey, listener_flags};
use syn_guard_common::window::ReceiveBuffer;

use crate::kernel::TcpSettings;
use crate::kernel::addresses::LocalAddress;
use crate::kernel::sock_diag::Listener;

/// Bytes of the headers that the MTU holds beside the payload.
const IPV4_HEADERS: u32 = 40;
const IPV6_HEADERS: u32 = 60;
/// Bytes of the timestamp option in every segment (RFC 7323 appendix A).
const TIMESTAMPS: u16 = 12;
/// RFC 9293 section 3.7.1.
const LEAST_MSS: u32 = 536;
const MOST_MSS: u32 = 65_495;

/// An own address, with what a SYN-ACK from it depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// The address.
    pub address: IpAddr,
    /// The MTU of its interface, bytes.
    pub mtu: u32,
    /// TTL or hop limit.
    pub ttl: u8,
}

impl Own {
    /// An own address under these settings; `hop_limit` is its interface's.
    #[must_use]
    pub fn new(local: &LocalAddress, settings: &TcpSettings, hop_limit: Option<u8>) -> Self {
        let ttl = match local.address {
            IpAddr::V4(_) => settings.default_ttl,
            IpAddr::V6(_) => hop_limit.unwrap_or(settings.ipv6_hop_limit),
        };
        Self {
            address: local.address,
            mtu: local.mtu,
            ttl,
        }
    }
}

/// Whether anybody but the host itself can reach the listener.
fn is_reachable(listener: &Listener) -> bool {
    !listener.local.ip().to_canonical().is_loopback()
}

/// The ports that somebody outside can connect to.
#[must_use]
pub fn open_ports(listeners: &[Listener]) -> BTreeSet<u16> {
    listeners
        .iter()
        .filter(|listener| is_reachable(listener))
        .map(|listener| listener.local.port())
        .collect()
}

/// The own addresses on which a listener takes connections.
fn addresses<'a>(listener: &Listener, own: &'a [Own]) -> impl Iterator<Item = &'a Own> {
    let bound = listener.local.ip().to_canonical();
    let both = !listener.v6_only;
    own.iter().filter(move |own| match bound {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => own.address.is_ipv4(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => own.address.is_ipv6() || both,
        bound => own.address == bound,
    })
}

/// What the data path must know of the listeners of `slots` (port to slot).
#[must_use]
pub fn entries(
    listeners: &[Listener],
    own: &[Own],
    settings: &TcpSettings,
    slots: &BTreeMap<u16, u32>,
) -> HashMap<ListenerKey, Entry> {
    let mut entries: HashMap<ListenerKey, Entry> = HashMap::new();
    for listener in listeners {
        let Some(slot) = slots.get(&listener.local.port()) else {
            continue;
        };
        for own in addresses(listener, own) {
            let key = ListenerKey {
                address: own.address.into(),
                port: u32::from(listener.local.port()),
            };
            let new = entry(listener, own, settings, *slot);
            entries
                .entry(key)
                // A group with SO_REUSEPORT is full when all of it is.
                .and_modify(|old| old.flags &= new.flags | !listener_flags::ACCEPT_QUEUE_FULL)
                .or_insert(new);
        }
    }
    entries
}

fn entry(listener: &Listener, own: &Own, settings: &TcpSettings, slot: u32) -> Entry {
    let headers = if own.address.is_ipv4() {
        IPV4_HEADERS
    } else {
        IPV6_HEADERS
    };
    let mss = own.mtu.saturating_sub(headers).clamp(LEAST_MSS, MOST_MSS) as u16;
    let buffer = ReceiveBuffer {
        bytes: listener.rcvbuf,
        // A buffer that nobody set has the default size.
        locked: listener.rcvbuf != settings.rmem[1],
        tcp_rmem_max: settings.rmem[2],
        rmem_max: settings.rmem_max,
    };
    let flag = |on: bool, flag: u32| if on { flag } else { 0 };
    // `sk_acceptq_is_full`, Linux 6.18.
    let full = listener.accept_queue > listener.backlog;
    Entry {
        slot,
        flags: flag(settings.timestamps != 0, listener_flags::TIMESTAMPS)
            | flag(settings.sack, listener_flags::SACK)
            | flag(settings.window_scaling, listener_flags::WINDOW_SCALING)
            // 1 asks for ECN and accepts it, 2 (default) accepts it.
            | flag(matches!(settings.ecn, 1 | 2), listener_flags::ECN)
            | flag(full, listener_flags::ACCEPT_QUEUE_FULL),
        mss,
        window: buffer.first_window(mss),
        window_with_timestamps: buffer.first_window(mss.saturating_sub(TIMESTAMPS)),
        scale: buffer.scale(),
        ttl: own.ttl,
        ..Entry::default()
    }
}

/// A service's listeners taken together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Half-open connections that the service can hold: the least of its
    /// addresses, each the sum of its `SO_REUSEPORT` group.
    pub backlog: u64,
    /// Connections waiting to be accepted, on all.
    pub accept_queue: u64,
    /// The addresses.
    pub addresses: BTreeSet<String>,
}

/// The backlogs of all ports.
#[must_use]
pub fn backlogs(listeners: &[Listener]) -> HashMap<u16, Backlog> {
    let mut groups: HashMap<(u16, IpAddr), u64> = HashMap::new();
    let mut backlogs: HashMap<u16, Backlog> = HashMap::new();
    for listener in listeners.iter().filter(|listener| is_reachable(listener)) {
        let (address, port) = (listener.local.ip(), listener.local.port());
        *groups.entry((port, address)).or_default() += u64::from(listener.backlog);
        let backlog = backlogs.entry(port).or_default();
        backlog.accept_queue += u64::from(listener.accept_queue);
        backlog.addresses.insert(if address.is_unspecified() {
            match address {
                IpAddr::V4(_) => format!("0.0.0.0:{port}"),
                IpAddr::V6(_) => format!("[::]:{port}"),
            }
        } else {
            listener.local.to_string()
        });
    }
    for ((port, _), sum) in groups {
        if let Some(backlog) = backlogs.get_mut(&port) {
            backlog.backlog = if backlog.backlog == 0 {
                sum
            } else {
                backlog.backlog.min(sum)
            };
        }
    }
    backlogs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> TcpSettings {
        TcpSettings {
            syncookies: 1,
            synack_retries: 5,
            timestamps: 1,
            sack: true,
            window_scaling: true,
            ecn: 2,
            rmem: [4096, 131_072, 6_291_456],
            rmem_max: 212_992,
            somaxconn: 4096,
            max_syn_backlog: 512,
            default_ttl: 64,
            ipv6_hop_limit: 64,
            adv_win_scale: 1,
            workaround_signed_windows: false,
        }
    }

    fn listener(local: &str, backlog: u32, accept_queue: u32) -> Listener {
        let local: std::net::SocketAddr = local.parse().unwrap();
        Listener {
            local,
            ipv6_socket: local.is_ipv6(),
            v6_only: false,
            backlog,
            accept_queue,
            rcvbuf: 131_072,
            interface: 0,
            inode: 1,
            uid: 0,
        }
    }

    fn own() -> Vec<Own> {
        ["198.18.0.1", "2001:db8::1"]
            .map(|address| Own {
                address: address.parse().unwrap(),
                mtu: 1500,
                ttl: 64,
            })
            .to_vec()
    }

    fn keys(listeners: &[Listener]) -> BTreeSet<String> {
        let slots = BTreeMap::from([(80, 0)]);
        entries(listeners, &own(), &settings(), &slots)
            .keys()
            .map(|key| IpAddr::from(key.address).to_string())
            .collect()
    }

    #[test]
    fn a_wildcard_is_every_own_address_of_its_family() {
        let all = BTreeSet::from(["198.18.0.1".to_owned(), "2001:db8::1".to_owned()]);
        assert_eq!(keys(&[listener("[::]:80", 1, 0)]), all);
        let v4 = BTreeSet::from(["198.18.0.1".to_owned()]);
        assert_eq!(keys(&[listener("0.0.0.0:80", 1, 0)]), v4);
        assert_eq!(keys(&[listener("198.18.0.1:80", 1, 0)]), v4);
        let mut only = listener("[::]:80", 1, 0);
        only.v6_only = true;
        assert_eq!(keys(&[only]), BTreeSet::from(["2001:db8::1".to_owned()]));
        assert_eq!(keys(&[listener("127.0.0.1:80", 1, 0)]), BTreeSet::new());
        assert_eq!(
            keys(&[listener("0.0.0.0:81", 1, 0)]),
            BTreeSet::new(),
            "no service"
        );
    }

    #[test]
    fn the_answer_is_what_the_stack_would_say() {
        let slots = BTreeMap::from([(80, 3)]);
        let all = entries(&[listener("0.0.0.0:80", 1, 0)], &own(), &settings(), &slots);
        let entry = all.values().next().unwrap();
        assert_eq!(
            (entry.slot, entry.mss, entry.scale, entry.ttl),
            (3, 1460, 7, 64)
        );
        assert_eq!(
            (entry.window, entry.window_with_timestamps),
            (64_240, 65_160)
        );
        assert_eq!(entry.flags, 15);
    }

    #[test]
    fn a_group_is_full_when_all_of_it_is() {
        let slots = BTreeMap::from([(80, 0)]);
        let full = |queues: &[u32]| {
            let listeners: Vec<_> = queues
                .iter()
                .map(|queue| listener("0.0.0.0:80", 5, *queue))
                .collect();
            let all = entries(&listeners, &own(), &settings(), &slots);
            all.values().next().unwrap().flags & listener_flags::ACCEPT_QUEUE_FULL != 0
        };
        assert!(!full(&[5]));
        assert!(full(&[6]));
        assert!(!full(&[6, 5]));
        assert!(full(&[6, 6]));
    }

    #[test]
    fn the_backlog_is_the_least_of_the_addresses() {
        let all = backlogs(&[
            listener("0.0.0.0:80", 100, 1),
            listener("0.0.0.0:80", 100, 2),
            listener("[::]:80", 150, 3),
            listener("127.0.0.1:80", 1, 0),
        ]);
        assert_eq!(all[&80].backlog, 150);
        assert_eq!(all[&80].accept_queue, 6);
        assert_eq!(
            all[&80].addresses,
            BTreeSet::from(["0.0.0.0:80".to_owned(), "[::]:80".to_owned()])
        );
    }
}
