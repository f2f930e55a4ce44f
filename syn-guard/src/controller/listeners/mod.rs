//! From the host's listening sockets to what the data path must know of them.

mod backlog;
mod entry;
mod options;
mod proxies;
#[cfg(test)]
pub(super) mod tests;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use syn_guard_common::abi::{Listener as Entry, ListenerKey, listener_flags};

use crate::kernel::sock_diag::Listener;

pub use backlog::{Backlog, MPTCP, backlogs};
pub use entry::Host;
pub use options::KnownOptions;
pub use proxies::Proxies;

/// A full accept queue is told again when its time moved on by this much.
const TELL_AGAIN_NS: u64 = 200_000_000;

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

/// What the data path must know of the listeners of the services (port to
/// slot) at `now_ns`, for the clients of every route class.
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
            let Some(fit) = fit(listener, *own) else {
                continue;
            };
            if host.is_virtual(*own, listener.local.port()) {
                continue;
            }
            for (route, path) in host.classes(*own).all() {
                let key = ListenerKey {
                    address: (*own).into(),
                    port: u32::from(listener.local.port()),
                    route,
                };
                let new = host.entry(listener, *own, route, path, now_ns);
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
    group.flags |= listener_flags::GROUP | (new.flags & listener_flags::NO_COOKIES);
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
