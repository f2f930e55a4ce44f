//! The guarded services: which there are, what the data path knows of them,
//! and their states.

mod configs;
mod listeners;
mod modes;
mod refused;
mod settled;
mod states;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use syn_guard_common::abi::{
    EngineKind, Listener as Entry, ListenerKey, MAX_SERVICES, Mode, RouteKey, ServiceConfig, State,
    mac,
};
use syn_guard_common::life::half_open_life_ns;
use tracing::{info, warn};

pub use modes::ModeError;
use refused::Refused;
use settled::Settled;
use states::mark_connections;

use crate::controller::clock::now_ns;
use crate::controller::closed::Closures;
use crate::controller::guarded::Guarded;
use crate::controller::kernel_engine::CookieTimestamps;
use crate::controller::listeners::{Backlog, Host, KnownOptions, MPTCP, Proxies, open_ports};
use crate::controller::lives::Lives;
use crate::controller::routes::RouteReader;
use crate::controller::rules::VirtualAddresses;
use crate::controller::slots::Slots;
use crate::controller::{ControllerError, Options, sweep};
use crate::datapath::{DataPath, Engine, Takeover};
use crate::events::EventLog;
use crate::kernel::TcpSettings;
use crate::kernel::addresses::{self, local_addresses};
use crate::kernel::interfaces::interfaces;
use crate::kernel::sock_diag::{Listener, Signed, listeners};
use crate::kernel::sysctl;

/// How often the connections of a protecting service are told to the data
/// path: well within the 60 s that its filter remembers them.
const MARK_EVERY_NS: u64 = 20_000_000_000;

/// New services that are named one by one; of more it is said how many.
const NAMED: usize = 100;

/// All guarded services.
pub struct Services {
    ports: BTreeSet<u16>,
    wanted: Options,
    /// What the operator said of services at run time.
    modes: BTreeMap<u16, Mode>,
    /// Why nothing can send cookies, if so.
    no_engine: Option<String>,
    slots: Slots,
    guarded: BTreeMap<u16, Guarded>,
    /// The listeners that the data path was told.
    entries: HashMap<ListenerKey, Entry>,
    /// Some clients' routes are left out, for want of room.
    without_classes: bool,
    /// What the data path was told of services.
    told_configs: BTreeMap<u16, ServiceConfig>,
    /// Ports that lead to their slots.
    leading: BTreeSet<u16>,
    /// What all of that was made from.
    settled: Option<Settled>,
    /// The listeners as they were read last.
    listeners: Vec<Listener>,
    /// Whose segments to them must be signed.
    signed: Signed,
    /// Ports of all listening sockets by inode, those of proxies among them.
    sockets: HashMap<u64, u16>,
    interfaces: Vec<String>,
    host: Host,
    routes: RouteReader,
    options: KnownOptions,
    life_ns: u64,
    lives: Lives,
    backlogs: HashMap<u16, Backlog>,
    proxies: Proxies,
    marked_at_ns: u64,
    refused: Refused,
    own_macs: BTreeSet<u64>,
    /// Sources that the stack answers nothing.
    silent: BTreeSet<IpAddr>,
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

/// The services that there are now, by these options.
///
/// # Errors
/// Where the listening sockets cannot be read.
pub fn count_services(options: &Options) -> Result<usize, ControllerError> {
    if options.ports.is_empty() {
        Ok(open_ports(&listeners()?).len())
    } else {
        Ok(options.ports.len())
    }
}

impl Services {
    /// Begins, or goes on with what an earlier controller left.
    pub fn new(
        options: &Options,
        datapath: &DataPath,
        engine: EngineKind,
    ) -> Result<Self, ControllerError> {
        let now = now_ns();
        let settings = TcpSettings::read()?;
        let mut routes = RouteReader::new();
        let closures = Closures::new(&options.services, &Signed::new());
        let classes = routes.classes(
            &settings,
            &interfaces()?,
            &options.interfaces,
            &closures,
            None,
        )?;
        let mut services = Self {
            ports: options.ports.iter().copied().collect(),
            wanted: options.clone(),
            modes: BTreeMap::new(),
            no_engine: match &datapath.features.engine {
                Engine::None { reason } => Some(reason.clone()),
                _ => None,
            },
            slots: Slots::default(),
            guarded: BTreeMap::new(),
            entries: HashMap::new(),
            without_classes: false,
            told_configs: BTreeMap::new(),
            leading: BTreeSet::new(),
            settled: None,
            listeners: Vec::new(),
            signed: BTreeSet::new(),
            sockets: HashMap::new(),
            interfaces: options.interfaces.clone(),
            host: Host {
                own: Vec::new(),
                settings,
                routes: classes,
                closures,
                options: HashMap::new(),
                default_buffers: BTreeSet::new(),
                needs_proof: false,
                virtual_addresses: VirtualAddresses::default(),
            },
            routes,
            options: KnownOptions::default(),
            life_ns: 0,
            lives: Lives::default(),
            backlogs: HashMap::new(),
            proxies: Proxies::default(),
            marked_at_ns: 0,
            refused: Refused::default(),
            own_macs: BTreeSet::new(),
            silent: BTreeSet::new(),
            cookie_timestamps: CookieTimestamps::new(engine),
            told_routes: None,
            said: Said::default(),
        };
        if datapath.takeover == Takeover::Continued {
            services.slots = Slots::continued(datapath.maps.ports()?);
            for (port, slot) in services.slots.by_port() {
                let mut guarded = Guarded::new(*port, *slot, services.detection(*port).mode, now);
                let state = datapath.maps.state(*slot)?;
                guarded
                    .policy
                    .left(State::from_u32(state.state), state.since_ns, now);
                services.guarded.insert(*port, guarded);
            }
        }
        Ok(services)
    }

    /// The services by port.
    pub fn guarded(&self) -> impl Iterator<Item = &Guarded> {
        self.guarded.values()
    }

    /// The port of a slot.
    pub fn port_of(&self, slot: u32) -> Option<u16> {
        self.slots.port_of(slot)
    }

    /// Slots from the first to the last one in use.
    pub fn slots_in_use(&self) -> u32 {
        self.slots.in_use()
    }

    /// A service's listeners.
    pub fn backlog(&self, port: u16) -> Option<&Backlog> {
        self.backlogs.get(&port)
    }

    /// Notes `tcp_synack_retries` at once, not only with the next second: it
    /// decides at every time-out from now on.
    pub fn retries_may_have_changed(&mut self) {
        // What cannot be read now is read, or complained of, with the rest.
        if let Ok(retries) = sysctl::get_u64("net.ipv4.tcp_synack_retries") {
            self.lives
                .found(now_ns(), u32::try_from(retries).unwrap_or(u32::MAX));
        }
    }

    /// When the kernel gives half-open connections up.
    pub const fn lives(&self) -> &Lives {
        &self.lives
    }

    /// The same, to be told what is usual.
    pub const fn lives_mut(&mut self) -> &mut Lives {
        &mut self.lives
    }

    /// Whether only the stack's own answers say who is there for clients, and where none of
    /// the listeners is; true where that is news, which the data path must be told.
    pub fn go_by(&mut self, needs_proof: bool, virtual_addresses: VirtualAddresses) -> bool {
        let host = &mut self.host;
        let is_news =
            host.needs_proof != needs_proof || host.virtual_addresses != virtual_addresses;
        host.needs_proof = needs_proof;
        host.virtual_addresses = virtual_addresses;
        is_news
    }

    /// Whether SYNs of a service may go to the stack although it protects, or come to
    /// nothing: looking at all listeners of all services would cost too much.
    pub fn may_stand_back(&self, guarded: &Guarded) -> bool {
        self.host.needs_proof && self.guarded.len() <= NAMED || guarded.state() == State::Protecting
    }

    /// Whether any service protects.
    pub fn any_protecting(&self) -> bool {
        self.guarded
            .values()
            .any(|guarded| guarded.state() == State::Protecting)
    }

    /// Whether any cookies may still come back.
    pub fn any_cookies_out(&self) -> bool {
        self.guarded
            .values()
            .any(|guarded| guarded.policy.has_cookies_out())
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
        let silent: BTreeSet<IpAddr> = self.routes.own().collect();
        if silent != self.silent {
            datapath.maps.set_silent_sources(silent.iter().copied())?;
            self.silent = silent;
        }
        if own_macs != self.own_macs {
            datapath.maps.set_own_macs(own_macs.iter().copied())?;
            self.own_macs = own_macs;
        }
        let listeners = self.read_listeners()?;
        let lives = (self.life_ns, self.lives.usual_ns());
        let settled = self.settled.as_ref();
        if settled.is_some_and(|settled| settled.holds(&self.host, &listeners, lives)) {
            // All that follows would be as it is.
            self.listeners = listeners;
            self.apply_modes(datapath, log)?;
            return Ok(());
        }
        self.settled = None;
        let wanted = if self.ports.is_empty() {
            open_ports(&listeners)
        } else {
            self.ports.clone()
        };
        self.remove(datapath, &self.slots.unwanted(&wanted))?;
        let refused = self.slots.assign(&wanted, datapath.maps.slots());
        // Listeners and limits first: a service is complete when its port
        // leads to it.
        self.write_listeners(datapath, &listeners, None)?;
        self.add(datapath)?;
        self.write_configs(datapath)?;
        let begun = self.lead(datapath)?;
        // From here on the data path sees every SYN; of those that the kernel
        // answered before, it must know before it answers any.
        mark_connections(datapath, &begun, true);
        self.apply_modes(datapath, log)?;
        self.say_refused(&refused, datapath.maps.slots());
        self.say_mptcp();
        if self.said.unlisted == 0 {
            self.settled = Some(Settled::new(
                &self.host,
                &listeners,
                self.sockets.clone(),
                lives,
            ));
        }
        self.listeners = listeners;
        Ok(())
    }

    /// Begins to guard what has a slot and is not guarded yet.
    fn add(&mut self, datapath: &mut DataPath) -> Result<(), ControllerError> {
        let now = now_ns();
        let is_new = |(port, _): &(&u16, &u32)| !self.guarded.contains_key(port);
        let new: Vec<(u16, u32)> = self
            .slots
            .by_port()
            .iter()
            .filter(is_new)
            .map(|(port, slot)| (*port, *slot))
            .collect();
        let slots = new.iter().map(|(_, slot)| *slot).collect();
        datapath.clear_slots(&slots)?;
        for (port, slot) in new {
            let mode = self.detection(port).mode;
            self.guarded
                .insert(port, Guarded::new(port, slot, mode, now));
        }
        Ok(())
    }

    /// Lets ports lead to their slots; those that did not.
    fn lead(&mut self, datapath: &mut DataPath) -> Result<HashSet<u16>, ControllerError> {
        let now = now_ns();
        let mut begun = HashSet::new();
        for (port, slot) in self.slots.by_port() {
            if self.leading.contains(port) {
                continue;
            }
            if datapath.maps.slot_of_port(*port)? != Some(*slot) {
                let state = datapath.maps.state(*slot)?;
                if State::from_u32(state.state) == State::Off {
                    let left = self
                        .guarded
                        .get(port)
                        .map_or(State::Observing, Guarded::state);
                    datapath.control.set_state(*slot, left, now)?;
                }
                datapath.maps.set_port(*port, Some(*slot))?;
                begun.insert(*port);
                if begun.len() <= NAMED
                    && let Some(guarded) = self.guarded.get(port)
                {
                    self.log_added(guarded);
                }
            }
            self.leading.insert(*port);
        }
        if begun.len() > NAMED {
            info!("guarded: {} more services", begun.len() - NAMED);
        }
        Ok(begun)
    }

    /// Reads settings, own addresses and routes; the own hardware addresses.
    fn read_host(&mut self) -> Result<BTreeSet<u64>, ControllerError> {
        let settings = self.cookie_timestamps.apply(TcpSettings::read()?);
        let retries = u32::from(settings.synack_retries);
        self.life_ns = half_open_life_ns(retries);
        self.lives.found(now_ns(), retries);
        let interfaces = interfaces()?;
        self.host.own = addresses::guardable(&local_addresses()?);
        self.host.closures = Closures::new(&self.wanted.services, &self.signed);
        self.host.routes = self.routes.classes(
            &settings,
            &interfaces,
            &self.interfaces,
            &self.host.closures,
            Some(&self.host.routes),
        )?;
        self.host.default_buffers.insert(settings.rmem[1]);
        self.host.settings = settings;
        Ok(interfaces
            .iter()
            .filter_map(|interface| interface.mac.map(mac))
            .collect())
    }

    fn say_refused(&mut self, refused: &[u16], room: u32) {
        if refused.len() == self.said.refused {
            return;
        }
        self.said.refused = refused.len();
        let Some(first) = refused.first() else {
            return;
        };
        let count = refused.len();
        if room < MAX_SERVICES {
            warn!(
                "{count} services are not guarded, from port {first} on: this guard began with room for {room}; restart it to make room for all, or name those that matter with --ports"
            );
        } else {
            warn!(
                "{count} services are not guarded, from port {first} on: syn-guard guards {room} at most; name those that matter with --ports"
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

    fn remove(
        &mut self,
        datapath: &mut DataPath,
        services: &[(u16, u32)],
    ) -> Result<(), ControllerError> {
        if services.is_empty() {
            return Ok(());
        }
        for (port, _) in services {
            self.leading.remove(port);
            datapath.maps.set_port(*port, None)?;
        }
        let slots = services.iter().map(|(_, slot)| *slot).collect();
        sweep::forget(datapath, &slots)?;
        for (port, _) in services {
            self.told_configs.remove(port);
        }
        datapath.clear_slots(&slots)?;
        let why = if self.ports.is_empty() {
            "nobody listens there"
        } else {
            "--ports leaves it out"
        };
        for (port, _) in services {
            self.guarded.remove(port);
            self.slots.free(*port);
            info!(service = port, "no longer guarded: {why}");
        }
        Ok(())
    }
}
