//! SYNs from allowed and denied prefixes.

use syn_guard_common::abi::ListKind;

use super::{FIRST, Kind, both};
use crate::build::{Checksum, flags};
use crate::setting::listed;

/// The same in every state but off.
pub fn kinds() -> Vec<Kind> {
    vec![
        (
            "SYN from a denied prefix, to whatever address",
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
