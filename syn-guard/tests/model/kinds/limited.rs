//! SYNs that a limit forbids.

use syn_guard_common::abi::Reason;

use super::both;
use crate::build::Segment;

/// A kind, the limit that its frames are over, and the frames.
pub type LimitedKind = (&'static str, Reason, Vec<Segment>);

/// Dropped by a service that protects, while their source or its prefix is over a
/// limit.
pub fn limited() -> Vec<LimitedKind> {
    let from = |ipv4: &'static str, ipv6: &'static str| {
        both(move |it| {
            let address = if it.source.is_ipv4() { ipv4 } else { ipv6 };
            it.source.set_ip(address.parse().unwrap());
        })
    };
    vec![
        (
            "SYN of a source over its limit",
            Reason::SourceLimit,
            from("10.77.0.1", "2001:db8:2077:1::1"),
        ),
        (
            "SYN whose answer would be one too many to its prefix",
            Reason::ReplyLimit,
            from("10.78.0.1", "2001:db8:2078:1::1"),
        ),
    ]
}
