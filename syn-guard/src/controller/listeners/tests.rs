use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use super::entry::FULL_NS;
use super::proxies::PROXIES;
use super::*;
use crate::controller::closed::Closures;
use crate::controller::route_classes::{Classes, Clients, PATH, Path};
use crate::controller::routes::RouteClasses;
use crate::controller::rules::VirtualAddresses;
use crate::kernel::TcpSettings;
use crate::kernel::socket_options::SocketOptions;

/// What Linux starts with.
pub fn settings() -> TcpSettings {
    TcpSettings {
        synack_retries: 5,
        timestamps: 1,
        sack: true,
        window_scaling: true,
        ecn: 2,
        rmem: [4096, 131_072, 6_291_456],
        rmem_max: 212_992,
        signed_windows: false,
        adv_win_scale: None,
        reflect_tos: false,
        least_mss: 256,
        ipv6_least_mss: 1220,
        auto_flow_labels: 1,
        default_ttl: 64,
        ipv6_hop_limit: 64,
        ipv6_all_hop_limit: 64,
    }
}

pub fn listener(local: &str, backlog: u32, accept_queue: u32) -> Listener {
    let local: std::net::SocketAddr = local.parse().unwrap();
    Listener {
        local,
        ipv6_socket: local.is_ipv6(),
        v6_only: false,
        backlog,
        accept_queue,
        rcvbuf: 131_072,
        tos: 0,
        traffic_class: 0,
        mptcp: false,
        inode: 1,
    }
}

const NOW: u64 = 7_000_000_000;

fn path(mss: u16) -> Path {
    Path { mss, ..PATH }
}

pub fn host() -> Host {
    Host {
        own: ["198.18.0.1", "2001:db8::1"]
            .map(|address| address.parse().unwrap())
            .to_vec(),
        settings: settings(),
        routes: RouteClasses {
            ipv4: Classes::one(path(1460)),
            ipv6: Classes::one(path(1440)),
        },
        closures: Closures::default(),
        options: HashMap::new(),
        default_buffers: BTreeSet::from([131_072]),
        needs_proof: false,
        virtual_addresses: VirtualAddresses::default(),
    }
}

/// The entry of an own address and port 80 on this host.
fn on(host: &Host, listeners: &[Listener], address: &str, route: u32) -> Entry {
    let address: IpAddr = address.parse().unwrap();
    let key = ListenerKey {
        address: address.into(),
        port: 80,
        route,
    };
    entries(listeners, host, &BTreeMap::from([(80, 3)]), NOW)[&key]
}

/// The entry of 198.18.0.1:80.
fn first(listeners: &[Listener]) -> Entry {
    on(&host(), listeners, "198.18.0.1", 0)
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
fn what_ipvs_leads_elsewhere_has_no_listener_here() {
    let led = |at: &[(&str, u16)]| {
        let virtual_addresses = at.iter().map(|(own, port)| (own.parse().unwrap(), *port));
        let host = Host {
            virtual_addresses: VirtualAddresses::new(virtual_addresses.collect()),
            ..host()
        };
        let slots = BTreeMap::from([(80, 0)]);
        entries(&[listener("[::]:80", 1, 0)], &host, &slots, NOW).len()
    };
    assert_eq!(led(&[]), 2);
    assert_eq!(led(&[("198.18.0.1", 81), ("198.18.0.9", 80)]), 2);
    assert_eq!(led(&[("198.18.0.1", 80)]), 1);
    // All ports of an address.
    assert_eq!(led(&[("198.18.0.1", 80), ("2001:db8::1", 0)]), 0);
}

#[test]
fn the_answer_is_what_the_stack_would_say() {
    let entry = first(&[listener("0.0.0.0:80", 1, 0)]);
    assert_eq!((entry.mss, entry.scale, entry.ttl), (1460, 7, 64));
    assert_eq!(
        (entry.window, entry.window_with_timestamps),
        (64_240, 65_160)
    );
    assert_eq!(entry.flags, 15, "and no flow label with IPv4");
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
            (1, PROXIES[0].to_owned()),
            (2, PROXIES[1].to_owned()),
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

#[test]
fn what_the_program_set_goes_before_what_the_settings_say() {
    let both = [listener("[::]:80", 1, 0)];
    let set = SocketOptions {
        buffer_locked: Some(true),
        max_segment: 1000,
        window_clamp: 5000,
        ttl: Some(9),
        hop_limit: Some(8),
        auto_flow_label: Some(false),
        is_picky: false,
    };
    let mut host = host();
    let before = on(&host, &both, "2001:db8::1", 0);
    assert_ne!(before.flags & listener_flags::FLOW_LABEL, 0);
    assert_eq!((before.mss, before.ttl, before.scale), (1440, 64, 7));
    host.options.insert(1, set);
    let ipv6 = on(&host, &both, "2001:db8::1", 0);
    assert_eq!(ipv6.flags & listener_flags::FLOW_LABEL, 0);
    assert_eq!((ipv6.mss, ipv6.ttl, ipv6.scale), (1000, 8, 0));
    assert_eq!((ipv6.window, ipv6.window_with_timestamps), (5000, 4940));
    assert_eq!(on(&host, &both, "198.18.0.1", 0).ttl, 9);
    assert_eq!(ipv6.flags & listener_flags::NO_COOKIES, 0);
    let picky = SocketOptions {
        is_picky: true,
        ..set
    };
    host.options.insert(1, picky);
    let picky = on(&host, &both, "198.18.0.1", 0);
    assert_ne!(picky.flags & listener_flags::NO_COOKIES, 0);
    // A larger one than the route's does not count.
    host.options.insert(
        1,
        SocketOptions {
            max_segment: 2000,
            ..SocketOptions::default()
        },
    );
    assert_eq!(on(&host, &both, "2001:db8::1", 0).mss, 1440);
}

#[test]
fn each_family_has_its_own_type_of_service() {
    let both = [Listener {
        tos: 0x10,
        traffic_class: 0x20,
        ..listener("[::]:80", 1, 0)
    }];
    assert_eq!(on(&host(), &both, "198.18.0.1", 0).tos, 0x10);
    assert_eq!(on(&host(), &both, "2001:db8::1", 0).tos, 0x20);
}

#[test]
fn flow_labels_follow_the_setting() {
    let ipv6 = [listener("[::]:80", 1, 0)];
    let mut host = host();
    for (setting, labels) in [(0, false), (1, true), (2, false), (3, true)] {
        host.settings.auto_flow_labels = setting;
        let flags = on(&host, &ipv6, "2001:db8::1", 0).flags;
        assert_eq!(flags & listener_flags::FLOW_LABEL != 0, labels, "{setting}");
        let flags = on(&host, &ipv6, "198.18.0.1", 0).flags;
        assert_eq!(flags & listener_flags::FLOW_LABEL, 0, "IPv4 has none");
    }
}

#[test]
fn every_route_class_has_an_entry_and_the_first_says_so() {
    let mut host = host();
    let routes = crate::kernel::route_metrics::Routes {
        by_prefix: [("0.0.0.0", 0, 0), ("10.0.0.0", 8, 1)]
            .map(|(address, length, way)| {
                let prefix = crate::kernel::route_metrics::Prefix {
                    length,
                    address: address.parse().unwrap(),
                };
                (prefix, way)
            })
            .into(),
        ..Default::default()
    };
    let ten = Path {
        hop_limit: 3,
        ecn: true,
        segments: 2,
        ..path(1000)
    };
    host.settings.ecn = 0;
    let closures = Closures::default();
    let clients = Clients {
        ipv6: false,
        otherwise: ten,
        closures: &closures,
    };
    host.routes.ipv4 = Classes::new(&routes, &[path(1460), ten], &clients, None, 10);
    let full = [listener("0.0.0.0:80", 1, 2)];
    let (first, other) = (
        on(&host, &full, "198.18.0.1", 0),
        on(&host, &full, "198.18.0.1", 1),
    );
    let routed = listener_flags::ROUTED;
    assert_eq!((first.flags & routed, other.flags & routed), (routed, 0));
    assert_eq!((first.mss, first.ttl), (1460, 64));
    assert_eq!((other.mss, other.ttl, other.window), (1000, 3, 2000));
    let ecn = listener_flags::ECN;
    assert_eq!((first.flags & ecn, other.flags & ecn), (0, ecn));
    assert_eq!(
        (first.full_until_ns, other.full_until_ns),
        (NOW + FULL_NS, 0)
    );
}

#[test]
fn a_service_that_is_closed_to_some_says_so_by_route_class() {
    use crate::controller::ServiceOptions;
    use crate::kernel::sock_diag::Signed;
    let mut host = host();
    let options = ServiceOptions {
        open_to: vec!["10.0.0.0/8".parse().unwrap()],
        ..ServiceOptions::default()
    };
    host.closures = Closures::new(&BTreeMap::from([(80, options)]), &Signed::new());
    let closed = Path {
        closed: host.closures.bit(80),
        ..path(1460)
    };
    let sockets = [listener("0.0.0.0:80", 1, 0)];
    let of_all = listener_flags::NO_COOKIES | listener_flags::CLOSED;
    let flags = |host: &Host, class| on(host, &sockets, "198.18.0.1", class).flags & of_all;

    // Closed to everybody.
    host.routes.ipv4 = Classes::one(closed);
    assert_eq!(flags(&host, 0), listener_flags::NO_COOKIES);

    let routes = crate::kernel::route_metrics::Routes {
        others: true,
        by_prefix: std::iter::once((
            crate::kernel::route_metrics::Prefix {
                length: 0,
                address: "0.0.0.0".parse().unwrap(),
            },
            0,
        ))
        .collect(),
        ..Default::default()
    };
    let clients = Clients {
        ipv6: false,
        otherwise: path(1460),
        closures: &host.closures,
    };
    host.routes.ipv4 = Classes::new(&routes, &[path(1460)], &clients, None, 10);
    assert_eq!(flags(&host, 0), listener_flags::CLOSED);
    assert_eq!(flags(&host, 1), 0);
}
