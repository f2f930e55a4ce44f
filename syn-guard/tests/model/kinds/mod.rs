//! Frames for every row of `docs/packets.md`: one or more for each kind.

mod dropped;
mod limited;
mod listed;
mod syns;

use std::net::{IpAddr, SocketAddr};

pub use self::limited::limited;
pub use self::syns::{SIGNED_AND_KNOWN, SIGNED_AND_UNKNOWN};
use crate::build::{Fragment, PROVIDER_VLAN, Segment, VLAN, flags};
use crate::setting::{PROTECTING, UNGUARDED, connected, server};

/// A kind and its frames.
pub type Kind = (&'static str, Vec<Segment>);

/// A SYN to a service, changed.
fn syn(change: impl FnOnce(&mut Segment)) -> Segment {
    let mut segment = Segment::to_port(PROTECTING);
    change(&mut segment);
    segment
}

/// The same over IPv6.
fn syn6(change: impl FnOnce(&mut Segment)) -> Segment {
    let source: SocketAddr = "[2001:db8:2000:5::9]:40001".parse().unwrap();
    let mut segment = Segment::syn(source, SocketAddr::new(server(true), PROTECTING));
    change(&mut segment);
    segment
}

/// Over both.
fn both(change: impl Fn(&mut Segment)) -> Vec<Segment> {
    vec![syn(&change), syn6(&change)]
}

/// From each of these addresses.
fn from(addresses: &[&str]) -> Vec<Segment> {
    addresses
        .iter()
        .map(|address| {
            let address: IpAddr = address.parse().unwrap();
            let change = |segment: &mut Segment| segment.source.set_ip(address);
            if address.is_ipv6() {
                syn6(change)
            } else {
                syn(change)
            }
        })
        .collect()
}

/// With each of these flags.
fn with(flags: &[u8]) -> Vec<Segment> {
    flags
        .iter()
        .flat_map(|flags| both(|segment| segment.flags = *flags))
        .collect()
}

/// Of connections that the stack knows.
fn of_connections() -> Vec<Segment> {
    let mut segments = Vec::new();
    for ipv6 in [false, true] {
        for flags in [flags::ACK, flags::ACK | flags::PSH, flags::FIN | flags::ACK] {
            let service = SocketAddr::new(server(ipv6), PROTECTING);
            segments.push(Segment {
                flags,
                ..Segment::syn(connected(ipv6, 0), service)
            });
        }
    }
    segments
}

/// IPv6 destination options.
fn extension() -> (u8, Vec<u8>) {
    (60, vec![0, 0, 1, 4, 0, 0, 0, 0])
}

const FIRST: Option<Fragment> = Some(Fragment {
    offset: 0,
    more: true,
});

/// All kinds, in the table's order.
pub fn kinds() -> Vec<Kind> {
    let mut kinds = no_segments();
    kinds.extend(broken());
    kinds.extend(no_syns());
    kinds.extend(syns::answered());
    kinds.extend(syns::passed());
    kinds.extend(dropped::kinds());
    kinds.extend(listed::kinds());
    kinds
}

fn no_segments() -> Vec<Kind> {
    vec![
        (
            "ARP, LLDP, PPPoE, anything but IP",
            [0x0806, 0x88cc, 0x8864]
                .map(|kind| syn(|it| it.kind = Some(kind)))
                .to_vec(),
        ),
        (
            "UDP, ICMP and others over IPv4",
            [17, 1, 132]
                .map(|kind| syn(|it| it.protocol = Some(kind)))
                .to_vec(),
        ),
        (
            "UDP, ICMPv6 and others over IPv6",
            [17, 58, 132]
                .map(|kind| syn6(|it| it.protocol = Some(kind)))
                .to_vec(),
        ),
        (
            "SYN inside a tunnel (IPIP, 6in4, GRE, VXLAN)",
            [4, 41, 47, 17]
                .map(|kind| syn(|it| it.protocol = Some(kind)))
                .to_vec(),
        ),
        (
            "TCP or not, behind more than six IPv6 extension headers",
            vec![
                syn6(|it| it.extensions = vec![extension(); 7]),
                syn6(|it| it.extensions = vec![extension(); 20]),
            ],
        ),
        (
            "SYN behind three VLAN tags",
            both(|it| it.tags = vec![(PROVIDER_VLAN, 1), (VLAN, 2), (VLAN, 3)]),
        ),
    ]
}

fn broken() -> Vec<Kind> {
    vec![
        (
            "IPv6 routing header on its way to somebody else",
            vec![syn6(|it| {
                it.extensions = vec![(43, vec![0, 0, 4, 1, 0, 0, 0, 0])];
            })],
        ),
        (
            "VLAN tag cut short",
            both(|it| {
                it.tags = vec![(VLAN, 5)];
                it.cut_frame = Some(16);
            }),
        ),
        (
            "IP header cut short",
            both(|it| it.cut_frame = Some(14 + 19)),
        ),
        (
            "IP version that is not the EtherType's",
            both(|it| it.version = Some(if it.source.is_ipv4() { 6 } else { 4 })),
        ),
        (
            "IPv4 header length below 20 bytes",
            vec![syn(|it| it.ihl = Some(4))],
        ),
        (
            "IP length beyond the frame's end",
            both(|it| it.length_off = 1),
        ),
        (
            "IPv4 length below the header's own",
            vec![syn(|it| {
                it.ip_options = vec![1; 8];
                it.length_off = -45;
            })],
        ),
        (
            "IPv6 extension header that leads out of the packet",
            vec![syn6(|it| {
                it.extensions = vec![(60, vec![0, 6, 1, 4, 0, 0, 0, 0])];
                // What it leads to says that it is TCP, too.
                it.options.clear();
                it.payload = vec![6; 60];
            })],
        ),
        ("TCP header cut short", both(|it| it.cut_segment = Some(19))),
        (
            "TCP data offset below 20 bytes",
            both(|it| it.data_offset = Some(4)),
        ),
        (
            "TCP data offset beyond the packet's end",
            both(|it| it.data_offset = Some(11)),
        ),
        (
            "IPv6 with an IPv4-mapped address",
            vec![
                syn6(|it| it.source.set_ip("::ffff:10.1.2.3".parse().unwrap())),
                syn6(|it| it.destination.set_ip("::ffff:198.18.0.1".parse().unwrap())),
            ],
        ),
    ]
}

fn no_syns() -> Vec<Kind> {
    vec![
        (
            "SYN to a port that is not guarded",
            both(|it| it.destination.set_port(UNGUARDED)),
        ),
        ("SYN to port 0", both(|it| it.destination.set_port(0))),
        (
            "ACK or FIN-ACK, with or without data, of a connection",
            of_connections(),
        ),
        (
            "ACK or FIN-ACK, with or without data, of none (see below for what a cookie went to)",
            [
                with(&[flags::ACK, flags::ACK | flags::PSH, flags::FIN | flags::ACK]),
                both(|it| {
                    it.flags = flags::ACK | flags::PSH;
                    it.payload = vec![7; 100];
                }),
            ]
            .concat(),
        ),
        ("FIN", with(&[flags::FIN])),
        ("RST", with(&[flags::RST, flags::RST | flags::ACK])),
        ("SYN-ACK", with(&[flags::SYN | flags::ACK])),
        (
            "SYN with FIN or RST",
            with(&[flags::SYN | flags::FIN, flags::SYN | flags::RST]),
        ),
        ("No flags at all", with(&[0])),
    ]
}
