//! How many honest connections get in, and how soon, at which rate of a flood.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{defence::Defence, stats::Spread};
use crate::lab::{Flood, HonestClients, Lab, Nginx};

/// Honest connections a second.
const HONEST_RATE: u32 = 100;
/// How long an honest client waits.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How long the flood runs before honest clients come.
const BEFORE: Duration = Duration::from_secs(1);

/// What honest clients got of a defence at a rate.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Point {
    /// Forged SYNs a second that were asked for; none: as many as come.
    pub rate: u64,
    /// Those that came.
    pub came: Spread,
    /// Share of honest connections that got their page, percent.
    pub honest: Spread,
    /// Median time from SYN to page, milliseconds.
    pub p50: Spread,
    /// 99th percentile of it.
    pub p99: Spread,
    /// Answers a second to forged SYNs.
    pub answered: Spread,
}

/// A defence's points.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Curve {
    /// The defence.
    pub defence: Defence,
    /// By rate.
    pub points: Vec<Point>,
}

#[derive(Clone, Copy, Debug)]
struct Round {
    came: f64,
    honest: f64,
    p50: f64,
    p99: f64,
    answered: f64,
}

/// Measures these defences at these rates, in interleaved rounds of some seconds each.
///
/// # Errors
/// The lab or a defence fails.
pub fn measure(
    defences: &[Defence],
    rates: &[u64],
    rounds: usize,
    seconds: Duration,
) -> Result<Vec<Curve>> {
    let mut all = vec![vec![Vec::new(); rates.len()]; defences.len()];
    for _ in 0..rounds {
        for (defence, by_rate) in defences.iter().zip(&mut all) {
            for (rate, rounds) in rates.iter().zip(by_rate) {
                rounds.push(round(*defence, *rate, seconds)?);
            }
        }
    }
    let point = |(rate, rounds): (&u64, Vec<Round>)| {
        let spread = |get: fn(&Round) -> f64| Spread::of(rounds.iter().map(get).collect());
        Some(Point {
            rate: *rate,
            came: spread(|round| round.came)?,
            honest: spread(|round| round.honest)?,
            p50: spread(|round| round.p50)?,
            p99: spread(|round| round.p99)?,
            answered: spread(|round| round.answered)?,
        })
    };
    let curve = |(defence, by_rate): (&Defence, Vec<Vec<Round>>)| {
        let points = rates.iter().zip(by_rate).map(point);
        Ok(Curve {
            defence: *defence,
            points: points.collect::<Option<_>>().context("no round")?,
        })
    };
    defences.iter().zip(all).map(curve).collect()
}

/// A lab of its own: half-open connections outlive their listener, but not their namespace.
fn round(defence: Defence, rate: u64, seconds: Duration) -> Result<Round> {
    let lab = Lab::new()?;
    lab.separate_cores()?;
    let nginx = Nginx::start(&lab)?;
    let standing = defence.set_up(&lab)?;
    let target = nginx.ipv4();
    let flood = Flood::new(target)
        .rate(rate)
        .duration(BEFORE + seconds + TIMEOUT * 2)
        .start(&lab)?;
    std::thread::sleep(BEFORE);
    let (sent, answered) = (flood.sent()?, lab.answers_received()?);
    let clients = HonestClients {
        rate: HONEST_RATE,
        duration: seconds,
        timeout: TIMEOUT,
        target,
    }
    .start(&lab);
    std::thread::sleep(seconds);
    let sent = flood.sent()? - sent;
    let answered = lab.answers_received()? - answered;
    let report = clients.join()?;
    flood.stop()?;
    standing.take_away()?;
    nginx.stop()?;
    let second = seconds.as_secs_f64();
    Ok(Round {
        came: sent as f64 / second,
        honest: report.share() * 100.0,
        p50: report.p50.as_secs_f64() * 1e3,
        p99: report.p99.as_secs_f64() * 1e3,
        answered: answered as f64 / second,
    })
}
