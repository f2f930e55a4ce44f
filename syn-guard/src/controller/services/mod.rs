//! The guarded services: which there are, what the data path knows of them,
//! and their states.

mod configs;
mod listeners;
mod modes;
mod refused;
mod states;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use syn_guard_common::abi::{Listener as Entry, ListenerKey, Mode, RouteKey, State, mac};
use syn_guard_common::life::half_open_life_ns;
use tracing::{info, warn};

pub use modes::ModeError;
use refused::Refused;
use states::mark_connections;

use crate::controller::clock::now_ns;
use crate::controller::guarded::Guarded;
use crate::controller::kernel_engine::CookieTimestamps;
use crate::controller::listeners::{Backlog, Host, KnownOptions, MPTCP, Proxies, open_ports};
use crate::controller::lives::Lives;
use crate::controller::routes::RouteReader;
use crate::controller::slots::Slots;
use crate::controller::{ControllerError, Options, sweep};
use crate::datapath::{DataPath, Engine, Takeover};
use crate::events::EventLog;
use crate::kernel::TcpSettings;
use crate::kernel::addresses::local_addresses;
use crate::kernel::interfaces::interfaces;
use crate::kernel::sysctl;

/// How often the connections of a protecting service are told to the data
/// path: well within the 60 s that its filter remembers them.
const MARK_EVERY_NS: u64 = 20_000_000_000;

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
    entries: HashMap<ListenerKey, Entry>,
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
            modes: BTreeMap::new(),
            no_engine: match &datapath.features.engine {
                Engine::None { reason } => Some(reason.clone()),
                _ => None,
            },
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
            lives: Lives::default(),
            backlogs: HashMap::new(),
            proxies: Proxies::default(),
            marked_at_ns: 0,
            refused: Refused::default(),
            own_macs: BTreeSet::new(),
            cookie_timestamps: CookieTimestamps::new(&datapath.features.engine),
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
        self.guarded
            .values()
            .find(|guarded| guarded.slot == slot)
            .map(|guarded| guarded.port)
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
                    Guarded::new(*port, *slot, self.detection(*port).mode, now),
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
                let left = self
                    .guarded
                    .get(port)
                    .map_or(State::Observing, Guarded::state);
                datapath.control.set_state(*slot, left, now)?;
            }
            datapath.maps.set_port(*port, Some(*slot))?;
            begun.insert(*port);
            if let Some(guarded) = self.guarded.get(port) {
                self.log_added(guarded);
            }
        }
        // From here on the data path sees every SYN; of those that the kernel
        // answered before, it must know before it answers any.
        mark_connections(datapath, &begun, true);
        self.apply_modes(datapath, log)?;
        self.say_refused(&refused);
        self.say_mptcp();
        Ok(())
    }

    /// Reads settings, own addresses and routes; the own hardware addresses.
    fn read_host(&mut self) -> Result<BTreeSet<u64>, ControllerError> {
        let settings = self.cookie_timestamps.apply(TcpSettings::read()?);
        let retries = u32::from(settings.synack_retries);
        self.life_ns = half_open_life_ns(retries);
        self.lives.found(now_ns(), retries);
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
}
