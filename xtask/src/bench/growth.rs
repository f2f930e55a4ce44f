//! How cost grows with what there is to look at: services, sources of a flood, prefixes in the lists.
//! The programs alone, as in [`super::alone`].

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
};

use anyhow::{Context as _, Result, ensure};
use syn_guard_common::abi::MAX_SERVICES;

use super::{alone::data, stats::Spread};
use crate::lab::{Alone, Flood, Frames, Guard, Lab, Part, Program, Programs, SERVER_IPV4};

/// Runs in one go: some milliseconds.
const RUNS: u32 = 20_000;
/// Runs before them: what a flood does to a guard only when it begins is over.
const BEFORE: u32 = 200_000;
/// Measurements of a guard, of which the median is one of a round.
const MEASUREMENTS: usize = 7;
/// The first service's port.
const PORT: u16 = 10_000;

const SERVICES: [u32; 5] = [1, 10, 100, 1_000, 10_000];
const SOURCES: [u32; 8] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];
const PREFIXES: [u32; 5] = [0, 100, 1_000, 10_000, 100_000];

/// What a packet costs where there are so many, nanoseconds above the floor.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub struct Step {
    /// So many services, sources or prefixes.
    pub count: u32,
    /// A forged SYN that is answered with a cookie (of few sources: is over its limit), above
    /// `bounce`.
    pub cookie: Spread,
    /// Data of an established connection while its service protects, at XDP, above `pass`.
    pub established: Spread,
    /// A SYN to a service that observes, past what is tracked, above `pass`.
    pub observed: Spread,
}

/// Cost by number.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Growth {
    /// Of services; the flood goes to all of them.
    pub services: Vec<Step>,
    /// Of the flood's sources.
    pub sources: Vec<Step>,
    /// Of denied prefixes, none of which the flood comes from.
    pub prefixes: Vec<Step>,
}

/// What one guard showed.
#[derive(Clone, Copy)]
struct Costs {
    cookie: f64,
    established: f64,
    observed: f64,
}

/// Measures all in so many interleaved rounds.
///
/// # Errors
/// The lab or the guard fails.
pub fn measure(lab: &Lab, rounds: usize) -> Result<Growth> {
    let services = service_counts(MAX_SERVICES);
    let most = services.iter().max().copied().unwrap_or(1);
    allow_open_files(u64::from(most) + 1024)?;
    let address = SocketAddr::new(SERVER_IPV4.into(), PORT);
    let one = Flood::new(address);

    let mut by_service = vec![Vec::new(); services.len()];
    let mut by_source = vec![Vec::new(); SOURCES.len()];
    let mut by_prefix = vec![Vec::new(); PREFIXES.len()];
    for _ in 0..rounds {
        for (count, costs) in services.iter().zip(&mut by_service) {
            let _listeners = listeners(lab, *count)?;
            let flood = one.clone().ports(u16::try_from(*count)?);
            let rig = Rig::start(lab, *count, &[])?;
            costs.push(rig.measure(&[flood])?[0]);
            rig.stop()?;
        }
        let _listener = listeners(lab, 1)?;
        let rig = Rig::start(lab, 1, &[])?;
        let floods = SOURCES.map(|count| one.clone().sources([10, 0, 0, 0].into(), count));
        for (cost, costs) in rig.measure(&floods)?.into_iter().zip(&mut by_source) {
            costs.push(cost);
        }
        rig.stop()?;
        for (count, costs) in PREFIXES.iter().zip(&mut by_prefix) {
            let file = lab.path("denied");
            std::fs::write(&file, prefixes(*count)).context("writing a list")?;
            let setting = format!("lists.deny_files={}", file.display());
            let rig = Rig::start(lab, 1, &["--set", &setting])?;
            costs.push(rig.measure(std::slice::from_ref(&one))?[0]);
            rig.stop()?;
        }
    }
    Ok(Growth {
        services: steps(&services, &by_service)?,
        sources: steps(&SOURCES, &by_source)?,
        prefixes: steps(&PREFIXES, &by_prefix)?,
    })
}

/// As many services as are asked for, but no more than a guard takes.
fn service_counts(most: u32) -> Vec<u32> {
    let mut counts: Vec<u32> = SERVICES.iter().map(|count| *count.min(&most)).collect();
    counts.dedup();
    counts
}

fn steps(counts: &[u32], costs: &[Vec<Costs>]) -> Result<Vec<Step>> {
    let step = |(count, costs): (&u32, &Vec<Costs>)| {
        let spread = |of: fn(&Costs) -> f64| Spread::of(costs.iter().map(of).collect());
        Some(Step {
            count: *count,
            cookie: spread(|costs| costs.cookie)?,
            established: spread(|costs| costs.established)?,
            observed: spread(|costs| costs.observed)?,
        })
    };
    let steps = counts.iter().zip(costs).map(step);
    steps.collect::<Option<_>>().context("no round")
}

/// So many different /24 of 32.0.0.0/6, a line each, in no order.
fn prefixes(count: u32) -> String {
    let mut text = String::new();
    for index in 0..count {
        // Odd, so no two indices give the same.
        let scattered = index.wrapping_mul(2_654_435_761) & 0x3_ffff;
        let prefix = (32 << 24) | (scattered << 8);
        // A string takes whatever is written to it.
        let _ = writeln!(text, "{}/24", Ipv4Addr::from_bits(prefix));
    }
    text
}

/// A socket for each service, where nobody accepts.
fn listeners(lab: &Lab, count: u32) -> Result<Vec<TcpListener>> {
    let ports = (PORT..).take(count as usize);
    lab.server()
        .run(|| {
            ports
                .map(|port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))
                .collect::<std::io::Result<_>>()
        })?
        .context("listening on the ports of all services")
}

/// This process may have so many files open.
fn allow_open_files(count: u64) -> Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls get a whole structure.
    let result = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_cur.max(count);
        limit.rlim_max = limit.rlim_max.max(count);
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit)
    };
    ensure!(
        result == 0,
        "opening {count} files: {}",
        std::io::Error::last_os_error()
    );
    Ok(())
}

/// A guard and a connection to its first service.
struct Rig<'a> {
    lab: &'a Lab,
    guard: Guard,
    programs: Programs,
    connection: TcpStream,
}

impl<'a> Rig<'a> {
    fn start(lab: &'a Lab, services: u32, arguments: &[&str]) -> Result<Self> {
        let ports: Vec<String> = (PORT..)
            .take(services as usize)
            .map(|port| port.to_string())
            .collect();
        let ports = ports.join(",");
        let mut all = vec!["--ports", &ports, "--mode", "protect"];
        all.extend(arguments);
        let guard = Guard::start(lab, &all)?;
        let programs = guard.programs()?;
        let connection = lab
            .client()
            .run(|| TcpStream::connect((SERVER_IPV4, PORT)))?
            .context("connecting to a service")?;
        Ok(Self {
            lab,
            guard,
            programs,
            connection,
        })
    }

    fn stop(self) -> Result<()> {
        let status = self.guard.stop_at_once()?;
        ensure!(status.success(), "the guard ended with {status}");
        Ok(())
    }

    /// What packets cost, for each flood.
    fn measure(&self, floods: &[Flood]) -> Result<Vec<Costs>> {
        let remote = self.connection.local_addr()?;
        let local = self.connection.peer_addr()?;
        let data = Frames::Same(data(remote, local)?);
        let frames = |flood: &Flood| Frames::Flood(flood.clone());
        let mut protecting = Vec::new();
        for flood in floods {
            let cookie = self.above(&frames(flood), Program::Bounce)?;
            protecting.push((cookie, self.above(&data, Program::Pass)?));
        }
        // Last: flows that the stack has seen are looked up when they come again.
        let set = ["set", "detection.mode", "observe"];
        self.lab.syn_guard_output(&set)?;
        let mut costs = Vec::new();
        for (flood, (cookie, established)) in floods.iter().zip(protecting) {
            costs.push(Costs {
                cookie,
                established,
                observed: self.above(&frames(flood), Program::Pass)?,
            });
        }
        Ok(costs)
    }

    /// The median of some measurements, nanoseconds above the floor.
    fn above(&self, frames: &Frames, floor: Program<'_>) -> Result<f64> {
        let mut alone = Alone::new(Part::Xdp, frames)?;
        let guard = || Program::Guard(&self.programs.xdp);
        alone.run(self.lab, guard(), BEFORE)?;
        let mut above = Vec::new();
        for _ in 0..MEASUREMENTS {
            let floor = alone.run(self.lab, floor, RUNS)?.time;
            let cost = alone.run(self.lab, guard(), RUNS)?.time;
            above.push((cost.as_secs_f64() - floor.as_secs_f64()) * 1e9);
        }
        Ok(Spread::of(above).context("no measurement")?.median)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_more_services_than_a_guard_takes() {
        assert_eq!(service_counts(256), [1, 10, 100, 256]);
        assert_eq!(service_counts(1_000), [1, 10, 100, 1_000]);
        assert_eq!(service_counts(16_384), SERVICES);
    }

    #[test]
    fn no_prefix_is_listed_twice_or_of_the_lab() {
        let text = prefixes(100_000);
        let different: BTreeSet<&str> = text.lines().collect();
        assert_eq!(different.len(), 100_000);
        for line in different {
            let first: u8 = line.split('.').next().unwrap().parse().unwrap();
            assert!((32..36).contains(&first), "{line}");
        }
    }
}
