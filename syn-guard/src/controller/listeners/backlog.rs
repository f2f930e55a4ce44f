//! What the listeners of a service can hold.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use super::is_reachable;
use crate::kernel::sock_diag::Listener;

/// What is said of a service with an MPTCP listener.
pub const MPTCP: &str = "its SYNs always go to the kernel: MPTCP listener";

/// A service's listeners taken together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Half-open connections that the service can hold: the least of its
    /// addresses, each the sum of its `SO_REUSEPORT` group.
    pub backlog: u64,
    /// Connections waiting to be accepted, on all.
    pub accept_queue: u64,
    /// The addresses, with a word where SYNs go to the kernel.
    pub addresses: BTreeSet<String>,
    /// Some of it is MPTCP: there SYNs always go to the kernel.
    pub mptcp: bool,
}

/// The backlogs of all ports.
#[must_use]
pub fn backlogs(listeners: &[Listener]) -> HashMap<u16, Backlog> {
    let mut groups: HashMap<(u16, IpAddr), u64> = HashMap::new();
    let mut backlogs: HashMap<u16, Backlog> = HashMap::new();
    for listener in listeners.iter().filter(|listener| is_reachable(listener)) {
        let (address, port) = (listener.local.ip(), listener.local.port());
        *groups.entry((port, address)).or_default() += u64::from(listener.backlog);
        let backlog = backlogs.entry(port).or_default();
        backlog.accept_queue += u64::from(listener.accept_queue);
        backlog.mptcp |= listener.mptcp;
        let mptcp = if listener.mptcp {
            " (MPTCP, no cookies)"
        } else {
            ""
        };
        backlog
            .addresses
            .insert(format!("{}{mptcp}", listener.local));
    }
    for ((port, _), sum) in groups {
        if let Some(backlog) = backlogs.get_mut(&port) {
            backlog.backlog = if backlog.backlog == 0 {
                sum
            } else {
                backlog.backlog.min(sum)
            };
        }
    }
    backlogs
}
