//! SYNs that the stack would drop, and fragments.

use super::{FIRST, Kind, both, extension, from, syn, syn6};
use crate::build::{Checksum, Fragment, flags};
use crate::setting::UNGUARDED;

/// Dropped by a service that protects, and their like.
pub fn kinds() -> Vec<Kind> {
    vec![
        ("SYN from 0.0.0.0", from(&["0.0.0.0"])),
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
                syn(|it| {
                    it.fragment = FIRST;
                    it.destination_mac = [2, 0, 0, 0, 0, 3];
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
