//! The loaded program and the model side by side, in the same state.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use syn_guard::datapath::{
    DataPath, EngineChoice, Features, LoadOptions, LogLevel, PinDirectory, XdpModeChoice,
};
use syn_guard_common::abi::{
    Action, CookieKeys, Listener, ListenerKey, Mode, Reason, RouteKey, ServiceConfig, State, mac,
};
use syn_guard_common::cookie::Key;
use xtask::lab::{Lab, patience};

use crate::reference::{Counts, Engine, Entry, Flow, Frame, Service, World};

/// A half-open connection outlives the test.
const LIFE_NS: u64 = 3_600_000_000_000;
/// New half-open connections a second, below what the program tracks (21 in
/// 1.05 ms on each CPU, 8,192 at once).
const TRACKED_A_SECOND: f64 = 15_000.0;
const TRACKED_AT_ONCE: f64 = 6_000.0;
/// The program's clock is coarse and read once a jiffy: it may be this late.
const CLOCK_LATE_NS: u64 = 50_000_000;
/// The connection filter forgets after 65 s.
const MARK_EVERY: Duration = Duration::from_secs(15);

/// What happens to a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The program's `XDP_*` code.
    pub code: u32,
    /// What is counted for it.
    pub reasons: Vec<Reason>,
    /// What is passed on or sent back.
    pub frame: Vec<u8>,
}

/// What the program and the model say differently.
#[derive(Debug)]
pub struct Disagreement {
    pub frame: Frame,
    pub program: Outcome,
    pub model: Outcome,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Frame { bytes, linear } = &self.frame;
        writeln!(
            formatter,
            "  frame   {} (first buffer {linear})",
            hex(bytes)
        )?;
        for (who, outcome) in [("program", &self.program), ("model  ", &self.model)] {
            let names: Vec<_> = outcome.reasons.iter().map(|it| it.name()).collect();
            let (code, frame) = (outcome.code, hex(&outcome.frame));
            writeln!(formatter, "  {who} {names:?}, XDP code {code}, {frame}")?;
        }
        Ok(())
    }
}

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
    _sockets: Vec<TcpListener>,
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
        };
        let datapath = DataPath::load(pins, &options).unwrap();
        let mut probe = Vec::new();
        let splits = datapath.test_run(&[0; 64], 32, &mut probe).is_ok();
        let counted = datapath.maps.verdicts().unwrap();
        Self {
            world: World::new(engine),
            datapath,
            counted: counted.iter().map(|(_, count)| *count).collect(),
            output: Vec::new(),
            started: Instant::now(),
            tracked: 0.0,
            marked: Instant::now(),
            splits,
            _sockets: Vec::new(),
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
    }

    /// Ends the half-open connections of a service, uncounted.
    pub fn forget_half_open(&mut self, port: u16) {
        let control = &self.datapath.control;
        self.world.half_open.retain(|flow, half_open| {
            if half_open.port == port {
                assert!(control.forget(abi_flow(flow)).unwrap(), "{flow:?}");
            }
            half_open.port != port
        });
    }

    /// Listens on a port, on all addresses.
    pub fn listen(&mut self, port: u16) {
        // A wildcard of IPv6 takes IPv4 too.
        let listener = TcpListener::bind((std::net::Ipv6Addr::UNSPECIFIED, port)).unwrap();
        self._sockets.push(listener);
    }

    /// Adds a listener's entry.
    pub fn add_listener(&mut self, address: IpAddr, port: u16, route: u32, entry: Entry) {
        let key = ListenerKey {
            address: address.into(),
            port: u32::from(port),
            route,
        };
        let maps = &mut self.datapath.maps;
        assert!(maps.set_listener(&key, &entry.listener).unwrap());
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
            ._sockets
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

    /// A frame as this kernel can have it.
    pub fn fit(&self, mut frame: Frame) -> Frame {
        // What `BPF_PROG_TEST_RUN` leaves of a page for a first buffer: the
        // headroom is 256 bytes, the tailroom 320 (`struct skb_shared_info`).
        const PAGE: usize = 4096 - 256 - 320;
        if !self.splits {
            frame.linear = frame.bytes.len();
        }
        frame.linear = frame.linear.min(PAGE);
        frame
    }

    /// Runs a frame through both.
    pub fn run(&mut self, frame: &Frame) -> Result<Reason, Box<Disagreement>> {
        if self.marked.elapsed() > MARK_EVERY {
            self.mark_connections();
        }
        let half_open = self.world.half_open.len();
        let decision = self.world.decide(frame);
        if self.world.half_open.len() > half_open {
            self.pace();
        }
        let earliest = coarse_ns().saturating_sub(CLOCK_LATE_NS * u64::from(patience()));
        let code = self
            .datapath
            .test_run(&frame.bytes, frame.linear, &mut self.output)
            .unwrap();
        let latest = coarse_ns();

        let reasons = self.reasons();
        let right_code = code == code_of(decision.reason.action());
        let right_frame = match &decision.reply {
            None => self.output == frame.bytes,
            Some(reply) => moments(earliest, latest)
                .into_iter()
                .any(|moment| self.output == reply.at(moment, &self.output)),
        };
        if right_code && right_frame && reasons == [decision.reason] {
            return Ok(decision.reason);
        }
        Err(Box::new(Disagreement {
            frame: frame.clone(),
            program: Outcome {
                code,
                reasons,
                frame: self.output.clone(),
            },
            model: Outcome {
                code: code_of(decision.reason.action()),
                reasons: vec![decision.reason],
                frame: match &decision.reply {
                    None => frame.bytes.clone(),
                    Some(reply) => reply.at(latest, &self.output),
                },
            },
        }))
    }

    /// Waits until the program may track another connection.
    fn pace(&mut self) {
        self.tracked += 1.0;
        let allowed = TRACKED_AT_ONCE + self.started.elapsed().as_secs_f64() * TRACKED_A_SECOND;
        let ahead = self.tracked - allowed;
        if ahead > 0.0 {
            std::thread::sleep(Duration::from_secs_f64(ahead / TRACKED_A_SECOND));
        }
    }

    /// The reasons counted since the last time.
    fn reasons(&mut self) -> Vec<Reason> {
        let now = self.datapath.maps.verdicts().unwrap();
        let mut reasons = Vec::new();
        for ((reason, count), before) in now.into_iter().zip(&mut self.counted) {
            reasons.extend((*before..count).map(|_| reason));
            *before = count;
        }
        reasons
    }

    /// What the program counted and the model predicts, by port.
    pub fn counts(&self) -> HashMap<u16, (Counts, Counts)> {
        let services = self.world.services.iter();
        services
            .map(|(port, service)| {
                let counters = self.datapath.maps.counters(service.slot).unwrap();
                assert_eq!(counters.untracked, 0, "port {port}: it was too fast");
                let counted = Counts {
                    syns: counters.syns,
                    syn_retransmissions: counters.syn_retransmissions,
                    tracked: counters.tracked,
                    completed: counters.completed,
                    reset: counters.reset,
                    cookies_sent: counters.cookies_sent,
                    protections: counters.protections,
                };
                (*port, (counted, service.counts))
            })
            .collect()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // The lab removes the file system that they are on.
        self.connections.clear();
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

/// One moment for each answer that may be right between two: TSval changes
/// with the milliseconds.
fn moments(earliest: u64, latest: u64) -> Vec<u64> {
    const MS: u64 = 1_000_000;
    // The latest is the likeliest.
    let whole = (earliest / MS + 1..=latest / MS).rev().map(|ms| ms * MS);
    whole.chain(std::iter::once(earliest)).collect()
}

fn code_of(action: Action) -> u32 {
    use xdp_action::{DROP, PASS, TX};
    match action {
        Action::Pass => PASS,
        Action::Cookie => TX,
        Action::Drop => DROP,
    }
}

/// `enum xdp_action` (linux/bpf.h).
mod xdp_action {
    pub const DROP: u32 = 1;
    pub const PASS: u32 = 2;
    pub const TX: u32 = 3;
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn abi_flow(flow: &Flow) -> syn_guard_common::flow::Flow {
    syn_guard_common::flow::Flow {
        remote: flow.remote.ip().into(),
        local: flow.local.ip().into(),
        remote_port: flow.remote.port(),
        local_port: flow.local.port(),
    }
}

fn now_ns() -> u64 {
    clock(ClockId::CLOCK_MONOTONIC)
}

/// The clock that the program reads.
fn coarse_ns() -> u64 {
    clock(ClockId::CLOCK_MONOTONIC_COARSE)
}

fn clock(id: ClockId) -> u64 {
    let time = clock_gettime(id).unwrap();
    Duration::from(time).as_nanos() as u64
}
