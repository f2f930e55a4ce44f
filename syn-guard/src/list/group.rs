//! Rows counted by source and by service.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
};

use serde::Serialize;

use super::{Row, Snapshot, Source};

/// The half-open connections of a source.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SourceRow {
    /// The address, or the /64.
    pub source: Source,
    /// Its half-open connections.
    pub half_open: usize,
    /// The ports they go to, rising.
    pub services: Vec<u16>,
    /// Age of the oldest.
    pub oldest_age_seconds: f64,
    /// Those whose SYN-ACK was sent again at least once.
    pub retransmitted: usize,
}

/// The half-open connections of a service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServiceRow {
    /// The port.
    pub port: u16,
    /// Its half-open connections.
    pub half_open: usize,
    /// Its listening sockets.
    pub listeners: usize,
    /// Room for half-open connections, all listeners together.
    pub backlog: u64,
    /// Room of the smallest listener.
    pub backlog_min: Option<u32>,
    /// Connections that wait for `accept()`, all listeners together.
    pub accept_queue: u64,
    /// A process that listens.
    pub pid: Option<u32>,
    /// Its name.
    pub program: Option<String>,
    /// How many sources they come from.
    pub sources: usize,
    /// Age of the oldest.
    pub oldest_age_seconds: f64,
    /// Those whose SYN-ACK was sent again at least once.
    pub retransmitted: usize,
    /// The state of the service when it is guarded.
    pub service_state: Option<String>,
}

/// The sources, those with the most half-open connections first.
#[must_use]
pub fn by_source(rows: &[Row]) -> Vec<SourceRow> {
    let mut found: Vec<SourceRow> = grouped(rows, |row| row.source)
        .into_iter()
        .map(|(source, rows)| {
            let mut services: Vec<u16> = rows.iter().map(|row| row.local_port).collect();
            services.sort_unstable();
            services.dedup();
            SourceRow {
                source,
                half_open: rows.len(),
                services,
                oldest_age_seconds: oldest(&rows),
                retransmitted: retransmitted(&rows),
            }
        })
        .collect();
    found.sort_by_key(|row| (Reverse(row.half_open), row.source));
    found
}

/// The services with half-open connections, those with the most first.
#[must_use]
pub fn by_service(rows: &[Row], snapshot: &Snapshot) -> Vec<ServiceRow> {
    let mut found: Vec<ServiceRow> = grouped(rows, |row| row.local_port)
        .into_iter()
        .map(|(port, rows)| {
            let listeners = || {
                let all = snapshot.listeners.iter();
                all.filter(|listener| listener.local.port() == port)
            };
            let owned = rows.iter().find(|row| row.pid.is_some());
            let sources: HashSet<Source> = rows.iter().map(|row| row.source).collect();
            ServiceRow {
                port,
                half_open: rows.len(),
                listeners: listeners().count(),
                backlog: listeners()
                    .map(|listener| u64::from(listener.backlog))
                    .sum(),
                backlog_min: listeners().map(|listener| listener.backlog).min(),
                accept_queue: listeners()
                    .map(|listener| u64::from(listener.accept_queue))
                    .sum(),
                pid: owned.and_then(|row| row.pid),
                program: owned.and_then(|row| row.program.clone()),
                sources: sources.len(),
                oldest_age_seconds: oldest(&rows),
                retransmitted: retransmitted(&rows),
                service_state: rows.first().and_then(|row| row.service_state.clone()),
            }
        })
        .collect();
    found.sort_by_key(|row| (Reverse(row.half_open), row.port));
    found
}

fn grouped<K: std::hash::Hash + Eq>(
    rows: &[Row],
    key: impl Fn(&Row) -> K,
) -> HashMap<K, Vec<&Row>> {
    let mut groups: HashMap<K, Vec<&Row>> = HashMap::new();
    for row in rows {
        groups.entry(key(row)).or_default().push(row);
    }
    groups
}

fn oldest(rows: &[&Row]) -> f64 {
    rows.iter().map(|row| row.age_seconds).fold(0.0, f64::max)
}

fn retransmitted(rows: &[&Row]) -> usize {
    rows.iter().filter(|row| row.retransmits > 0).count()
}
