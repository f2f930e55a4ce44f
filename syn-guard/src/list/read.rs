//! Reads what is shown.

use std::collections::HashSet;

use anyhow::Context as _;

use crate::kernel::{
    owners::Owners,
    sock_diag::{HalfOpen, Listener, half_open, listeners},
};

/// What the kernel said.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The half-open connections, in the kernel's order.
    pub half_open: Vec<HalfOpen>,
    /// The listeners.
    pub listeners: Vec<Listener>,
    /// Who holds the listeners that have half-open connections.
    pub owners: Owners,
}

/// Reads the half-open connections, and the listeners with their owners when
/// these are wanted, too.
pub fn snapshot(with_owners: bool) -> anyhow::Result<Snapshot> {
    let half_open = half_open().context("cannot list half-open connections")?;
    if !with_owners || half_open.is_empty() {
        return Ok(Snapshot {
            half_open,
            ..Snapshot::default()
        });
    }
    let mut listeners = listeners().context("cannot list half-open connections")?;
    let ports: HashSet<u16> = half_open.iter().map(|each| each.local.port()).collect();
    listeners.retain(|listener| ports.contains(&listener.local.port()));
    let inodes = listeners.iter().map(|listener| listener.inode).collect();
    Ok(Snapshot {
        half_open,
        listeners,
        owners: Owners::scan(&inodes),
    })
}
