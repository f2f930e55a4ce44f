//! What the answer to a frame depends on beside the frame.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use syn_guard_common::abi::{Listener, Reason, State};

use super::prefixes::Prefix;

/// A connection's four-tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The client.
    pub remote: SocketAddr,
    /// The service.
    pub local: SocketAddr,
}

/// A guarded port.
#[derive(Clone, Debug)]
pub struct Service {
    pub slot: u32,
    pub state: State,
    /// Since it first protected: cookies may come back.
    pub validating: bool,
    /// Mode `auto`: half-open connections at which it protects.
    pub limit: Option<u64>,
    pub counts: Counts,
}

/// Counts of a service that the model predicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub syns: u64,
    pub syn_retransmissions: u64,
    pub tracked: u64,
    pub completed: u64,
    pub reset: u64,
    pub cookies_sent: u64,
    pub protections: u64,
    pub allowed: u64,
    pub denied: u64,
}

/// A listener's entry.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// What the map says.
    pub listener: Listener,
    /// Whether a socket listens.
    pub alive: bool,
}

/// A half-open connection that is tracked.
#[derive(Clone, Copy, Debug)]
pub struct HalfOpen {
    /// The client's initial sequence number.
    pub sequence: u32,
    /// Its service.
    pub port: u16,
}

/// Who makes the cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// syn-guard; a TC program validates them.
    Reqsk,
    /// The kernel; the stack validates them.
    Kernel,
}

/// Everything that decides.
#[derive(Clone, Debug)]
pub struct World {
    pub engine: Engine,
    /// Whether the kernel has TCP-MD5.
    pub knows_md5: bool,
    /// Whether the kernel has TCP-AO.
    pub knows_ao: bool,
    /// By port.
    pub services: BTreeMap<u16, Service>,
    /// By own address, port and route class.
    pub listeners: HashMap<(IpAddr, u16, u32), Entry>,
    /// Network, bits and route class.
    pub routes: Vec<(IpAddr, u32, u32)>,
    /// Those who always pass and those who never do.
    pub prefixes: Vec<Prefix>,
    pub own_macs: HashSet<[u8; 6]>,
    /// The cookies' keys.
    pub keys: [(u64, u64); 4],
    /// Connections that the stack has sockets for.
    pub connections: HashSet<Flow>,
    pub half_open: HashMap<Flow, HalfOpen>,
    /// The limit that every source and every prefix is over.
    pub over: Option<Reason>,
    /// Which cell of the filter of cookies sent a flow has, and which bits it has
    /// there: the filter takes flows that share both for each other, and all flows
    /// of a cell where cookies went to several.
    pub filtered_as: fn(&Flow) -> (u32, u32),
    /// By cell: bits of flows that a cookie went to, or may have gone: the stack's
    /// own, where it got the SYN.
    pub cookies_sent: HashMap<u32, HashSet<u32>>,
}

impl World {
    /// A host that guards nothing.
    pub fn new(engine: Engine) -> Self {
        Self {
            engine,
            knows_md5: false,
            knows_ao: false,
            services: BTreeMap::new(),
            listeners: HashMap::new(),
            routes: Vec::new(),
            prefixes: Vec::new(),
            own_macs: HashSet::new(),
            keys: [(0, 0); 4],
            connections: HashSet::new(),
            half_open: HashMap::new(),
            over: None,
            filtered_as: |_| (0, 0),
            cookies_sent: HashMap::new(),
        }
    }

    /// The listener's entry for a client.
    pub fn entry(&self, address: IpAddr, port: u16, client: IpAddr) -> Option<Entry> {
        let general = *self.listeners.get(&(address, port, 0))?;
        if general.listener.flags & syn_guard_common::abi::listener_flags::ROUTED == 0 {
            return Some(general);
        }
        let class = self
            .routes
            .iter()
            .filter(|(network, bits, _)| within(client, *network, *bits))
            .max_by_key(|(_, bits, _)| *bits)
            .map_or(0, |(_, _, class)| *class);
        let Some(routed) = self.listeners.get(&(address, port, class)) else {
            return Some(general);
        };
        // What the answer says goes by the route; whether there may be one
        // does not.
        let mut entry = *routed;
        entry.alive = general.alive;
        entry.listener.full_until_ns = general.listener.full_until_ns;
        Some(entry)
    }

    /// Half-open connections of a service.
    pub fn half_open_of(&self, port: u16) -> u64 {
        self.half_open
            .values()
            .filter(|half_open| half_open.port == port)
            .count() as u64
    }
}

/// Whether an address is in a network.
pub fn within(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let differs = address.to_bits() ^ network.to_bits();
            differs.leading_zeros() >= bits
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let differs = address.to_bits() ^ network.to_bits();
            differs.leading_zeros() >= bits
        }
        _ => false,
    }
}
