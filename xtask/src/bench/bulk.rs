//! How much of the throughput of bulk data (iperf3) a guard leaves, both engines.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};

use super::stats::Spread;
use crate::lab::{Direction, Guard, Iperf, Lab, SERVER_IPV4, SERVER_IPV6};

const PORT: u16 = 5201;
/// Seconds of a measurement.
const SECONDS: u32 = 1;
/// What is measured: where to, and which way.
const WAYS: [(IpAddr, Direction); 4] = [
    (IpAddr::V4(SERVER_IPV4), Direction::Up),
    (IpAddr::V4(SERVER_IPV4), Direction::Down),
    (IpAddr::V6(SERVER_IPV6), Direction::Up),
    (IpAddr::V6(SERVER_IPV6), Direction::Down),
];
/// Engines of the guard, and what it is started with.
const ENGINES: [(&str, &[&str]); 2] = [
    ("auto", &["--mode", "protect"]),
    ("kernel", &["--mode", "protect", "--engine", "kernel"]),
];

/// Throughput through a guard.
#[derive(Clone, Copy, Debug)]
pub struct Bulk {
    /// The guard's `--engine`.
    pub engine: &'static str,
    /// Whether over IPv6.
    pub ipv6: bool,
    /// Which way the data goes.
    pub direction: Direction,
    /// Share of what goes without any program, round by round, percent. With one, veth copies what
    /// is longer than a page.
    pub of_nothing: Spread,
    /// The same of what goes with a program that passes everything.
    pub of_passing: Spread,
}

/// Measures all ways through each engine in interleaved rounds.
///
/// # Errors
/// The lab, iperf3 or the guard fails.
pub fn measure(lab: &Lab, rounds: usize) -> Result<Vec<Bulk>> {
    let iperf = Iperf::start(lab, PORT)?;
    let mut shares = [const { [const { (Vec::new(), Vec::new()) }; WAYS.len()] }; ENGINES.len()];
    for _ in 0..rounds {
        let nothing = all_ways(lab, &iperf)?;
        let program = lab.attach_passing()?;
        let passing = all_ways(lab, &iperf)?;
        drop(program);
        for ((_, arguments), shares) in ENGINES.into_iter().zip(&mut shares) {
            let guard = Guard::start(lab, arguments)?;
            let guarded = all_ways(lab, &iperf)?;
            let status = guard.stop_at_once()?;
            ensure!(status.success(), "the guard ended with {status}");
            for (way, (of_nothing, of_passing)) in shares.iter_mut().enumerate() {
                of_nothing.push(guarded[way] / nothing[way] * 100.0);
                of_passing.push(guarded[way] / passing[way] * 100.0);
            }
        }
    }
    let mut all = Vec::new();
    for ((engine, _), shares) in ENGINES.into_iter().zip(shares) {
        for ((to, direction), (of_nothing, of_passing)) in WAYS.into_iter().zip(shares) {
            all.push(Bulk {
                engine,
                ipv6: to.is_ipv6(),
                direction,
                of_nothing: Spread::of(of_nothing).context("no round")?,
                of_passing: Spread::of(of_passing).context("no round")?,
            });
        }
    }
    Ok(all)
}

/// Gbit/s each way.
fn all_ways(lab: &Lab, iperf: &Iperf) -> Result<[f64; WAYS.len()]> {
    let mut rates = [0.0; WAYS.len()];
    for ((to, direction), rate) in WAYS.into_iter().zip(&mut rates) {
        let found = iperf.measure(lab, to, direction, SECONDS)?;
        *rate = found.up + found.down;
    }
    Ok(rates)
}
