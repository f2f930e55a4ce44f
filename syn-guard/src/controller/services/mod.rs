//! The guarded services: which there are, what the data path knows of them,
//! and their states.

mod states;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use syn_guard_common::abi::{
    Listener as Entry, ListenerKey, MAX_HALF_OPEN, MAX_LISTENERS, RouteKey, ServiceConfig, State,
    listener_flags, mac,
};
use syn_guard_common::life::half_open_life_ns;
use syn_guard_common::policy::Limits;
use tracing::{info, warn};

use states::mark_connections;

use crate::controller::clock::now_ns;
use crate::controller::guarded::Guarded;
use crate::controller::kernel_engine::CookieTimestamps;
use crate::controller::listeners::{
    Backlog, Host, KnownOptions, MPTCP, Proxies, backlogs, entries, must_tell, open_ports,
};
use crate::controller::routes::RouteReader;
use crate::controller::slots::Slots;
use crate::controller::{ControllerError, Options, sweep};
use crate::datapath::{DataPath, Takeover};
use crate::events::EventLog;
use crate::kernel::TcpSettings;
use crate::kernel::addresses::local_addresses;
use crate::kernel::interfaces::interfaces;
use crate::kernel::owners::Owners;
use crate::kernel::sock_diag::{Listener, listeners};
use crate::kernel::socket_options::Defaults;

/// How often the connections of a protecting service are told to the data
/// path: well within the 60 s that its filter remembers them.
const MARK_EVERY_NS: u64 = 20_000_000_000;

/// All guarded services.
pub struct Services {
    ports: BTreeSet<u16>,
    wanted: Options,
    slots: Slots,
    guarded: BTreeMap<u16, Guarded>,
    entries: HashMap<ListenerKey, Entry>,
    interfaces: Vec<String>,
    host: Host,
    routes: RouteReader,
    options: KnownOptions,
    life_ns: u64,
    backlogs: HashMap<u16, Backlog>,
    proxies: Proxies,
    marked_at_ns: u64,
    own_macs: BTreeSet<u64>,
    cookie_timestamps: CookieTimestamps,
    /// The route classes that the data path was told.
    told_routes: Option<HashMap<RouteKey, u32>>,
    said: Said,
}

/// What was said already.
#[derive(Default)]
struct Said {
    /// Services for which there was no slot.
    refused: usize,
    /// Listeners for which there was no room.
    unlisted: usize,
    /// Services with an MPTCP listener.
    mptcp: BTreeSet<u16>,
    /// Services whose count of half-open connections is broken.
    miscounted: BTreeSet<u16>,
}

impl Services {
    /// Begins, or goes on with what an earlier controller left.
    pub fn new(options: &Options, datapath: &DataPath) -> Result<Self, ControllerError> {
        let now = now_ns();
        let settings = TcpSettings::read()?;
        let mut routes = RouteReader::new();
        let classes = routes.classes(&settings, &interfaces()?, &options.interfaces, None)?;
        let mut services = Self {
            ports: options.ports.iter().copied().collect(),
            wanted: options.clone(),
            slots: Slots::default(),
            guarded: BTreeMap::new(),
            entries: HashMap::new(),
            interfaces: options.interfaces.clone(),
            host: Host {
                own: Vec::new(),
                settings,
                routes: classes,
                options: HashMap::new(),
                default_buffers: BTreeSet::new(),
            },
            routes,
            options: KnownOptions::default(),
            life_ns: 0,
            backlogs: HashMap::new(),
            proxies: Proxies::default(),
            marked_at_ns: 0,
            own_macs: BTreeSet::new(),
            cookie_timestamps: CookieTimestamps::new(&datapath.features.engine),
            told_routes: None,
            said: Said::default(),
        };
        if datapath.takeover == Takeover::Continued {
            services.slots = Slots::continued(datapath.maps.ports()?);
            for (port, slot) in services.slots.by_port() {
                let mut guarded =
                    Guarded::new(*port, *slot, services.wanted.of_service(*port).mode, now);
                let state = datapath.maps.state(*slot)?;
                if State::from_u32(state.state) == State::Protecting {
                    guarded.protecting_because(
                        "an earlier syn-guard left it protecting".to_owned(),
                        state.since_ns,
                        now,
                        services.hold_ns(),
                    );
                }
                services.guarded.insert(*port, guarded);
            }
        }
        Ok(services)
    }

    const fn hold_ns(&self) -> u64 {
        let ns = self.wanted.detection.hold.as_nanos();
        if ns > u64::MAX as u128 {
            u64::MAX
        } else {
            ns as u64
        }
    }

    /// The services by port.
    pub fn guarded(&self) -> impl Iterator<Item = &Guarded> {
        self.guarded.values()
    }

    /// The port of a slot.
    pub fn port_of(&self, slot: u32) -> Option<u16> {
        self.guarded
            .values()
            .find(|guarded| guarded.slot == slot)
            .map(|guarded| guarded.port)
    }

    /// A service's listeners.
    pub fn backlog(&self, port: u16) -> Option<&Backlog> {
        self.backlogs.get(&port)
    }

    /// Whether any service protects.
    pub fn any_protecting(&self) -> bool {
        self.guarded
            .values()
            .any(|guarded| guarded.state == State::Protecting)
    }

    /// Whether any cookies may still come back.
    pub fn any_cookies_out(&self) -> bool {
        self.guarded.values().any(Guarded::has_cookies_out)
    }

    /// Whether cookies may carry options in timestamps.
    pub fn cookie_timestamps(&mut self) -> &mut CookieTimestamps {
        &mut self.cookie_timestamps
    }

    /// Follows listeners, own addresses and settings. What fails half-way is
    /// done the next time: what is to be done goes by what the maps say.
    pub fn refresh(
        &mut self,
        datapath: &mut DataPath,
        log: &mut EventLog,
    ) -> Result<(), ControllerError> {
        let own_macs = self.read_host()?;
        if own_macs != self.own_macs {
            datapath.maps.set_own_macs(own_macs.iter().copied())?;
            self.own_macs = own_macs;
        }
        let listeners = self.read_listeners()?;
        let wanted = if self.ports.is_empty() {
            open_ports(&listeners)
        } else {
            self.ports.clone()
        };
        for (port, slot) in self.slots.unwanted(&wanted) {
            self.remove(datapath, port, slot)?;
            self.slots.free(port);
        }
        let refused = self.slots.assign(&wanted);
        // Listeners and limits first: a service is complete when its port
        // leads to it.
        self.write_listeners(datapath, &listeners)?;
        let now = now_ns();
        for (port, slot) in self.slots.by_port() {
            if !self.guarded.contains_key(port) {
                datapath.maps.clear_slot(*slot)?;
                self.guarded.insert(
                    *port,
                    Guarded::new(*port, *slot, self.wanted.of_service(*port).mode, now),
                );
            }
        }
        self.write_configs(datapath)?;
        let mut begun = HashSet::new();
        for (port, slot) in self.slots.by_port() {
            if datapath.maps.slot_of_port(*port)? == Some(*slot) {
                continue;
            }
            let state = datapath.maps.state(*slot)?;
            if State::from_u32(state.state) == State::Off {
                let left = self.guarded.get(port).map_or(State::Observing, |g| g.state);
                datapath.control.set_state(*slot, left, now)?;
            }
            datapath.maps.set_port(*port, Some(*slot))?;
            begun.insert(*port);
            self.log_added(*port);
        }
        // From here on the data path sees every SYN; of those that the kernel
        // answered before, it must know before it answers any.
        mark_connections(datapath, &begun, true);
        self.apply_mode(datapath, log)?;
        self.say_refused(&refused);
        self.say_mptcp();
        Ok(())
    }

    /// Reads settings, own addresses and routes; the own hardware addresses.
    fn read_host(&mut self) -> Result<BTreeSet<u64>, ControllerError> {
        let settings = self.cookie_timestamps.apply(TcpSettings::read()?);
        self.life_ns = half_open_life_ns(u32::from(settings.synack_retries));
        let interfaces = interfaces()?;
        self.host.own = local_addresses()?
            .iter()
            .map(|local| local.address)
            .collect();
        self.host.routes = self.routes.classes(
            &settings,
            &interfaces,
            &self.interfaces,
            Some(&self.host.routes),
        )?;
        self.host.default_buffers.insert(settings.rmem[1]);
        self.host.settings = settings;
        Ok(interfaces
            .iter()
            .filter_map(|interface| interface.mac.map(mac))
            .collect())
    }

    /// Reads the listeners that are guarded, and their backlogs.
    fn read_listeners(&mut self) -> Result<Vec<Listener>, ControllerError> {
        let mut listeners = listeners()?;
        let mut owners = Owners::default();
        let ports = self.proxies.leave_out(&mut listeners, |new| {
            owners = Owners::scan(new);
            programs(&owners, new)
        });
        for port in ports {
            info!(
                port,
                "docker-proxy listens there, which gets none of the connections from outside: they are forwarded to a container, which syn-guard does not guard"
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
        self.backlogs = backlogs(&listeners);
        Ok(listeners)
    }

    /// Follows the accept queues only.
    pub fn refresh_listeners(&mut self, datapath: &mut DataPath) -> Result<(), ControllerError> {
        let listeners = self.read_listeners()?;
        self.write_listeners(datapath, &listeners)
    }

    fn write_listeners(
        &mut self,
        datapath: &mut DataPath,
        listeners: &[Listener],
    ) -> Result<(), ControllerError> {
        let mut entries = entries(listeners, &self.host, self.slots.by_port(), now_ns());
        if entries.len() > MAX_LISTENERS as usize {
            drop_classes(&mut entries);
        }
        if self.entries.is_empty() {
            // What an earlier controller left and is no more.
            for key in datapath.maps.listeners() {
                if !entries.contains_key(&key) {
                    datapath.maps.remove_listener(&key);
                }
            }
        }
        self.entries.retain(|key, _| {
            let keep = entries.contains_key(key);
            if !keep {
                datapath.maps.remove_listener(key);
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
            if datapath.maps.set_listener(&key, &entry)? {
                self.entries.insert(key, entry);
            } else {
                unlisted += 1;
            }
        }
        if (unlisted == 0) != (self.said.unlisted == 0) {
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

    fn say_refused(&mut self, refused: &[u16]) {
        if refused.len() == self.said.refused {
            return;
        }
        self.said.refused = refused.len();
        if let Some(first) = refused.first() {
            warn!(
                "{} services are not guarded, from port {first} on: syn-guard guards {} at most; name those that matter with --ports",
                refused.len(),
                syn_guard_common::abi::MAX_SERVICES
            );
        }
    }

    fn say_mptcp(&mut self) {
        let mptcp: BTreeSet<u16> = self
            .guarded
            .keys()
            .filter(|port| self.backlogs.get(port).is_some_and(|all| all.mptcp))
            .copied()
            .collect();
        for port in mptcp.difference(&self.said.mptcp) {
            warn!(service = port, "not protected: {MPTCP}");
        }
        self.said.mptcp = mptcp;
    }

    fn write_configs(&mut self, datapath: &mut DataPath) -> Result<(), ControllerError> {
        for guarded in self.guarded.values_mut() {
            let backlog = self
                .backlogs
                .get(&guarded.port)
                .map_or(0, |backlog| backlog.backlog);
            guarded.backlog = backlog;
            let detection = self.wanted.of_service(guarded.port);
            guarded.limit_is_set = detection.max_half_open.is_some();
            let capacity = u64::from(MAX_HALF_OPEN) / 2;
            guarded.limits = Limits::new(backlog, detection.max_half_open, capacity);
            let config = ServiceConfig {
                limit: guarded.limits.on,
                life_ns: self.life_ns,
                unanswered_rate: 0,
                mode: guarded.mode as u32,
                port: u32::from(guarded.port),
            };
            if datapath.maps.config(guarded.slot)? != config {
                datapath.maps.set_config(guarded.slot, config)?;
            }
        }
        Ok(())
    }

    fn remove(
        &mut self,
        datapath: &mut DataPath,
        port: u16,
        slot: u32,
    ) -> Result<(), ControllerError> {
        datapath.maps.set_port(port, None)?;
        sweep::forget(datapath, slot)?;
        datapath.maps.clear_slot(slot)?;
        self.guarded.remove(&port);
        let why = if self.ports.is_empty() {
            "nobody listens there"
        } else {
            "--ports leaves it out"
        };
        info!(service = port, "no longer guarded: {why}");
        Ok(())
    }

    fn log_added(&self, port: u16) {
        if let Some(guarded) = self.guarded.get(&port) {
            info!(
                service = port,
                limit = guarded.limits.on,
                backlog = guarded.backlog,
                "guarded: protects at {}",
                guarded.limit_words()
            );
        }
    }
}

/// Leaves out what some clients' routes make different: where there is no room
/// for all, a listener that is known matters more.
fn drop_classes(entries: &mut HashMap<ListenerKey, Entry>) {
    entries.retain(|key, _| key.route == 0);
    for entry in entries.values_mut() {
        entry.flags &= !listener_flags::ROUTED;
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
    }
}
