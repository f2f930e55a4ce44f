//! What the data path knows of listeners and of the routes to their clients.

use std::collections::{BTreeSet, HashMap, HashSet};

use syn_guard_common::abi::{
    Listener as Entry, ListenerKey, MAX_LISTENERS, RouteKey, State, listener_flags,
};
use tracing::{info, warn};

use super::Services;
use crate::controller::ControllerError;
use crate::controller::clock::now_ns;
use crate::controller::listeners::{backlogs, entries, must_tell};
use crate::datapath::DataPath;
use crate::kernel::owners::Owners;
use crate::kernel::sock_diag::{Listener, accept_queues, listeners_and_signed};
use crate::kernel::socket_options::Defaults;

/// So many ports are asked for one by one: each time the kernel walks all listeners,
/// but tells of few.
const ASKED_ONE_BY_ONE: usize = 3;

impl Services {
    /// Reads the listeners that are guarded, and their backlogs.
    pub(super) fn read_listeners(&mut self) -> Result<Vec<Listener>, ControllerError> {
        let (mut listeners, signed) = listeners_and_signed()?;
        self.signed = signed;
        let sockets = listeners.iter();
        self.sockets = sockets.map(|it| (it.inode, it.local.port())).collect();
        let mut owners = Owners::default();
        let ports = self.proxies.leave_out(&mut listeners, |new| {
            owners = Owners::scan(new);
            programs(&owners, new)
        });
        for port in ports {
            info!(
                port,
                "docker-proxy or podman's conmon listens there, which gets none of the connections from outside: they are forwarded to a container, which syn-guard does not guard"
            );
        }
        self.options.follow(
            &listeners,
            &owners,
            &Defaults {
                ttl: self.host.settings.default_ttl,
                hop_limit: self.host.settings.ipv6_all_hop_limit,
            },
        );
        self.host.options = self.options.by_inode();
        if listeners != self.listeners {
            self.backlogs = backlogs(&listeners);
        }
        Ok(listeners)
    }

    /// Follows the accept queues of services that protect, and listeners only where
    /// there are others than before.
    pub fn refresh_listeners(&mut self, datapath: &mut DataPath) -> Result<(), ControllerError> {
        let ports = self.ports_that(|guarded| guarded.state() == State::Protecting);
        let mut queues = HashMap::new();
        let few = (ports.len() <= ASKED_ONE_BY_ONE).then_some(&ports);
        match few {
            Some(ports) => {
                for port in ports {
                    accept_queues(*port, &mut queues)?;
                }
            }
            None => accept_queues(0, &mut queues)?,
        }
        if let Some(settled) = &mut self.settled
            && let Some(full) = settled.follow(&queues, few)
        {
            if full.is_empty() {
                return Ok(());
            }
            let listeners = settled.listeners(&full);
            return self.write_listeners(datapath, &listeners, Some(&full));
        }
        let listeners = self.read_listeners()?;
        self.write_listeners(datapath, &listeners, None)?;
        self.listeners = listeners;
        self.settled = None;
        Ok(())
    }

    /// The listeners of a service for clients in general, as the data path has them.
    pub fn entries_of(&self, port: u16, datapath: &DataPath) -> Vec<(ListenerKey, Entry)> {
        self.entries
            .keys()
            .filter(|key| key.port == u32::from(port) && key.route == 0)
            .filter_map(|key| Some((*key, datapath.maps.listeners.get(key)?)))
            .collect()
    }

    /// Rules changed: what the stack answered before says nothing of what it answers now.
    pub fn forget_proofs(&mut self, datapath: &mut DataPath) -> Result<(), ControllerError> {
        if !self.host.needs_proof {
            return Ok(());
        }
        for (key, entry) in &self.entries {
            datapath.maps.listeners.set(key, entry)?;
        }
        Ok(())
    }

    /// Tells the data path of the listeners; of those on some ports only, if so.
    pub(super) fn write_listeners(
        &mut self,
        datapath: &mut DataPath,
        listeners: &[Listener],
        only: Option<&BTreeSet<u16>>,
    ) -> Result<(), ControllerError> {
        let mut entries = entries(listeners, &self.host, self.slots.by_port(), now_ns());
        if only.is_none() {
            self.without_classes = entries.len() > MAX_LISTENERS as usize;
        }
        if self.without_classes {
            drop_classes(&mut entries);
        }
        let is_meant = |key: &ListenerKey| {
            let port = u16::try_from(key.port);
            only.is_none_or(|ports| port.is_ok_and(|port| ports.contains(&port)))
        };
        if self.entries.is_empty() {
            // What an earlier controller left and is no more.
            for key in datapath.maps.listeners.keys() {
                if !entries.contains_key(&key) {
                    datapath.maps.listeners.remove(&key);
                }
            }
        }
        self.entries.retain(|key, _| {
            let keep = entries.contains_key(key) || !is_meant(key);
            if !keep {
                datapath.maps.listeners.remove(key);
            }
            keep
        });
        let mut unlisted = 0;
        let mut entries: Vec<_> = entries.into_iter().collect();
        // Those of route classes before the first says that there are any.
        entries.sort_unstable_by_key(|(key, _)| (key.route == 0, key.port));
        let mut routes_told = false;
        for (key, entry) in entries {
            if key.route == 0 && !routes_told {
                self.write_routes(datapath)?;
                routes_told = true;
            }
            if self
                .entries
                .get(&key)
                .is_some_and(|old| !must_tell(old, &entry))
            {
                continue;
            }
            if datapath.maps.listeners.set(&key, &entry)? {
                self.entries.insert(key, entry);
            } else {
                unlisted += 1;
            }
        }
        if only.is_none() && (unlisted == 0) != (self.said.unlisted == 0) {
            self.said.unlisted = unlisted;
            if unlisted > 0 {
                warn!(
                    "{unlisted} pairs of an own address and a port are not guarded: syn-guard keeps {} at most; name the ports that matter with --ports",
                    MAX_LISTENERS
                );
            }
        }
        Ok(())
    }

    /// Tells the data path which prefixes have a route class.
    fn write_routes(&mut self, datapath: &mut DataPath) -> Result<(), ControllerError> {
        let classes = &self.host.routes;
        let wanted: HashMap<RouteKey, u32> = classes
            .ipv4
            .prefixes
            .iter()
            .chain(&classes.ipv6.prefixes)
            .map(|(key, class)| (*key, *class))
            .collect();
        if self.told_routes.as_ref() == Some(&wanted) {
            return Ok(());
        }
        // What an earlier controller left is removed too, and makes room.
        for key in datapath.maps.routes() {
            if !wanted.contains_key(&key) {
                datapath.maps.remove_route(key);
            }
        }
        for (key, class) in &wanted {
            datapath.maps.set_route(*key, *class)?;
        }
        self.told_routes = Some(wanted);
        Ok(())
    }
}

/// Leaves out what some clients' routes make different: where there is no room
/// for all, a listener that is known matters more.
fn drop_classes(entries: &mut HashMap<ListenerKey, Entry>) {
    entries.retain(|key, _| key.route == 0);
    for entry in entries.values_mut() {
        if entry.flags & listener_flags::CLOSED != 0 {
            entry.flags |= listener_flags::NO_COOKIES;
        }
        entry.flags &= !(listener_flags::ROUTED | listener_flags::CLOSED);
    }
}

/// The names of the programs that hold sockets, by inode.
fn programs(owners: &Owners, inodes: &HashSet<u64>) -> HashMap<u64, String> {
    inodes
        .iter()
        .filter_map(|inode| Some((*inode, owners.get(*inode)?.program.clone())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    #[test]
    fn where_there_is_no_room_the_listeners_stay() {
        let key = |route| ListenerKey {
            address: IpAddr::from([198, 18, 0, 1]).into(),
            port: 80,
            route,
        };
        let entry = |flags| Entry {
            flags,
            ..Entry::default()
        };
        let both = listener_flags::SACK | listener_flags::ROUTED;
        let mut entries = HashMap::from([(key(0), entry(both)), (key(3), entry(0))]);
        drop_classes(&mut entries);
        assert_eq!(
            entries,
            HashMap::from([(key(0), entry(listener_flags::SACK))])
        );
        // Whose clients cannot be told apart gets no cookies.
        let closed = listener_flags::CLOSED | listener_flags::ROUTED;
        let mut entries = HashMap::from([(key(0), entry(closed))]);
        drop_classes(&mut entries);
        assert_eq!(entries[&key(0)].flags, listener_flags::NO_COOKIES);
    }
}
