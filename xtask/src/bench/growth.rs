//! How cost grows with what there is to look at: services, sources of a flood, prefixes in the lists.
//! The programs alone, as in [`super::alone`].

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddr, TcpStream},
};

use anyhow::{Context as _, Result, ensure};

use super::{alone::data, stats::Spread};
use crate::lab::{
    Alone, FIRST_PORT, Flood, Frames, Guard, Lab, Listeners, Part, Program, Programs, SERVER_IPV4,
};

/// Runs in one go: some milliseconds.
const RUNS: u32 = 20_000;
/// Runs before them: what a flood does to a guard only when it begins is over.
const BEFORE: u32 = 200_000;
/// Measurements of a guard, of which the median is one of a round.
const MEASUREMENTS: usize = 7;
const SERVICES: [u16; 5] = [1, 10, 100, 1_000, 10_000];
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
    let address = SocketAddr::new(SERVER_IPV4.into(), FIRST_PORT);
    let one = Flood::new(address);

    let mut by_service = vec![Vec::new(); SERVICES.len()];
    let mut by_source = vec![Vec::new(); SOURCES.len()];
    let mut by_prefix = vec![Vec::new(); PREFIXES.len()];
    for _ in 0..rounds {
        for (count, costs) in SERVICES.into_iter().zip(&mut by_service) {
            let _listeners = Listeners::open(lab, count)?;
            let flood = one.clone().ports(count);
            let rig = Rig::start(lab, count, &[])?;
            costs.push(rig.measure(&[flood])?[0]);
            rig.stop()?;
        }
        let _listener = Listeners::open(lab, 1)?;
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
        services: steps(&SERVICES.map(u32::from), &by_service)?,
        sources: steps(&SOURCES, &by_source)?,
        prefixes: steps(&PREFIXES, &by_prefix)?,
    })
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
pub(super) fn prefixes(count: u32) -> String {
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

/// A guard and a connection to its first service.
struct Rig<'a> {
    lab: &'a Lab,
    guard: Guard,
    programs: Programs,
    connection: TcpStream,
}

impl<'a> Rig<'a> {
    fn start(lab: &'a Lab, services: u16, arguments: &[&str]) -> Result<Self> {
        let ports: Vec<String> = (FIRST_PORT..)
            .take(services.into())
            .map(|port| port.to_string())
            .collect();
        let ports = ports.join(",");
        let mut all = vec!["--ports", &ports, "--mode", "protect"];
        all.extend(arguments);
        let guard = Guard::start(lab, &all)?;
        let programs = guard.programs()?;
        let connection = lab
            .client()
            .run(|| TcpStream::connect((SERVER_IPV4, FIRST_PORT)))?
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
