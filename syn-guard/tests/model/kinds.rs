//! Frames for every row of `docs/packets.md`: one or more for each kind.

use std::net::{IpAddr, SocketAddr};

use crate::build::{Checksum, Fragment, PROVIDER_VLAN, Segment, VLAN, flags};
use crate::setting::{FULL, GONE, NO_COOKIES, PROTECTING, UNGUARDED, connected, server};

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
    kinds.extend(syns());
    kinds.extend(passed_syns());
    kinds.extend(dropped());
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
            "SYN behind more than six IPv6 extension headers",
            vec![syn6(|it| it.extensions = vec![extension(); 7])],
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
            "ACK, with or without data (see below for what comes behind XDP)",
            [
                with(&[flags::ACK, flags::ACK | flags::PSH]),
                both(|it| {
                    it.flags = flags::ACK | flags::PSH;
                    it.payload = vec![7; 100];
                }),
            ]
            .concat(),
        ),
        ("FIN", with(&[flags::FIN, flags::FIN | flags::ACK])),
        ("RST", with(&[flags::RST, flags::RST | flags::ACK])),
        ("SYN-ACK", with(&[flags::SYN | flags::ACK])),
        (
            "SYN with FIN or RST",
            with(&[flags::SYN | flags::FIN, flags::SYN | flags::RST]),
        ),
        ("No flags at all", with(&[0])),
    ]
}

fn syns() -> Vec<Kind> {
    vec![
        ("SYN over IPv4", vec![syn(|_| {})]),
        ("SYN over IPv6", vec![syn6(|_| {})]),
        ("SYN without options", both(|it| it.options.clear())),
        (
            "SYN of Windows, without timestamps",
            both(|it| it.options = vec![2, 4, 5, 0xb4, 1, 3, 3, 8, 1, 1, 4, 2]),
        ),
        (
            "SYN with options that are unknown",
            both(|it| it.options = vec![2, 4, 5, 0xb4, 254, 6, 1, 2, 3, 4, 1, 1]),
        ),
        (
            "SYN with options that are cut or broken",
            [
                both(|it| it.options = vec![2, 4, 5, 0xb4, 8, 10, 1, 2]),
                both(|it| it.options = vec![2, 4, 5, 0xb4, 3, 0, 4, 2]),
                both(|it| it.options = vec![3, 1, 2, 4]),
            ]
            .concat(),
        ),
        ("SYN from port 0", both(|it| it.source.set_port(0))),
        ("SYN sent again", [both(|_| {}), both(|_| {})].concat()),
        (
            "SYN with PSH, URG or reserved bits",
            [
                with(&[flags::SYN | flags::PSH, flags::SYN | flags::URG]),
                both(|it| it.reserved = 0xf),
            ]
            .concat(),
        ),
        (
            "SYN that asks for ECN",
            with(&[flags::SYN | flags::ECE | flags::CWR]),
        ),
        (
            "SYN with data (the data comes again)",
            [
                both(|it| it.payload = vec![7; 1]),
                both(|it| it.payload = vec![7; 1000]),
            ]
            .concat(),
        ),
        (
            "SYN with Fast Open (becomes a plain handshake)",
            both(|it| {
                it.options.extend([34, 10, 1, 2, 3, 4, 5, 6, 7, 8]);
                it.payload = b"GET / HTTP/1.1\r\n".to_vec();
            }),
        ),
        (
            "SYN of an MPTCP client (becomes a plain connection)",
            both(|it| it.options.extend([30, 4, 1, 0x81])),
        ),
        (
            "SYN behind one VLAN tag",
            both(|it| it.tags = vec![(VLAN, 5)]),
        ),
        (
            "SYN behind one provider tag (802.1ad)",
            both(|it| it.tags = vec![(PROVIDER_VLAN, 0x6005)]),
        ),
        (
            "SYN with IPv4 options",
            vec![
                syn(|it| it.ip_options = vec![0x94, 4, 0, 0]),
                syn(|it| it.ip_options = vec![1; 40]),
            ],
        ),
        (
            "SYN behind up to six IPv6 extension headers",
            vec![
                syn6(|it| it.extensions = vec![extension(); 6]),
                syn6(|it| {
                    it.extensions = vec![
                        (0, vec![0, 0, 1, 4, 0, 0, 0, 0]),
                        (43, vec![0, 0, 0, 0, 0, 0, 0, 0]),
                        (51, vec![0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]),
                    ];
                }),
            ],
        ),
        (
            "SYN in an atomic IPv6 fragment",
            vec![syn6(|it| {
                it.fragment = Some(Fragment {
                    offset: 0,
                    more: false,
                });
            })],
        ),
        (
            "SYN whose checksum an offload left unfinished",
            both(|it| it.tcp_checksum = Checksum::Unfinished),
        ),
        (
            "SYN in a frame that is filled up",
            both(|it| {
                it.options.clear();
                it.trailer = vec![0xa5; 6];
            }),
        ),
        (
            "SYN from link-local, private or reserved networks",
            from(&[
                "169.254.7.7",
                "192.168.1.1",
                "240.0.0.1",
                "198.18.0.2",
                "fe80::1",
                "fd00::1",
                "64:ff9b::a01:203",
            ]),
        ),
    ]
}

fn passed_syns() -> Vec<Kind> {
    vec![
        (
            "SYN behind two VLAN tags",
            [
                both(|it| it.tags = vec![(PROVIDER_VLAN, 1), (VLAN, 5)]),
                both(|it| it.tags = vec![(VLAN, 1), (VLAN, 5)]),
            ]
            .concat(),
        ),
        (
            "SYN with a TCP-MD5 signature (BGP)",
            both(|it| {
                it.options = [&[2, 4, 5, 0xb4, 19, 18][..], &[7; 16]].concat();
            }),
        ),
        (
            "SYN with a TCP-AO signature",
            both(|it| {
                it.options = [&[2, 4, 5, 0xb4, 29, 16][..], &[7; 14]].concat();
            }),
        ),
        (
            "SYN with data in several buffers (jumbo frames)",
            both(|it| it.payload = vec![7; 8000]),
        ),
        (
            "SYN to an MPTCP listener",
            both(|it| it.destination.set_port(NO_COOKIES)),
        ),
        (
            "SYN while the accept queue is full",
            both(|it| it.destination.set_port(FULL)),
        ),
        (
            "SYN of a connection that the kernel knows, TIME_WAIT too",
            both(|it| it.source = connected(it.source.is_ipv6(), 1)),
        ),
        (
            "SYN to a listener that has just gone",
            both(|it| it.destination.set_port(GONE)),
        ),
        (
            "SYN to an own address where nobody listens",
            vec![
                syn(|it| it.destination.set_ip("198.18.0.200".parse().unwrap())),
                syn6(|it| it.destination.set_ip("2001:db8:0:1::200".parse().unwrap())),
            ],
        ),
        (
            "SYN that is to be forwarded",
            vec![
                syn(|it| it.destination.set_ip("10.9.8.7".parse().unwrap())),
                syn6(|it| it.destination.set_ip("2001:db8:9::7".parse().unwrap())),
            ],
        ),
        (
            "SYN in a frame for another host's hardware address",
            both(|it| it.destination_mac = [2, 0, 0, 0, 0, 3]),
        ),
        (
            "SYN to a broadcast or multicast hardware address",
            [
                both(|it| it.destination_mac = [0xff; 6]),
                both(|it| it.destination_mac = [1, 0, 0x5e, 0, 0, 1]),
            ]
            .concat(),
        ),
    ]
}

fn dropped() -> Vec<Kind> {
    vec![
        ("SYN from 0.0.0.0/8", from(&["0.0.0.0", "0.1.2.3"])),
        (
            "SYN from 127.0.0.0/8 or ::1",
            from(&["127.0.0.1", "127.255.0.1", "::1"]),
        ),
        (
            "SYN from an IPv4 multicast or broadcast address",
            from(&["224.0.0.1", "239.255.255.250", "255.255.255.255"]),
        ),
        (
            "SYN from :: or an IPv6 multicast address",
            from(&["::", "ff02::1", "ff0e::5"]),
        ),
        (
            "SYN whose source is its destination (LAND)",
            [
                both(|it| it.source = it.destination),
                both(|it| it.source.set_ip(it.destination.ip())),
            ]
            .concat(),
        ),
        (
            "SYN from a group's hardware address",
            both(|it| it.source_mac[0] |= 1),
        ),
        (
            "SYN with a wrong IPv4 header checksum",
            vec![
                syn(|it| it.ip_checksum = Checksum::Wrong(1)),
                syn(|it| {
                    it.ip_options = vec![1; 40];
                    it.ip_checksum = Checksum::Wrong(0x8000);
                }),
            ],
        ),
        (
            "SYN with a wrong TCP checksum",
            [
                both(|it| it.tcp_checksum = Checksum::Wrong(1)),
                both(|it| {
                    it.payload = vec![7; 1001];
                    it.tcp_checksum = Checksum::Wrong(0x8000);
                }),
            ]
            .concat(),
        ),
        (
            "First fragment with a SYN, IPv4",
            vec![
                syn(|it| it.fragment = FIRST),
                syn(|it| {
                    it.fragment = FIRST;
                    it.cut_segment = Some(16);
                }),
            ],
        ),
        (
            "First fragment with a SYN, IPv6",
            vec![
                syn6(|it| it.fragment = FIRST),
                syn6(|it| {
                    it.extensions = vec![extension()];
                    it.fragment = FIRST;
                }),
            ],
        ),
        (
            "First fragment that ends before the TCP flags",
            both(|it| {
                it.fragment = FIRST;
                it.cut_segment = Some(8);
                // Nobody can know.
                it.flags = flags::ACK;
            }),
        ),
        (
            "First fragment with data or an ACK",
            both(|it| {
                it.fragment = FIRST;
                it.flags = flags::ACK;
                it.payload = vec![7; 64];
            }),
        ),
        (
            "First fragment with a SYN, to a port that is not guarded",
            both(|it| {
                it.fragment = FIRST;
                it.destination.set_port(UNGUARDED);
            }),
        ),
        (
            "First fragment with a SYN, to be forwarded",
            vec![
                syn(|it| {
                    it.fragment = FIRST;
                    it.destination.set_ip("10.9.8.7".parse().unwrap());
                }),
                syn6(|it| {
                    it.fragment = FIRST;
                    it.destination.set_ip("2001:db8:9::7".parse().unwrap());
                }),
            ],
        ),
        (
            "Later fragment",
            both(|it| {
                it.fragment = Some(Fragment {
                    offset: 3,
                    more: false,
                });
            }),
        ),
    ]
}
