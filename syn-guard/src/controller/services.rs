//! The guarded services: which there are, what the data path knows of them,
//! and their states.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use syn_guard_common::abi::{
    Event, Listener as Entry, ListenerKey, MAX_HALF_OPEN, MAX_LISTENERS, Mode, RouteKey,
    ServiceConfig, State, listener_flags, mac,
};
use syn_guard_common::flow::Flow;
use syn_guard_common::life::half_open_life_ns;
use syn_guard_common::policy::Limits;
use tracing::{debug, info, warn};

use super::clock::now_ns;
use super::guarded::{Action, Guarded};
use super::kernel_engine::CookieTimestamps;
use super::listeners::{
    Backlog, Host, KnownOptions, MPTCP, Proxies, backlogs, entries, must_tell, open_ports,
};
use super::routes::RouteReader;
use super::slots::Slots;
use super::{ControllerError, Options, sweep};
use crate::datapath::{DataPath, DataPathError, Takeover};
use crate::kernel::TcpSettings;
use crate::kernel::addresses::local_addresses;
use crate::kernel::interfaces::interfaces;
use crate::kernel::owners::Owners;
use crate::kernel::sock_diag::{
    Listener, TcpState, for_each_connection, half_open_by_port, listeners,
};
use crate::kernel::socket_options::Defaults;

/// How often the connections of a protecting service are told to the data
/// path: well within the 60 s that its filter remembers them.
const MARK_EVERY_NS: u64 = 20_000_000_000;

/// All guarded services.
pub struct Services {
    ports: BTreeSet<u16>,
    mode: Mode,
    max_half_open: Option<u64>,
    hold: Duration,
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
            mode: options.mode,
            max_half_open: options.max_half_open,
            hold: options.hold,
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
                let mut guarded = Guarded::new(*port, *slot, services.mode, now);
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
        let ns = self.hold.as_nanos();
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
    pub fn refresh(&mut self, datapath: &mut DataPath) -> Result<(), ControllerError> {
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
                self.guarded
                    .insert(*port, Guarded::new(*port, *slot, self.mode, now));
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
        self.apply_mode(datapath)?;
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
            guarded.limit_is_set = self.max_half_open.is_some();
            let capacity = u64::from(MAX_HALF_OPEN) / 2;
            guarded.limits = Limits::new(backlog, self.max_half_open, capacity);
            let config = ServiceConfig {
                limit: guarded.limits.on,
                life_ns: self.life_ns,
                mode: guarded.mode as u32,
                port: u32::from(guarded.port),
            };
            if datapath.maps.config(guarded.slot)? != config {
                datapath.maps.set_config(guarded.slot, config)?;
            }
        }
        Ok(())
    }

    /// Puts services into the state that the mode alone demands.
    fn apply_mode(&mut self, datapath: &DataPath) -> Result<(), DataPathError> {
        let (now, hold_ns) = (now_ns(), self.hold_ns());
        let begins =
            |guarded: &Guarded| guarded.mode == Mode::Protect && guarded.state != State::Protecting;
        let begun = self.ports_that(begins);
        mark_connections(datapath, &begun, false);
        for guarded in self.guarded.values_mut() {
            match (guarded.mode, guarded.state) {
                (Mode::Protect, State::Observing | State::Off) => {
                    datapath
                        .control
                        .set_state(guarded.slot, State::Protecting, now)?;
                    guarded.protecting_because("--mode protect".to_owned(), now, now, hold_ns);
                    info!(
                        service = guarded.port,
                        "observing -> protecting: {}", guarded.reason
                    );
                }
                (Mode::Observe, State::Protecting) => {
                    datapath
                        .control
                        .set_state(guarded.slot, State::Observing, now)?;
                    guarded.released(0, now);
                    guarded.reason = "--mode observe".to_owned();
                    info!(
                        service = guarded.port,
                        "protecting -> observing: {}", guarded.reason
                    );
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn ports_that(&self, are: impl Fn(&Guarded) -> bool) -> HashSet<u16> {
        self.guarded
            .values()
            .filter(|guarded| are(guarded))
            .map(|guarded| guarded.port)
            .collect()
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

    /// The data path says that a service started to protect.
    pub fn protecting(&mut self, event: &Event, datapath: &DataPath) {
        let hold_ns = self.hold_ns();
        let Some(guarded) = self
            .guarded
            .values_mut()
            .find(|guarded| guarded.slot == event.slot)
        else {
            return;
        };
        if !guarded.protecting(event, now_ns(), hold_ns) {
            return;
        }
        warn!(
            service = guarded.port,
            half_open = event.half_open,
            untracked = event.untracked,
            limit = event.limit,
            "observing -> protecting: {}",
            guarded.reason
        );
        self.mark_again(datapath);
    }

    /// Tells the data path when no service protects any more.
    pub fn tell_any_protecting(&self, datapath: &mut DataPath) -> Result<(), ControllerError> {
        Ok(datapath.maps.set_any_protecting(self.any_protecting())?)
    }

    /// Counts another second of every service and decides.
    pub fn second(&mut self, datapath: &DataPath) -> Result<(), ControllerError> {
        let (hold_ns, life_ns) = (self.hold_ns(), self.life_ns);
        let now = now_ns();
        let kernel = if self.mode == Mode::Auto {
            half_open_by_port(|port, age| {
                self.guarded
                    .get(&port)
                    .is_some_and(|guarded| guarded.saw_begin(age, life_ns, now))
            })
            .unwrap_or_else(|error| {
                warn!("the kernel's half-open connections are not counted: {error}");
                HashMap::new()
            })
        } else {
            HashMap::new()
        };
        for guarded in self.guarded.values_mut() {
            let now = now_ns();
            let in_kernel = kernel.get(&guarded.port).copied().unwrap_or(0);
            let state = datapath.maps.state(guarded.slot)?;
            let protects = State::from_u32(state.state) == State::Protecting;
            if protects && guarded.state != State::Protecting {
                // The ring buffer was full, or this controller not yet there.
                guarded.found_protecting(state.since_ns, now, hold_ns);
                self.marked_at_ns = 0;
                warn!(
                    service = guarded.port,
                    "observing -> protecting: {}", guarded.reason
                );
            } else if let Some(reason) = guarded.kernel_demands(in_kernel) {
                datapath
                    .control
                    .set_state(guarded.slot, State::Protecting, now)?;
                guarded.protecting_because(reason, now, now, hold_ns);
                self.marked_at_ns = 0;
                warn!(
                    service = guarded.port,
                    half_open = in_kernel,
                    limit = guarded.limits.on,
                    "observing -> protecting: {}",
                    guarded.reason
                );
            }
            if protects && state.validating == 0 {
                // Else every cookie that it sends would come back in vain.
                datapath
                    .control
                    .set_state(guarded.slot, State::Protecting, state.since_ns)?;
                warn!(
                    service = guarded.port,
                    "protected without validating cookies: it does again"
                );
            }
            // No write could right it that loses no count.
            if state.half_open > u64::from(MAX_HALF_OPEN) {
                if self.said.miscounted.insert(guarded.port) {
                    warn!(
                        service = guarded.port,
                        half_open = state.half_open,
                        "the count of half-open connections is wrong: restart syn-guard"
                    );
                }
            } else {
                self.said.miscounted.remove(&guarded.port);
            }
            let half_open = state.half_open.max(in_kernel);
            let counters = datapath.maps.counters(guarded.slot)?;
            match guarded.second(half_open, &counters, life_ns, now) {
                Action::None => {}
                Action::Release => {
                    datapath
                        .control
                        .set_state(guarded.slot, State::Observing, now)?;
                    guarded.released(self.hold.as_secs(), now);
                    info!(
                        service = guarded.port,
                        pressure = guarded.pressure,
                        limit = guarded.limits.off,
                        "protecting -> observing: {}",
                        guarded.reason
                    );
                }
                Action::StopValidating => datapath.control.stop_validating(guarded.slot)?,
            }
        }
        if self.any_protecting() && now_ns().saturating_sub(self.marked_at_ns) > MARK_EVERY_NS {
            self.mark_again(datapath);
        }
        Ok(())
    }

    /// Tells the data path again of what protecting services have.
    fn mark_again(&mut self, datapath: &DataPath) {
        self.marked_at_ns = now_ns();
        let ports = self.ports_that(|guarded| guarded.state == State::Protecting);
        mark_connections(datapath, &ports, false);
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

/// Tells the data path of every connection on these ports: its SYN must go to
/// the stack, however long it was silent. Half-open ones need it only when
/// guarding begins: later each is marked by its SYN.
fn mark_connections(datapath: &DataPath, ports: &HashSet<u16>, half_open: bool) {
    let (mut marked, mut failed) = (0_usize, None);
    let walked = for_each_connection(ports, |connection| {
        if connection.state == TcpState::SynRecv && !half_open {
            return;
        }
        let flow = Flow {
            remote: connection.remote.ip().to_canonical().into(),
            local: connection.local.ip().to_canonical().into(),
            remote_port: connection.remote.port(),
            local_port: connection.local.port(),
        };
        match datapath.control.mark_connection(flow) {
            Ok(()) => marked += 1,
            Err(error) => failed = Some(error),
        }
    });
    if let Err(error) = walked {
        warn!("connections of guarded services are not known: {error}");
    }
    if let Some(error) = failed {
        warn!("connections of guarded services could not be told: {error}");
    }
    debug!(marked, "told the data path of existing connections");
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
