//! SYNs that are answered, and those that always pass.

use super::{Kind, both, extension, from, syn, syn6, with};
use crate::build::{Checksum, Fragment, PROVIDER_VLAN, VLAN, flags};
use crate::setting::{FULL, GONE, NO_COOKIES, connected};

/// Answered by a service that protects.
pub fn answered() -> Vec<Kind> {
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
            "SYN from link-local, private or reserved networks, 0.0.0.0/8 among them",
            from(&[
                "0.1.2.3",
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

/// On a kernel that has TCP-AO.
pub const SIGNED_AND_KNOWN: &str = "SYN with a TCP-AO signature, where the kernel has TCP-AO";
/// On a kernel that takes the option for one that it does not know.
pub const SIGNED_AND_UNKNOWN: &str = "SYN with a TCP-AO signature, where the kernel has not";

/// Passed to the stack by every service.
pub fn passed() -> Vec<Kind> {
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
            SIGNED_AND_KNOWN,
            both(|it| {
                it.options = [&[2, 4, 5, 0xb4, 29, 16][..], &[7; 14]].concat();
            }),
        ),
        (
            SIGNED_AND_UNKNOWN,
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
