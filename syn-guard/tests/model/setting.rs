//! The services, listeners, routes and connections that the generated frames
//! meet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use syn_guard_common::abi::{ListKind, Listener, State, listener_flags};
use xtask::lab::{Lab, SERVER_IPV4, SERVER_IPV6, SERVER_MAC, honest_ipv4, honest_ipv6};

use crate::reference::Entry;
use crate::rig::{Rig, plain};

/// Protects.
pub const PROTECTING: u16 = 80;
/// Observes.
pub const OBSERVING: u16 = 81;
/// A service in no state.
pub const OFF: u16 = 82;
/// Observes until half-open connections reach [`LIMIT`].
pub const AUTO: u16 = 83;
/// Protects; its listener is gone, which the controller does not know yet.
pub const GONE: u16 = 84;
/// Protects; its accept queue is full.
pub const FULL: u16 = 85;
/// Protects; its listener takes no cookie's connections.
pub const NO_COOKIES: u16 = 86;
/// Protects, with listeners of many settings.
pub const MANY_PROTECTING: u16 = 443;
/// Observes, with listeners of many settings.
pub const MANY_OBSERVING: u16 = 444;
/// No service.
pub const UNGUARDED: u16 = 8080;
/// All of them but that.
pub const SERVICES: [u16; 9] = [
    PROTECTING,
    OBSERVING,
    OFF,
    AUTO,
    GONE,
    FULL,
    NO_COOKIES,
    MANY_PROTECTING,
    MANY_OBSERVING,
];

/// The limit of [`AUTO`].
pub const LIMIT: u64 = 40;
/// A second own hardware address.
pub const OTHER_OWN_MAC: [u8; 6] = [0x02, 0xfe, 0x10, 0x20, 0x30, 0x47];
/// Own addresses of a family beside the lab's.
const MANY: u16 = 16;

/// An own address with settings of its own.
pub fn own_address(ipv6: bool, index: u16) -> IpAddr {
    let last = 0x10 + index % MANY;
    if ipv6 {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, last).into()
    } else {
        Ipv4Addr::new(198, 18, 0, last as u8).into()
    }
}

/// A client with a connection that the stack knows.
pub fn connected(ipv6: bool, index: u16) -> SocketAddr {
    let address = if ipv6 {
        honest_ipv6(u32::from(index) + 1)
    } else {
        honest_ipv4(index + 1)
    };
    SocketAddr::new(address, 30_000 + index)
}

/// Connections of each family.
pub const CONNECTIONS: u16 = 8;

/// Networks of clients by route class: of 1 and 2 most listeners say
/// something of their own, of 3 none.
pub const ROUTES: [(&str, u32, u32); 6] = [
    ("10.1.0.0", 16, 1),
    ("10.1.2.0", 24, 2),
    ("10.3.0.0", 16, 3),
    ("2001:db8:2001::", 48, 1),
    ("2001:db8:2001:7::", 64, 2),
    ("2001:db8:2003::", 48, 3),
];

/// Listed prefixes. The longest says what holds.
const LISTED: [(&str, ListKind); 6] = [
    ("10.3.0.0/20", ListKind::Deny),
    ("10.3.2.64/26", ListKind::Allow),
    ("10.3.2.77/32", ListKind::Deny),
    ("2001:db8:2003:4000::/50", ListKind::Deny),
    ("2001:db8:2003:7::/64", ListKind::Deny),
    ("2001:db8:2003:7:8000::/65", ListKind::Allow),
];

/// Prefixes whose time is over, and what holds for the same ones then.
const ENDED: [(&str, ListKind, Option<ListKind>); 4] = [
    ("10.3.2.128/25", ListKind::Allow, None),
    ("10.3.2.192/26", ListKind::Allow, None),
    ("10.3.4.0/24", ListKind::Deny, Some(ListKind::Allow)),
    ("2001:db8:2000:7::/64", ListKind::Deny, None),
];

/// A listed client of either family.
pub fn listed(ipv6: bool, list: ListKind) -> IpAddr {
    let text = match (ipv6, list) {
        (false, ListKind::Allow) => "10.3.2.65",
        (false, ListKind::Deny) => "10.3.2.1",
        (true, ListKind::Allow) => "2001:db8:2003:7:8000::1",
        (true, ListKind::Deny) => "2001:db8:2003:7::1",
    };
    text.parse().unwrap()
}

/// The lab's server address of a family.
pub fn server(ipv6: bool) -> IpAddr {
    if ipv6 {
        SERVER_IPV6.into()
    } else {
        SERVER_IPV4.into()
    }
}

/// Sets everything up. The calling thread must be in the server's namespace.
pub fn set_up(rig: &mut Rig, lab: &Lab, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    rig.set_own_macs(&[SERVER_MAC, OTHER_OWN_MAC]);
    rig.set_keys([0; 4].map(|_| (random.random(), random.random())));
    for (network, bits, class) in ROUTES {
        rig.add_route(network.parse().unwrap(), bits, class);
    }
    for (prefix, list) in LISTED {
        rig.list(prefix, list);
    }
    for (prefix, list, afterwards) in ENDED {
        rig.list_ended(prefix, list, afterwards);
    }
    for port in SERVICES {
        let (state, limit) = match port {
            OFF => (State::Off, None),
            AUTO => (State::Observing, Some(LIMIT)),
            OBSERVING | MANY_OBSERVING => (State::Observing, None),
            _ => (State::Protecting, None),
        };
        rig.add_service(port, state, limit);
        if port != GONE {
            rig.listen(port);
        }
        for ipv6 in [false, true] {
            let mut entry = plain(ipv6);
            match port {
                GONE => entry.alive = false,
                FULL => entry.listener.full_until_ns = u64::MAX,
                NO_COOKIES => entry.listener.flags |= listener_flags::NO_COOKIES,
                _ => {}
            }
            rig.add_listener(server(ipv6), port, 0, entry);
        }
    }
    for port in [MANY_PROTECTING, MANY_OBSERVING] {
        for ipv6 in [false, true] {
            for index in 0..MANY {
                let address = own_address(ipv6, index);
                for route in 0..3 {
                    if route == 0 || random.random_bool(0.8) {
                        let entry = any_entry(&mut random);
                        rig.add_listener(address, port, route, entry);
                    }
                }
            }
        }
    }
    for ipv6 in [false, true] {
        for index in 0..CONNECTIONS {
            let service = SocketAddr::new(server(ipv6), PROTECTING);
            rig.connect(lab, connected(ipv6, index), service);
        }
    }
}

/// A listener with settings that make every part of the answer different.
fn any_entry(random: &mut StdRng) -> Entry {
    use listener_flags::{
        CLOSED, ECN, FLOW_LABEL, REFLECT_TOS, ROUTED, SACK, TIMESTAMPS, WINDOW_SCALING,
    };
    let mut flags = 0;
    for (flag, often) in [
        (TIMESTAMPS, 0.6),
        (SACK, 0.8),
        (WINDOW_SCALING, 0.8),
        (ECN, 0.7),
        (ROUTED, 0.7),
        (CLOSED, 0.1),
        (REFLECT_TOS, 0.5),
        (FLOW_LABEL, 0.5),
    ] {
        if random.random_bool(often) {
            flags |= flag;
        }
    }
    Entry {
        listener: Listener {
            flags,
            mss: random.random_range(536..=9000),
            window: random.random(),
            window_with_timestamps: random.random(),
            scale: random.random_range(0..=14),
            ttl: random.random(),
            tos: random.random(),
            ..Listener::default()
        },
        alive: true,
    }
}
