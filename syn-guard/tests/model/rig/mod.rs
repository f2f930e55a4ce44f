//! The loaded program and the model side by side, in the same state.

mod compare;
mod limits;
mod outcome;
mod prefixes;

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use syn_guard::datapath::{
    DataPath, EngineChoice, Features, LoadOptions, LogLevel, PinDirectory, XdpModeChoice,
};
use syn_guard_common::abi::{
    CookieKeys, Listener, ListenerKey, Mode, RouteKey, ServiceConfig, State, mac, sent_bits,
    sent_cell,
};
use syn_guard_common::cookie::Key;
use syn_guard_common::wire::found;
use xtask::lab::Lab;

use self::compare::now_ns;
use self::limits::no_limits;
pub use self::outcome::Disagreement;
pub use self::prefixes::entry;
use crate::reference::{Counts, Engine, Entry, Flow, Service, World};

/// A half-open connection outlives the test.
const LIFE_NS: u64 = 3_600_000_000_000;

/// A lab for a test of an engine; none, with the reason on stderr, without root
/// or where the kernel lacks the engine.
pub fn lab_for(engine: Engine) -> Option<Lab> {
    if let Err(error) = Features::probe(choice(engine)) {
        eprintln!("skipped: {error}");
        return None;
    }
    let lab = Lab::for_test().unwrap()?;
    if engine == Engine::Kernel {
        // As the controller does while a service protects.
        let server = lab.server();
        server.set_sysctl("net.ipv4.tcp_syncookies", "2").unwrap();
    }
    Some(lab)
}

const fn choice(engine: Engine) -> EngineChoice {
    match engine {
        Engine::Reqsk => EngineChoice::Reqsk,
        Engine::Kernel => EngineChoice::Kernel,
    }
}

/// The program, loaded, and the model.
pub struct Rig {
    pub world: World,
    datapath: DataPath,
    /// Counts by reason after the last frame.
    counted: Vec<u64>,
    output: Vec<u8>,
    started: Instant,
    tracked: f64,
    marked: Instant,
    /// Whether the kernel lets a test say how much of a frame is in its first
    /// buffer.
    splits: bool,
    sockets: Vec<TcpListener>,
    /// Both ends, which stay open.
    connections: Vec<(TcpStream, TcpStream)>,
}

impl Rig {
    /// Loads the program with pins of the lab. The calling thread must be in
    /// the server's namespace.
    pub fn new(lab: &Lab, engine: Engine) -> Self {
        let pins = PinDirectory::new(lab.bpf_dir().join("model"));
        let options = LoadOptions {
            log: LogLevel::Off,
            engine: choice(engine),
            xdp_mode: XdpModeChoice::Auto,
            services: 1,
            // What XDP does with that engine on older kernels.
            without_reqsk: matches!(engine, Engine::Kernel),
            unusual_rate: 0,
        };
        let mut datapath = DataPath::load(pins, &options).unwrap();
        datapath.maps.set_settings(no_limits()).unwrap();
        let mut probe = Vec::new();
        let splits = datapath.test_run(&[0; 64], 32, &mut probe).is_ok();
        let counted = datapath.maps.verdicts().unwrap();
        let knows = |signature| datapath.features.signatures & signature != 0;
        Self {
            world: World {
                knows_md5: knows(found::MD5),
                knows_ao: knows(found::AUTHENTICATION),
                filtered_as: |flow| {
                    let hash = abi_flow(flow).hash();
                    (sent_cell(hash) as u32, sent_bits(hash))
                },
                ..World::new(engine)
            },
            datapath,
            counted: counted.iter().map(|(_, count)| *count).collect(),
            output: Vec::new(),
            started: Instant::now(),
            tracked: 0.0,
            marked: Instant::now(),
            splits,
            sockets: Vec::new(),
            connections: Vec::new(),
        }
    }

    /// Makes a port a service in this state.
    pub fn add_service(&mut self, port: u16, state: State, limit: Option<u64>) {
        let slot = self.world.services.len() as u32;
        let mode = match (state, limit) {
            (_, Some(_)) => Mode::Auto,
            (State::Protecting, None) => Mode::Protect,
            _ => Mode::Observe,
        };
        let config = ServiceConfig {
            limit: limit.unwrap_or(1),
            life_ns: LIFE_NS,
            unanswered_rate: 0,
            mode: mode as u32,
            port: u32::from(port),
        };
        self.datapath.maps.set_config(slot, config).unwrap();
        self.datapath.maps.set_port(port, Some(slot)).unwrap();
        let service = Service {
            slot,
            state,
            validating: false,
            limit,
            counts: Counts::default(),
        };
        self.world.services.insert(port, service);
        self.set_state(port, state);
    }

    /// Changes the state of a service.
    pub fn set_state(&mut self, port: u16, state: State) {
        let service = self.world.services.get_mut(&port).unwrap();
        service.state = state;
        service.validating |= state == State::Protecting;
        let control = &self.datapath.control;
        control.set_state(service.slot, state, now_ns()).unwrap();
        let mut states = self.world.services.values().map(|service| service.state);
        let any = states.any(|state| state == State::Protecting);
        self.datapath.maps.set_any_protecting(any).unwrap();
        self.expect_validating();
    }

    /// A service that protects and goes away is not counted for ever.
    pub fn add_and_remove_a_service(&mut self) {
        let slot = self.world.services.len() as u32;
        let before = self.datapath.maps.validating().unwrap();
        let control = &self.datapath.control;
        control
            .set_state(slot, State::Protecting, now_ns())
            .unwrap();
        assert_eq!(self.datapath.maps.validating().unwrap(), before + 1);
        self.datapath.clear_slots(&[slot].into()).unwrap();
        self.expect_validating();
    }

    /// The TC program looks at nothing while no service validates: all are counted.
    fn expect_validating(&self) {
        let services = self.world.services.values();
        let validating = services.filter(|service| service.validating).count();
        assert_eq!(self.datapath.maps.validating().unwrap(), validating as u64);
    }

    /// No cookie of a service is out any more.
    pub fn stop_validating(&mut self, port: u16) {
        let service = self.world.services.get_mut(&port).unwrap();
        service.validating = false;
        self.datapath.control.stop_validating(service.slot).unwrap();
        self.expect_validating();
    }

    /// Ends the half-open connections of a service, uncounted.
    pub fn forget_half_open(&mut self, port: u16) {
        let control = &self.datapath.control;
        self.world.half_open.retain(|flow, half_open| {
            if half_open.port == port {
                control.forget(abi_flow(flow)).unwrap();
            }
            half_open.port != port
        });
    }

    /// Listens on a port, on all addresses.
    pub fn listen(&mut self, port: u16) {
        // A wildcard of IPv6 takes IPv4 too.
        let listener = TcpListener::bind((std::net::Ipv6Addr::UNSPECIFIED, port)).unwrap();
        self.sockets.push(listener);
    }

    /// Adds a listener's entry.
    pub fn add_listener(&mut self, address: IpAddr, port: u16, route: u32, entry: Entry) {
        let key = ListenerKey {
            address: address.into(),
            port: u32::from(port),
            route,
        };
        let maps = &mut self.datapath.maps;
        assert!(maps.listeners.set(&key, &entry.listener).unwrap());
        self.world.listeners.insert((address, port, route), entry);
    }

    /// Adds a prefix with a route class.
    pub fn add_route(&mut self, network: IpAddr, bits: u32, class: u32) {
        let key = RouteKey {
            bits: bits + if network.is_ipv4() { 96 } else { 0 },
            address: network.into(),
        };
        self.datapath.maps.set_route(key, class).unwrap();
        self.world.routes.push((network, bits, class));
    }

    /// Sets the host's own hardware addresses.
    pub fn set_own_macs(&mut self, macs: &[[u8; 6]]) {
        let numbers = macs.iter().map(|bytes| mac(*bytes));
        self.datapath.maps.set_own_macs(numbers).unwrap();
        self.world.own_macs = macs.iter().copied().collect();
    }

    /// Sets the cookies' keys.
    pub fn set_keys(&mut self, keys: [(u64, u64); 4]) {
        let slots = keys.map(|(k0, k1)| Key { k0, k1 });
        self.datapath.maps.set_keys(CookieKeys { slots }).unwrap();
        self.world.keys = keys;
    }

    /// Opens a real connection from the client's namespace, and tells the
    /// program as the controller does.
    pub fn connect(&mut self, lab: &Lab, source: SocketAddr, service: SocketAddr) {
        let client = lab
            .client()
            .run(|| {
                let domain = socket2::Domain::for_address(source);
                let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
                socket.bind(&source.into()).unwrap();
                socket.connect(&service.into()).unwrap();
                TcpStream::from(socket)
            })
            .unwrap();
        let listener = self
            .sockets
            .iter()
            .find(|socket| socket.local_addr().unwrap().port() == service.port())
            .unwrap();
        let (server, _) = listener.accept().unwrap();
        self.connections.push((client, server));
        self.world.connections.insert(Flow {
            remote: source,
            local: service,
        });
        self.mark_connections();
    }

    fn mark_connections(&mut self) {
        for flow in &self.world.connections {
            let control = &self.datapath.control;
            control.mark_connection(abi_flow(flow)).unwrap();
        }
        self.marked = Instant::now();
    }
}

/// An entry like that of a listener whose settings are the kernel's defaults.
pub fn plain(ipv6: bool) -> Entry {
    use syn_guard_common::abi::listener_flags::{ECN, SACK, TIMESTAMPS, WINDOW_SCALING};
    Entry {
        listener: Listener {
            flags: TIMESTAMPS | SACK | WINDOW_SCALING | ECN,
            mss: if ipv6 { 1440 } else { 1460 },
            window: 64_240,
            window_with_timestamps: 65_160,
            scale: 7,
            ttl: 64,
            ..Listener::default()
        },
        alive: true,
    }
}

fn abi_flow(flow: &Flow) -> syn_guard_common::flow::Flow {
    syn_guard_common::flow::Flow {
        remote: flow.remote.ip().into(),
        local: flow.local.ip().into(),
        remote_port: flow.remote.port(),
        local_port: flow.local.port(),
    }
}
