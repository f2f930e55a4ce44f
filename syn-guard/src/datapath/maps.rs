//! The maps with their types.

mod limits;

use std::collections::BTreeSet;
use std::net::IpAddr;

use aya::Ebpf;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{
    Array, HashMap, IterableMap, MapData, MapError, PerCpuArray, PerCpuValues, RingBuf,
};
use syn_guard_common::abi::{
    ANY_MAC, CookieKeys, Event, HalfOpen, NO_MAC, OWN_MAC_CELLS, REASONS, Reason, RouteKey,
    SILENT_CELLS, ServiceConfig, ServiceCounters, ServiceState, Settings, Source, SourceKey,
    SourceSample, mac_cell, silent_cell,
};
use syn_guard_common::address::Address;
use syn_guard_common::flow::Flow;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::listeners::ListenerMaps;
use super::prefixes::PrefixMaps;
use super::{DataPathError, batch};

/// The maps of the data path.
pub struct Maps {
    by_port: Array<MapData, u32>,
    config: Array<MapData, ServiceConfig>,
    settings: Array<MapData, Settings>,
    state: Array<MapData, ServiceState>,
    any_protecting: Array<MapData, u32>,
    validating: Array<MapData, u64>,
    all_marked: Array<MapData, u64>,
    counters: PerCpuArray<MapData, ServiceCounters>,
    routes: LpmTrie<MapData, Address, u32>,
    own_macs: Array<MapData, u64>,
    silent: Array<MapData, Address>,
    half_open: HashMap<MapData, Flow, HalfOpen>,
    sources: HashMap<MapData, SourceKey, Source>,
    samples: PerCpuArray<MapData, SourceSample>,
    keys: Array<MapData, CookieKeys>,
    verdicts: PerCpuArray<MapData, u64>,
    events: Option<RingBuf<MapData>>,
    conntrack_program: MapData,
    /// Listeners.
    pub listeners: ListenerMaps,
    /// Listed prefixes.
    pub prefixes: PrefixMaps,
    /// Possible CPUs: values of a per-CPU map.
    cpus: usize,
    /// Not read, but the programs are loaded with them.
    _others: Vec<aya::maps::Map>,
}

/// Takes a map out of the loaded object.
macro_rules! take {
    ($ebpf:expr, $name:literal) => {
        $ebpf
            .take_map($name)
            .ok_or_else(|| broken($name, &"it is not in the object"))?
            .try_into()
            .map_err(|error: MapError| broken($name, &error))?
    };
}

pub(super) use take;

pub(super) fn broken(map: &'static str, reason: &dyn std::fmt::Display) -> DataPathError {
    DataPathError::Map {
        map,
        reason: reason.to_string(),
    }
}

impl Maps {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, DataPathError> {
        let others = [
            "CLOCK",
            "CONNECTION_FILTER",
            "NEAR_CONNECTION_FILTER",
            "COOKIE_SENT",
            "ESTABLISHED_FILTER",
            "EVENT_BUDGET",
            "HALF_OPEN_FILTER",
            "HANDED_OVER",
            "JUST_COMPLETED",
            "LAST_FULL",
            "PREFIX_SKETCH",
            "SKETCH_TOTALS",
            "UNUSUAL",
            "SOURCE_FILTER",
            "SOURCE_SKETCH",
            "STRAYS",
            "TRACK_BUDGETS",
        ];
        Ok(Self {
            by_port: take!(ebpf, "SERVICE_BY_PORT"),
            config: take!(ebpf, "SERVICE_CONFIG"),
            settings: take!(ebpf, "SETTINGS"),
            state: take!(ebpf, "SERVICE_STATE"),
            any_protecting: take!(ebpf, "ANY_PROTECTING"),
            validating: take!(ebpf, "VALIDATING"),
            all_marked: take!(ebpf, "ALL_MARKED"),
            counters: take!(ebpf, "SERVICE_COUNTERS"),
            listeners: ListenerMaps::take(ebpf)?,
            routes: take!(ebpf, "ROUTES"),
            own_macs: take!(ebpf, "OWN_MACS"),
            silent: take!(ebpf, "SILENT_SOURCES"),
            half_open: take!(ebpf, "HALF_OPEN"),
            sources: take!(ebpf, "SOURCES"),
            samples: take!(ebpf, "SAMPLES"),
            keys: take!(ebpf, "COOKIE_KEYS"),
            verdicts: take!(ebpf, "VERDICTS"),
            events: Some(take!(ebpf, "EVENTS")),
            conntrack_program: match ebpf.take_map("CONNTRACK_PROGRAM") {
                Some(aya::maps::Map::ProgramArray(map)) => map,
                _ => return Err(broken("CONNTRACK_PROGRAM", &"it is not in the object")),
            },
            prefixes: PrefixMaps::take(ebpf)?,
            cpus: aya::util::nr_cpus()
                .map_err(|(path, error)| broken("VERDICTS", &format!("{path}: {error}")))?,
            _others: others
                .iter()
                .filter_map(|name| ebpf.take_map(name))
                .collect(),
        })
    }

    /// Makes `port` the service of `slot`, or of none.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_port(&mut self, port: u16, slot: Option<u32>) -> Result<(), DataPathError> {
        self.by_port
            .set(u32::from(port), slot.map_or(0, |slot| slot + 1), 0)
            .map_err(|error| broken("SERVICE_BY_PORT", &error))
    }

    /// The slot that `port` leads to.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn slot_of_port(&self, port: u16) -> Result<Option<u32>, DataPathError> {
        self.by_port
            .get(&u32::from(port), 0)
            .map(|slot| slot.checked_sub(1))
            .map_err(|error| broken("SERVICE_BY_PORT", &error))
    }

    /// The ports that an earlier controller left with their slots.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn ports(&self) -> Result<Vec<(u16, u32)>, DataPathError> {
        let mut ports = Vec::new();
        let each = |slot, config: &[ServiceConfig]| {
            let port = config.first().map_or(0, |config| config.port);
            if let Ok(port) = u16::try_from(port)
                && port != 0
            {
                ports.push((port, slot));
            }
        };
        batch::each_index(self.config.map().fd(), self.slots(), 1, each)
            .map_err(|error| broken("SERVICE_CONFIG", &error))?;
        Ok(ports)
    }

    /// Services that there is room for.
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.config.len()
    }

    /// What the data path was told of a service.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn config(&self, slot: u32) -> Result<ServiceConfig, DataPathError> {
        self.config
            .get(&slot, 0)
            .map_err(|error| broken("SERVICE_CONFIG", &error))
    }

    /// Tells the data path of a service.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_config(&mut self, slot: u32, config: ServiceConfig) -> Result<(), DataPathError> {
        self.config
            .set(slot, config, 0)
            .map_err(|error| broken("SERVICE_CONFIG", &error))
    }

    /// The state of a service.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn state(&self, slot: u32) -> Result<ServiceState, DataPathError> {
        self.state
            .get(&slot, 0)
            .map_err(|error| broken("SERVICE_STATE", &error))
    }

    /// The states of the services in the first `slots` slots.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn states(&self, slots: u32) -> Result<Vec<ServiceState>, DataPathError> {
        let mut states = Vec::with_capacity(slots as usize);
        batch::each_index(self.state.map().fd(), slots, 1, |_, state| {
            states.extend(state);
        })
        .map_err(|error| broken("SERVICE_STATE", &error))?;
        Ok(states)
    }

    /// How many services validate cookies, by the data path's count.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn validating(&self) -> Result<u64, DataPathError> {
        self.validating
            .get(&0, 0)
            .map_err(|error| broken("VALIDATING", &error))
    }

    /// Tells the data path when all connections of all services that protected then
    /// were marked, `CLOCK_MONOTONIC` ns; 0: not all of them.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_all_marked(&mut self, at_ns: u64) -> Result<(), DataPathError> {
        self.all_marked
            .set(0, at_ns, 0)
            .map_err(|error| broken("ALL_MARKED", &error))
    }

    /// Tells the data path whether any service protects. It notices itself when
    /// one begins to.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_any_protecting(&mut self, any: bool) -> Result<(), DataPathError> {
        self.any_protecting
            .set(0, u32::from(any), 0)
            .map_err(|error| broken("ANY_PROTECTING", &error))
    }

    /// The counts of a service, summed over the CPUs.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn counters(&self, slot: u32) -> Result<ServiceCounters, DataPathError> {
        let values = self
            .counters
            .get(&slot, 0)
            .map_err(|error| broken("SERVICE_COUNTERS", &error))?;
        let mut sum = ServiceCounters::default();
        values.iter().for_each(|value| sum.add(value));
        Ok(sum)
    }

    /// Calls `each` with the counts of the services in the first `slots` slots,
    /// summed over the CPUs.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn each_counters(
        &self,
        slots: u32,
        mut each: impl FnMut(u32, &ServiceCounters),
    ) -> Result<(), DataPathError> {
        batch::each_index(
            self.counters.map().fd(),
            slots,
            self.cpus,
            |slot, values| {
                let mut sum = ServiceCounters::default();
                values.iter().for_each(|value| sum.add(value));
                each(slot, &sum);
            },
        )
        .map_err(|error| broken("SERVICE_COUNTERS", &error))
    }

    /// Makes free slots as good as new. Their ports must not point to them.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn clear_slots(&mut self, slots: &BTreeSet<u32>) -> Result<(), DataPathError> {
        if slots.is_empty() {
            return Ok(());
        }
        for slot in slots {
            let zeros = PerCpuValues::try_from(vec![ServiceCounters::default(); self.cpus])
                .map_err(|error| broken("SERVICE_COUNTERS", &error))?;
            self.counters
                .set(*slot, zeros, 0)
                .map_err(|error| broken("SERVICE_COUNTERS", &error))?;
            self.state
                .set(*slot, ServiceState::default(), 0)
                .map_err(|error| broken("SERVICE_STATE", &error))?;
            self.set_config(*slot, ServiceConfig::default())?;
            let _ = self.take_samples(*slot)?;
        }
        let mut sources = Vec::new();
        self.each_source(|key, _| {
            if slots.contains(&key.slot) {
                sources.push(*key);
            }
        })?;
        for key in sources {
            // Gone already is as good.
            let _ = self.sources.remove(&key);
        }
        Ok(())
    }

    /// Gives the clients of a prefix a route class.
    ///
    /// # Errors
    /// When the kernel refuses: there are too many prefixes, say.
    pub fn set_route(&mut self, key: RouteKey, class: u32) -> Result<(), DataPathError> {
        self.routes
            .insert(&Key::new(key.bits, key.address), class, 0)
            .map_err(|error| broken("ROUTES", &error))
    }

    /// Takes the prefix's route class away, if it has one.
    pub fn remove_route(&mut self, key: RouteKey) {
        let _ = self.routes.remove(&Key::new(key.bits, key.address));
    }

    /// The prefixes that have a route class.
    #[must_use]
    pub fn routes(&self) -> Vec<RouteKey> {
        self.routes
            .keys()
            .flatten()
            .map(|key| RouteKey {
                bits: key.prefix_len(),
                address: key.data(),
            })
            .collect()
    }

    /// Tells the data path the host's own hardware addresses, as
    /// [`mac`](syn_guard_common::abi::mac) makes numbers of them.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_own_macs(
        &mut self,
        macs: impl IntoIterator<Item = u64>,
    ) -> Result<(), DataPathError> {
        let mut cells = std::collections::BTreeMap::new();
        for mac in macs {
            cells
                .entry(mac_cell(mac))
                .and_modify(|cell| {
                    if *cell != mac {
                        *cell = ANY_MAC;
                    }
                })
                .or_insert(mac);
        }
        for cell in 0..OWN_MAC_CELLS {
            let wanted = cells.get(&cell).copied().unwrap_or(NO_MAC);
            let failed = |error| broken("OWN_MACS", &error);
            if self.own_macs.get(&cell, 0).map_err(failed)? != wanted {
                self.own_macs.set(cell, wanted, 0).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Tells the data path from which sources the stack takes no SYN.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_silent_sources(
        &mut self,
        sources: impl IntoIterator<Item = IpAddr>,
    ) -> Result<(), DataPathError> {
        let mut cells = [Address::default(); SILENT_CELLS as usize];
        for source in sources {
            let source = Address::from(source);
            let cell = &mut cells[silent_cell(&source) as usize];
            // Of two that share a cell one is not known: nobody slips past for it.
            if source.may_be_client() && *cell == Address::default() {
                *cell = source;
            }
        }
        for (number, wanted) in (0..).zip(cells) {
            let failed = |error| broken("SILENT_SOURCES", &error);
            if self.silent.get(&number, 0).map_err(failed)? != wanted {
                self.silent.set(number, wanted, 0).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Calls `each` with the half-open connections. One that begins or ends
    /// meanwhile may be missing.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn each_half_open(&self, each: impl FnMut(&Flow, &HalfOpen)) -> Result<(), DataPathError> {
        batch::each_entry(self.half_open.map().fd(), each)
            .map_err(|error| broken("HALF_OPEN", &error))
    }

    /// Calls `each` with the sources and their counts.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn each_source(&self, each: impl FnMut(&SourceKey, &Source)) -> Result<(), DataPathError> {
        batch::each_entry(self.sources.map().fd(), each).map_err(|error| broken("SOURCES", &error))
    }

    /// The cookies' keys.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn keys(&self) -> Result<CookieKeys, DataPathError> {
        self.keys
            .get(&0, 0)
            .map_err(|error| broken("COOKIE_KEYS", &error))
    }

    /// Replaces the cookies' keys.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_keys(&mut self, keys: CookieKeys) -> Result<(), DataPathError> {
        self.keys
            .set(0, keys, 0)
            .map_err(|error| broken("COOKIE_KEYS", &error))
    }

    /// How often each reason decided, summed over the CPUs.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn verdicts(&self) -> Result<Vec<(Reason, u64)>, DataPathError> {
        let mut verdicts = Vec::with_capacity(REASONS.len());
        batch::each_index(
            self.verdicts.map().fd(),
            REASONS.len() as u32,
            self.cpus,
            |index, values: &[u64]| {
                if let Some(reason) = REASONS.get(index as usize) {
                    verdicts.push((*reason, values.iter().sum()));
                }
            },
        )
        .map_err(|error| broken("VERDICTS", &error))?;
        Ok(verdicts)
    }

    /// The map with the program that completed handshakes go on with.
    pub(super) fn conntrack_program(&self) -> &aya::maps::MapFd {
        self.conntrack_program.fd()
    }

    /// Takes the reader of events, once.
    ///
    /// # Errors
    /// When it was taken, or the runtime cannot wait for it.
    pub fn take_events(&mut self) -> Result<EventReader, DataPathError> {
        let ring = self
            .events
            .take()
            .ok_or_else(|| broken("EVENTS", &"taken already"))?;
        // SAFETY: the ring buffer owns its descriptor and never replaces it.
        unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }
            .map(EventReader)
            .map_err(|error| broken("EVENTS", &error))
    }

    /// Bytes of kernel memory that the maps take: `memlock` of this process's
    /// own descriptors (`bpf_map_show_fdinfo`).
    #[must_use]
    pub fn memory() -> u64 {
        let Ok(entries) = std::fs::read_dir("/proc/self/fdinfo") else {
            return 0;
        };
        let field = |info: &str, name: &str| -> Option<u64> {
            info.lines()
                .find_map(|line| line.strip_prefix(name))?
                .trim()
                .parse()
                .ok()
        };
        let by_id: std::collections::HashMap<u64, u64> = entries
            .flatten()
            .filter_map(|entry| std::fs::read_to_string(entry.path()).ok())
            .filter_map(|info| Some((field(&info, "map_id:")?, field(&info, "memlock:")?)))
            .collect();
        by_id.values().sum()
    }
}

/// Waits for events of the data path.
pub struct EventReader(AsyncFd<RingBuf<MapData>>);

impl EventReader {
    /// The next events; at least one, unless the wait was spurious.
    ///
    /// # Errors
    /// When the runtime cannot wait.
    pub async fn next(&mut self) -> Result<Vec<Event>, DataPathError> {
        let mut guard = self
            .0
            .readable_mut()
            .await
            .map_err(|error| broken("EVENTS", &error))?;
        let mut events = Vec::new();
        while let Some(item) = guard.get_inner_mut().next() {
            events.extend(Event::read(&item));
        }
        guard.clear_ready();
        Ok(events)
    }
}
