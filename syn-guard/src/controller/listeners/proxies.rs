//! Listeners that get no connections from outside.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::kernel::sock_diag::Listener;

/// The names of programs that only look as if they served a port: docker's and podman's,
/// which hold the ports that they publish.
pub(super) const PROXIES: [&str; 2] = ["docker-proxy", "conmon"];

/// The listeners of these programs: connections from outside are forwarded
/// to a container before they would reach them.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// Whether each listener, by inode, is a proxy's.
    known: HashMap<u64, bool>,
    said: BTreeSet<u16>,
}

impl Proxies {
    /// Leaves them out of `listeners`; the ports of which that is news.
    /// `program_of` names the programs that hold sockets, and is asked only
    /// of those not seen before.
    pub fn leave_out(
        &mut self,
        listeners: &mut Vec<Listener>,
        program_of: impl FnOnce(&HashSet<u64>) -> HashMap<u64, String>,
    ) -> Vec<u16> {
        let there: HashSet<u64> = listeners.iter().map(|listener| listener.inode).collect();
        self.known.retain(|inode, _| there.contains(inode));
        let new: HashSet<u64> = there
            .into_iter()
            .filter(|inode| !self.known.contains_key(inode))
            .collect();
        if !new.is_empty() {
            let programs = program_of(&new);
            self.known.extend(new.into_iter().map(|inode| {
                let program = programs.get(&inode).map(String::as_str);
                (
                    inode,
                    program.is_some_and(|program| PROXIES.contains(&program)),
                )
            }));
        }
        let mut ports = BTreeSet::new();
        listeners.retain(|listener| {
            let proxy = self.known.get(&listener.inode) == Some(&true);
            if proxy {
                ports.insert(listener.local.port());
            }
            !proxy
        });
        let news = ports.difference(&self.said).copied().collect();
        self.said = ports;
        news
    }
}
