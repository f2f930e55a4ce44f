//! One row for each half-open connection.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use serde::Serialize;

use super::{GuardView, Snapshot, Source};
use crate::kernel::sock_diag::{HalfOpen, Listener};

/// A half-open connection.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// `tcp`, or `tcp6` when the listener is an IPv6 socket.
    pub proto: &'static str,
    /// The own address.
    pub local_address: IpAddr,
    /// The service.
    pub local_port: u16,
    /// The client's address.
    pub remote_address: IpAddr,
    /// The client's port.
    pub remote_port: u16,
    /// `SYN_RECV`.
    pub state: &'static str,
    /// The process that listens.
    pub pid: Option<u32>,
    /// Its name.
    pub program: Option<String>,
    /// Time since the SYN.
    pub age_seconds: f64,
    /// Time until the next SYN-ACK, or until the kernel gives up.
    pub expires_seconds: f64,
    /// SYN-ACKs sent again.
    pub retransmits: u8,
    /// The client's address, or its /64.
    pub source: Source,
    /// Half-open connections of that source.
    pub source_half_open: usize,
    /// The state of the service when it is guarded.
    pub service_state: Option<String>,
    /// The two ends with their scopes, as the table shows them.
    #[serde(skip)]
    pub ends: (SocketAddr, SocketAddr),
}

/// The rows, by service, then by source, then the oldest first.
#[must_use]
pub fn rows(snapshot: &Snapshot, guard: &dyn GuardView) -> Vec<Row> {
    let mut of_source: HashMap<Source, usize> = HashMap::new();
    for each in &snapshot.half_open {
        *of_source.entry(Source::of(each.remote.ip())).or_default() += 1;
    }
    // Thousands of connections, few services: ask once for each.
    let mut states: HashMap<u16, Option<String>> = HashMap::new();
    let mut listeners: HashMap<(SocketAddr, bool), Option<&Listener>> = HashMap::new();
    let mut rows: Vec<Row> = snapshot
        .half_open
        .iter()
        .map(|each| {
            let (local, remote) = (each.local, each.remote);
            let source = Source::of(remote.ip());
            let owner = listeners
                .entry((local, each.ipv6_socket))
                .or_insert_with(|| listener_of(each, &snapshot.listeners))
                .and_then(|listener| snapshot.owners.get(listener.inode));
            Row {
                proto: if each.ipv6_socket { "tcp6" } else { "tcp" },
                local_address: local.ip(),
                local_port: local.port(),
                remote_address: remote.ip(),
                remote_port: remote.port(),
                state: "SYN_RECV",
                pid: owner.map(|owner| owner.pid),
                program: owner.map(|owner| owner.program.clone()),
                age_seconds: each.age.as_secs_f64(),
                expires_seconds: each.expires.as_secs_f64(),
                retransmits: each.retransmits,
                source,
                source_half_open: of_source.get(&source).copied().unwrap_or_default(),
                service_state: states
                    .entry(local.port())
                    .or_insert_with(|| guard.service_state(local.port()))
                    .clone(),
                ends: (local, remote),
            }
        })
        .collect();
    rows.sort_by(|a, b| {
        (a.local_port, a.source)
            .cmp(&(b.local_port, b.source))
            .then(b.age_seconds.total_cmp(&a.age_seconds))
            .then(a.ends.1.cmp(&b.ends.1))
    });
    rows
}

/// The listener of a connection; one for its very address before a wildcard,
/// and of a reuseport group the first.
fn listener_of<'a>(each: &HalfOpen, listeners: &'a [Listener]) -> Option<&'a Listener> {
    listeners
        .iter()
        .filter(|listener| listener.accepts(each.local, each.ipv6_socket))
        .min_by_key(|listener| listener.local.ip().is_unspecified())
}
