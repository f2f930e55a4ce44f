//! SYNs from allowed and denied prefixes.

use std::net::IpAddr;

use syn_guard_common::abi::ListKind;

use super::{FIRST, Kind, both};
use crate::build::{Checksum, flags};
use crate::setting::listed;

/// An address of another host.
fn elsewhere(ipv6: bool) -> IpAddr {
    let address = if ipv6 { "2001:db8:9::7" } else { "10.9.8.7" };
    address.parse().unwrap()
}

/// The same in every state but off.
pub fn kinds() -> Vec<Kind> {
    vec![
        (
            "SYN from a denied prefix",
            [
                both(|it| {
                    it.source
                        .set_ip(listed(it.source.is_ipv6(), ListKind::Deny))
                }),
                both(|it| {
                    it.source
                        .set_ip(listed(it.source.is_ipv6(), ListKind::Deny));
                    it.tcp_checksum = Checksum::Wrong(1);
                }),
            ]
            .concat(),
        ),
        (
            "First fragment with a SYN from a denied prefix",
            both(|it| {
                it.source
                    .set_ip(listed(it.source.is_ipv6(), ListKind::Deny));
                it.fragment = FIRST;
            }),
        ),
        (
            "SYN from a denied prefix that is to be forwarded",
            both(|it| {
                it.source
                    .set_ip(listed(it.source.is_ipv6(), ListKind::Deny));
                it.destination.set_ip(elsewhere(it.source.is_ipv6()));
            }),
        ),
        (
            "SYN from a denied prefix in a frame for another host's hardware address",
            both(|it| {
                it.source
                    .set_ip(listed(it.source.is_ipv6(), ListKind::Deny));
                it.destination_mac = [2, 0, 0, 0, 0, 3];
            }),
        ),
        (
            "First fragment with a SYN from a denied prefix, to be forwarded",
            [
                both(|it| {
                    it.source
                        .set_ip(listed(it.source.is_ipv6(), ListKind::Deny));
                    it.fragment = FIRST;
                    it.destination.set_ip(elsewhere(it.source.is_ipv6()));
                }),
                both(|it| {
                    it.source
                        .set_ip(listed(it.source.is_ipv6(), ListKind::Deny));
                    it.fragment = FIRST;
                    it.destination_mac = [2, 0, 0, 0, 0, 3];
                }),
            ]
            .concat(),
        ),
        (
            "FIN or RST from a denied prefix (an ACK as from any other)",
            [flags::FIN, flags::RST, flags::RST | flags::ACK]
                .into_iter()
                .flat_map(|flags| {
                    both(move |it| {
                        it.source
                            .set_ip(listed(it.source.is_ipv6(), ListKind::Deny));
                        it.flags = flags;
                    })
                })
                .collect(),
        ),
        (
            "SYN from an allowed prefix",
            both(|it| {
                it.source
                    .set_ip(listed(it.source.is_ipv6(), ListKind::Allow))
            }),
        ),
        (
            "First fragment with a SYN from an allowed prefix",
            both(|it| {
                it.source
                    .set_ip(listed(it.source.is_ipv6(), ListKind::Allow));
                it.fragment = FIRST;
            }),
        ),
    ]
}
