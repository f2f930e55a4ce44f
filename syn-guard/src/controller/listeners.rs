//! From the host's listening sockets to what the data path must know of them.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
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
/// What is said of a service with an MPTCP listener.
pub const MPTCP: &str = "its SYNs always go to the kernel: MPTCP listener";
/// RFC 9293 section 3.7.1.
const LEAST_MSS: u32 = 536;
const MOST_MSS: u32 = 65_495;
/// For how long a full accept queue counts as full unless it is told again.
const FULL_NS: u64 = 1_000_000_000;
/// A full accept queue is told again when its time moved on by this much.
const TELL_AGAIN_NS: u64 = 200_000_000;

/// An own address, with what a SYN-ACK from it depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// The address.
    pub address: IpAddr,
    /// The least MTU that a SYN-ACK may leave by, bytes.
    pub mtu: u32,
    /// TTL or hop limit.
    pub ttl: u8,
}

impl Own {
    /// An own address under these settings; `hop_limit` is its interface's.
    /// Its SYN-ACKs leave by a guarded interface, the least of whose MTUs is
    /// `guarded_mtu`: an address on `lo` has 65,536.
    #[must_use]
    pub fn new(
        local: &LocalAddress,
        settings: &TcpSettings,
        hop_limit: Option<u8>,
        guarded_mtu: Option<u32>,
    ) -> Self {
        let ttl = match local.address {
            IpAddr::V4(_) => settings.default_ttl,
            IpAddr::V6(_) => hop_limit.unwrap_or(settings.ipv6_hop_limit),
        };
        Self {
            address: local.address,
            mtu: guarded_mtu.map_or(local.mtu, |guarded| guarded.min(local.mtu)),
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

/// How well a listener fits an address: the kernel takes the best
/// (`compute_score`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// A wildcard of both families.
    Both,
    /// A wildcard of the address's family.
    Family,
    /// The address itself.
    Exact,
}

/// How well a listener fits an own address; none: not at all.
fn fit(listener: &Listener, own: IpAddr) -> Option<Fit> {
    match listener.local.ip().to_canonical() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => own.is_ipv4().then_some(Fit::Family),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) if own.is_ipv6() => Some(Fit::Family),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => (!listener.v6_only).then_some(Fit::Both),
        bound => (own == bound).then_some(Fit::Exact),
    }
}

/// What the entries go by beside the listeners.
#[derive(Clone, Debug)]
pub struct Host {
    /// The own addresses.
    pub own: Vec<Own>,
    /// The settings.
    pub settings: TcpSettings,
    /// Sizes of a receive buffer that nobody set: `tcp_rmem[1]`, now and
    /// before, for a listener keeps what it began with.
    pub default_buffers: BTreeSet<u32>,
}

/// What the data path must know of the listeners of the services (port to
/// slot) at `now_ns`.
#[must_use]
pub fn entries(
    listeners: &[Listener],
    host: &Host,
    services: &BTreeMap<u16, u32>,
    now_ns: u64,
) -> HashMap<ListenerKey, Entry> {
    let mut entries: HashMap<ListenerKey, (Fit, Entry)> = HashMap::new();
    for listener in listeners
        .iter()
        .filter(|listener| services.contains_key(&listener.local.port()))
    {
        for own in &host.own {
            let Some(fit) = fit(listener, own.address) else {
                continue;
            };
            let key = ListenerKey {
                address: own.address.into(),
                port: u32::from(listener.local.port()),
                route: 0,
            };
            let new = entry(listener, own, host, now_ns);
            entries
                .entry(key)
                .and_modify(|(old_fit, old)| match fit.cmp(old_fit) {
                    Ordering::Less => {}
                    Ordering::Greater => (*old_fit, *old) = (fit, new),
                    Ordering::Equal => join(old, &new),
                })
                .or_insert((fit, new));
        }
    }
    entries
        .into_iter()
        .map(|(key, (_, entry))| (key, entry))
        .collect()
}

/// Adds another listener of a group with `SO_REUSEPORT`: it is full when all
/// of it is, and any of it may be the one that takes no cookie's connection.
fn join(group: &mut Entry, new: &Entry) {
    group.full_until_ns = group.full_until_ns.min(new.full_until_ns);
    group.flags |= new.flags & listener_flags::NO_COOKIES;
}

/// Whether the data path, which was told `old`, must be told `new`.
#[must_use]
pub fn must_tell(old: &Entry, new: &Entry) -> bool {
    let full = |entry: &Entry| entry.full_until_ns != 0;
    let same = |entry: &Entry| Entry {
        full_until_ns: 0,
        ..*entry
    };
    same(old) != same(new)
        || full(old) != full(new)
        || new.full_until_ns.saturating_sub(old.full_until_ns) >= TELL_AGAIN_NS
}

fn entry(listener: &Listener, own: &Own, host: &Host, now_ns: u64) -> Entry {
    let settings = &host.settings;
    let headers = if own.address.is_ipv4() {
        IPV4_HEADERS
    } else {
        IPV6_HEADERS
    };
    let mss = own.mtu.saturating_sub(headers).clamp(LEAST_MSS, MOST_MSS) as u16;
    let buffer = ReceiveBuffer {
        bytes: listener.rcvbuf,
        // sock_diag does not tell whether somebody set it. One whose listener
        // is older than this controller and a change of tcp_rmem seems set.
        locked: !host.default_buffers.contains(&listener.rcvbuf),
        tcp_rmem_max: settings.rmem[2],
        rmem_max: settings.rmem_max,
    };
    let flag = |on: bool, flag: u32| if on { flag } else { 0 };
    // `sk_acceptq_is_full`, Linux 6.18.
    let full = listener.accept_queue > listener.backlog;
    Entry {
        full_until_ns: if full { now_ns + FULL_NS } else { 0 },
        flags: flag(settings.timestamps != 0, listener_flags::TIMESTAMPS)
            | flag(settings.sack, listener_flags::SACK)
            | flag(settings.window_scaling, listener_flags::WINDOW_SCALING)
            // 1 asks for ECN and accepts it, 2 (default) accepts it.
            | flag(matches!(settings.ecn, 1 | 2), listener_flags::ECN)
            // `bpf_sk_assign_tcp_reqsk` refuses an MPTCP listener.
            | flag(listener.mptcp, listener_flags::NO_COOKIES),
        mss,
        window: buffer.first_window(mss),
        window_with_timestamps: buffer.first_window(mss.saturating_sub(TIMESTAMPS)),
        scale: buffer.scale(),
        ttl: own.ttl,
        ..Entry::default()
    }
}

/// The name of the program that only looks as if it served a port.
const PROXY: &str = "docker-proxy";

/// The listeners of `docker-proxy`: connections from outside are forwarded
/// to a container before they would reach them.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// Whether each listener, by inode, is a proxy's.
    known: HashMap<u64, bool>,
    said: BTreeSet<u16>,
}

impl Proxies {
    /// Leaves them out of `listeners`; the ports of which that is news.
    /// `program_of` names the programs that hold sockets, and is asked only
    /// of those not seen before.
    pub fn leave_out(
        &mut self,
        listeners: &mut Vec<Listener>,
        program_of: impl FnOnce(&HashSet<u64>) -> HashMap<u64, String>,
    ) -> Vec<u16> {
        let there: HashSet<u64> = listeners.iter().map(|listener| listener.inode).collect();
        self.known.retain(|inode, _| there.contains(inode));
        let new: HashSet<u64> = there
            .into_iter()
            .filter(|inode| !self.known.contains_key(inode))
            .collect();
        if !new.is_empty() {
            let programs = program_of(&new);
            self.known.extend(new.into_iter().map(|inode| {
                let program = programs.get(&inode).map(String::as_str);
                (inode, program == Some(PROXY))
            }));
        }
        let mut ports = BTreeSet::new();
        listeners.retain(|listener| {
            let proxy = self.known.get(&listener.inode) == Some(&true);
            if proxy {
                ports.insert(listener.local.port());
            }
            !proxy
        });
        let news = ports.difference(&self.said).copied().collect();
        self.said = ports;
        news
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
    /// The addresses, with a word where SYNs go to the kernel.
    pub addresses: BTreeSet<String>,
    /// Some of it is MPTCP: there SYNs always go to the kernel.
    pub mptcp: bool,
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
        backlog.mptcp |= listener.mptcp;
        let mptcp = if listener.mptcp {
            " (MPTCP, no cookies)"
        } else {
            ""
        };
        backlog
            .addresses
            .insert(format!("{}{mptcp}", listener.local));
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
            synack_retries: 5,
            timestamps: 1,
            sack: true,
            window_scaling: true,
            ecn: 2,
            rmem: [4096, 131_072, 6_291_456],
            rmem_max: 212_992,
            default_ttl: 64,
            ipv6_hop_limit: 64,
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
            mptcp: false,
            inode: 1,
        }
    }

    const NOW: u64 = 7_000_000_000;

    fn host() -> Host {
        let own = ["198.18.0.1", "2001:db8::1"]
            .map(|address| Own {
                address: address.parse().unwrap(),
                mtu: 1500,
                ttl: 64,
            })
            .to_vec();
        Host {
            own,
            settings: settings(),
            default_buffers: BTreeSet::from([131_072]),
        }
    }

    /// The entry of 198.18.0.1:80.
    fn first(listeners: &[Listener]) -> Entry {
        let key = ListenerKey {
            address: IpAddr::from([198, 18, 0, 1]).into(),
            port: 80,
            route: 0,
        };
        entries(listeners, &host(), &BTreeMap::from([(80, 3)]), NOW)[&key]
    }

    fn keys(listeners: &[Listener]) -> BTreeSet<String> {
        let slots = BTreeMap::from([(80, 0)]);
        entries(listeners, &host(), &slots, NOW)
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
        let entry = first(&[listener("0.0.0.0:80", 1, 0)]);
        assert_eq!((entry.mss, entry.scale, entry.ttl), (1460, 7, 64));
        assert_eq!(
            (entry.window, entry.window_with_timestamps),
            (64_240, 65_160)
        );
        assert_eq!(entry.flags, 15);
    }

    #[test]
    fn a_group_is_full_when_all_of_it_is() {
        let full = |queues: &[u32]| {
            let listeners: Vec<_> = queues
                .iter()
                .map(|queue| listener("0.0.0.0:80", 5, *queue))
                .collect();
            first(&listeners).full_until_ns == NOW + FULL_NS
        };
        assert!(!full(&[5]));
        assert!(full(&[6]));
        assert!(!full(&[6, 5]));
        assert!(full(&[6, 6]));
        assert_eq!(first(&[listener("0.0.0.0:80", 5, 5)]).full_until_ns, 0);
    }

    #[test]
    fn a_full_queue_is_told_again_only_when_its_time_moved_on() {
        let entry = |full_until_ns| Entry {
            full_until_ns,
            ..Entry::default()
        };
        assert!(!must_tell(&entry(0), &entry(0)));
        assert!(must_tell(&entry(0), &entry(1)));
        assert!(must_tell(&entry(1), &entry(0)));
        assert!(!must_tell(&entry(1), &entry(TELL_AGAIN_NS)));
        assert!(must_tell(&entry(1), &entry(TELL_AGAIN_NS + 1)));
        let other = Entry {
            mss: 1,
            ..Entry::default()
        };
        assert!(must_tell(&entry(0), &other));
    }

    #[test]
    fn an_mptcp_listener_gets_no_cookies_alone_or_in_a_group() {
        let plain = listener("0.0.0.0:80", 1, 0);
        let mptcp = Listener {
            mptcp: true,
            ..plain
        };
        for listeners in [vec![mptcp], vec![mptcp, plain], vec![plain, mptcp]] {
            assert_ne!(first(&listeners).flags & listener_flags::NO_COOKIES, 0);
        }
        assert_eq!(first(&[plain]).flags & listener_flags::NO_COOKIES, 0);
        let backlog = &backlogs(&[mptcp])[&80];
        assert!(backlog.mptcp);
        assert!(backlog.addresses.contains("0.0.0.0:80 (MPTCP, no cookies)"));
    }

    #[test]
    fn the_best_fit_wins_whatever_the_order() {
        let set = |local: &str, rcvbuf| Listener {
            rcvbuf,
            ..listener(local, 1, 0)
        };
        let window = |listeners: &[Listener]| first(listeners).window;
        let exact = set("198.18.0.1:80", 2920);
        let (family, both) = (set("0.0.0.0:80", 5840), set("[::]:80", 8760));
        assert_eq!(window(&[exact, family, both]), 1460);
        assert_eq!(window(&[both, family, exact]), 1460);
        assert_eq!(window(&[both, family]), 2920);
        assert_eq!(window(&[family, both]), 2920);
        assert_eq!(window(&[both]), 4380);
    }

    #[test]
    fn a_buffer_that_was_once_the_default_is_not_set() {
        let small = Listener {
            rcvbuf: 65_536,
            ..listener("0.0.0.0:80", 1, 0)
        };
        assert_eq!(first(&[small]).scale, 0);
        let mut host = host();
        host.default_buffers.insert(65_536);
        let all = entries(&[small], &host, &BTreeMap::from([(80, 0)]), NOW);
        assert!(all.values().all(|entry| entry.scale == 7));
    }

    #[test]
    fn a_proxys_listeners_are_left_out_and_said_once() {
        let with = |local: &str, inode| Listener {
            inode,
            ..listener(local, 1, 0)
        };
        let all = vec![
            with("0.0.0.0:80", 1),
            with("[::]:80", 2),
            with("0.0.0.0:22", 3),
        ];
        let mut proxies = Proxies::default();
        let mut first = all.clone();
        let news = proxies.leave_out(&mut first, |inodes| {
            assert_eq!(inodes.len(), 3);
            HashMap::from([
                (1, PROXY.to_owned()),
                (2, PROXY.to_owned()),
                (3, "sshd".to_owned()),
            ])
        });
        assert_eq!(news, [80]);
        assert_eq!(open_ports(&first), BTreeSet::from([22]));
        let mut second = all;
        let asked = |_: &HashSet<u64>| panic!("asked again");
        assert!(proxies.leave_out(&mut second, asked).is_empty());
        assert_eq!(second.len(), 1);
    }

    #[test]
    fn the_mss_fits_the_guarded_interfaces() {
        let local = LocalAddress {
            address: IpAddr::from([198, 18, 0, 9]),
            interface_index: 1,
            interface: "lo".to_owned(),
            mtu: 65_536,
        };
        let mtu = |guarded| Own::new(&local, &settings(), None, guarded).mtu;
        assert_eq!(
            (mtu(Some(1500)), mtu(Some(100_000)), mtu(None)),
            (1500, 65_536, 65_536)
        );
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
