//! What the controller costs: CPU, memory, time; and how soon cookies go out.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, Map, MapData};

use super::stats::Spread;
use crate::lab::{FIRST_PORT, Flood, Guard, Lab, Listeners, Nginx, SERVER_IPV4};

/// Numbers of services.
pub const SERVICES: [u16; 4] = [1, 100, 1_000, 10_000];
/// Forged SYNs a second.
const RATE: u64 = 300_000;
/// Sources of the flood that memory is measured under.
const SOURCES: u32 = 10_000_000;
/// That flood's duration: each source comes more than once.
const FROM_ALL: Duration = Duration::from_secs(20);
/// How long it does what it does once only, after its start or the flood's.
const SETTLE: Duration = Duration::from_secs(3);
/// How long its CPU time is counted.
const MEASURED: Duration = Duration::from_secs(5);
/// How long a cookie may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it looks for one.
const GLANCE: Duration = Duration::from_micros(20);
const MIB: f64 = (1 << 20) as f64;

/// What it may cost.
#[derive(Clone, Copy, Debug)]
pub struct Goals {
    /// With so many services.
    pub services: u16,
    /// CPU without an attack, percent of a core.
    pub idle: f64,
    /// CPU under one.
    pub attacked: f64,
    /// Kernel memory of the maps, MiB.
    pub maps: f64,
    /// Resident memory under a flood from [`SOURCES`] sources, MiB.
    pub resident: f64,
}

/// The goals.
pub const GOALS: Goals = Goals {
    services: 1_000,
    idle: 1.0,
    attacked: 3.0,
    maps: 64.0,
    resident: 40.0,
};

/// The controller with a number of services.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub struct Point {
    /// Services.
    pub services: u16,
    /// Time from its start until it guards, milliseconds.
    pub start_ms: Spread,
    /// CPU without an attack, percent of a core.
    pub idle: Spread,
    /// CPU while one service is under a flood.
    pub one: Spread,
    /// CPU while all are, by a flood of the same rate.
    pub all: Spread,
    /// Memory that was resident at the end, MiB.
    pub resident: Spread,
    /// The most that was, MiB.
    pub most_resident: Spread,
    /// Kernel memory of the maps, MiB.
    pub maps: Spread,
}

/// Under a flood from [`SOURCES`] sources.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub struct ManySources {
    /// Whether the service protects.
    pub protects: bool,
    /// Forged SYNs that came in all.
    pub syns: Spread,
    /// CPU, percent of a core.
    pub cpu: Spread,
    /// The most memory that was resident at any time, MiB.
    pub most_resident: Spread,
}

/// All of it.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Controller {
    /// By number of services.
    pub services: Vec<Point>,
    /// Under a flood from very many sources.
    pub sources: Vec<ManySources>,
    /// From the first SYN of a flood to the first cookie in mode `auto`,
    /// milliseconds.
    pub first_cookie_ms: Spread,
}

/// What a round measured of each.
#[derive(Clone, Copy, Debug)]
struct Round {
    start_ms: f64,
    idle: f64,
    one: f64,
    all: f64,
    resident: f64,
    most_resident: f64,
    maps: f64,
}

/// Measures with these numbers of services, in interleaved rounds.
///
/// # Errors
/// The lab or the guard fails.
pub fn measure(services: &[u16], rounds: usize) -> Result<Controller> {
    let mut by_services = vec![Vec::new(); services.len()];
    let mut by_mode = [("auto", Vec::new()), ("observe", Vec::new())];
    let mut first_cookies = Vec::new();
    for _ in 0..rounds {
        for (count, rounds) in services.iter().zip(&mut by_services) {
            rounds.push(round(*count)?);
        }
        for (mode, rounds) in &mut by_mode {
            rounds.push(many_sources(mode)?);
        }
        for _ in 0..3 {
            first_cookies.push(first_cookie()?);
        }
    }
    let points = services.iter().zip(&by_services);
    let sources = by_mode.iter().map(|(mode, rounds)| {
        let of = |number: usize| Spread::of(rounds.iter().map(|round| round[number]).collect());
        Some(ManySources {
            protects: *mode == "auto",
            syns: of(0)?,
            cpu: of(1)?,
            most_resident: of(2)?,
        })
    });
    Ok(Controller {
        services: points
            .map(|(services, rounds)| point(*services, rounds))
            .collect::<Option<_>>()
            .context("no round")?,
        sources: sources.collect::<Option<_>>().context("no round")?,
        first_cookie_ms: Spread::of(first_cookies).context("no round")?,
    })
}

/// Measures one number of services in so many rounds.
///
/// # Errors
/// The lab or the guard fails.
pub fn measure_services(services: u16, rounds: usize) -> Result<Point> {
    let rounds = (0..rounds).map(|_| round(services));
    point(services, &rounds.collect::<Result<Vec<_>>>()?).context("no round")
}

fn point(services: u16, rounds: &[Round]) -> Option<Point> {
    let spread = |get: fn(&Round) -> f64| Spread::of(rounds.iter().map(get).collect());
    Some(Point {
        services,
        start_ms: spread(|round| round.start_ms)?,
        idle: spread(|round| round.idle)?,
        one: spread(|round| round.one)?,
        all: spread(|round| round.all)?,
        resident: spread(|round| round.resident)?,
        most_resident: spread(|round| round.most_resident)?,
        maps: spread(|round| round.maps)?,
    })
}

fn round(services: u16) -> Result<Round> {
    let lab = Lab::new()?;
    lab.separate_cores()?;
    let listeners = Listeners::open(&lab, services)?;
    let started = Instant::now();
    let guard = Guard::start(&lab, &[])?;
    let start_ms = started.elapsed().as_secs_f64() * 1e3;
    std::thread::sleep(SETTLE);
    let guarded = guard.status(&lab)?["services"]
        .as_array()
        .map_or(0, Vec::len);
    ensure!(
        guarded == listeners.count(),
        "{guarded} of {} services are guarded",
        listeners.count()
    );
    let idle = cpu(&guard)?;
    let flood = Flood::new((SERVER_IPV4, FIRST_PORT).into())
        .rate(RATE)
        .duration(SETTLE + MEASURED * 2);
    let on_one = flood.clone().start(&lab)?;
    std::thread::sleep(SETTLE);
    let one = cpu(&guard)?;
    on_one.stop()?;
    let on_all = flood.ports(services).start(&lab)?;
    std::thread::sleep(SETTLE);
    let all = cpu(&guard)?;
    on_all.stop()?;
    let round = Round {
        start_ms,
        idle,
        one,
        all,
        resident: guard.resident_bytes()? as f64 / MIB,
        most_resident: guard.most_resident_bytes()? as f64 / MIB,
        maps: guard.map_bytes()? as f64 / MIB,
    };
    guard.stop_at_once()?;
    Ok(round)
}

/// CPU that the guard takes, percent of a core.
fn cpu(guard: &Guard) -> Result<f64> {
    let (before, start) = (guard.cpu_time()?, Instant::now());
    std::thread::sleep(MEASURED);
    let took = guard.cpu_time()? - before;
    Ok(took.as_secs_f64() / start.elapsed().as_secs_f64() * 100.0)
}

/// SYNs, CPU in percent of a core, and the most memory in MiB.
fn many_sources(mode: &str) -> Result<[f64; 3]> {
    let lab = Lab::new()?;
    lab.separate_cores()?;
    let nginx = Nginx::start(&lab)?;
    let guard = Guard::start(&lab, &["--mode", mode])?;
    let flood = Flood::new(nginx.ipv4())
        .sources([10, 0, 0, 0].into(), SOURCES)
        .duration(FROM_ALL)
        .start(&lab)?;
    let (before, start) = (guard.cpu_time()?, Instant::now());
    while flood.elapsed() < FROM_ALL {
        std::thread::sleep(Duration::from_millis(500));
        // Who looks makes it make a report.
        guard.status(&lab)?;
    }
    let took = guard.cpu_time()? - before;
    let cpu = took.as_secs_f64() / start.elapsed().as_secs_f64() * 100.0;
    let syns = flood.stop()?;
    let most = guard.most_resident_bytes()? as f64 / MIB;
    guard.stop_at_once()?;
    nginx.stop()?;
    Ok([syns as f64, cpu, most])
}

/// Milliseconds from the first SYN to the first cookie.
fn first_cookie() -> Result<f64> {
    let lab = Lab::new()?;
    lab.separate_cores()?;
    let nginx = Nginx::start(&lab)?;
    let guard = Guard::start(&lab, &["--mode", "auto"])?;
    let state = ServiceState::of(&lab.guard_pins().join("SERVICE_STATE"))?;
    let flood = Flood::new(nginx.ipv4()).rate(RATE).start(&lab)?;
    while !state.protects()? {
        ensure!(flood.elapsed() < PATIENCE, "no cookie within 5 s");
        std::thread::sleep(GLANCE);
    }
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)?;
    let began = flood.began_ns()?;
    flood.stop()?;
    guard.stop_at_once()?;
    nginx.stop()?;
    let took = Duration::from(now).checked_sub(Duration::from_nanos(began));
    Ok(took.context("it protected before")?.as_secs_f64() * 1e3)
}

/// What the programs say of the first service.
struct ServiceState(Array<MapData, [u64; 8]>);

impl ServiceState {
    fn of(pin: &Path) -> Result<Self> {
        Ok(Self(Map::Array(MapData::from_pin(pin)?).try_into()?))
    }

    /// Whether it protects: the next SYN gets a cookie. Word 4 of `ServiceState` begins with the
    /// state.
    fn protects(&self) -> Result<bool> {
        Ok(self.0.get(&0, 0)?[4] as u32 == 2)
    }
}
