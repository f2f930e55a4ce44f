//! How many honest connections get in, and how soon, at which rate of a flood.

use std::time::Duration;

use anyhow::Result;

use super::{budget::Goal, defence::Defence, stats::Spread};
use crate::lab::{Flood, HonestClients, Lab, Nginx};

/// Honest connections a second.
const HONEST_RATE: u32 = 100;
/// How long an honest client waits.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How long the flood runs before honest clients come.
const BEFORE: Duration = Duration::from_millis(500);
/// These are compared at [`Goal::RATE`], and get twice as many rounds there: times of the slowest
/// vary a lot.
const COMPARED: [Defence; 2] = [Defence::SynGuard, Defence::Bounce];

/// What honest clients got of a defence at a rate.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Point {
    /// Forged SYNs a second that were asked for.
    pub rate: u64,
    /// What came of each round; rounds of the same index ran one after the other.
    pub rounds: Vec<Round>,
}

/// A defence's points.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Curve {
    /// The defence.
    pub defence: Defence,
    /// By rate.
    pub points: Vec<Point>,
}

/// A round of some seconds.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub struct Round {
    /// Forged SYNs a second that came.
    pub came: f64,
    /// Share of honest connections that got their page, percent.
    pub honest: f64,
    /// Median time from SYN to page of these, milliseconds.
    pub p50: f64,
    /// 99th percentile of it.
    pub p99: f64,
    /// Answers a second to forged SYNs.
    pub answered: f64,
}

impl Point {
    /// The spread of a number over the rounds.
    #[must_use]
    pub fn spread(&self, of: fn(&Round) -> f64) -> Option<Spread> {
        Spread::of(self.rounds.iter().map(of).collect())
    }

    /// Whether in the middle round at least half of the honest connections got in.
    #[must_use]
    pub fn is_of_use(&self) -> bool {
        self.spread(|round| round.honest)
            .is_some_and(|honest| honest.median >= 50.0)
    }

    /// The same of the rounds in which an honest connection got in: the others have no times.
    #[must_use]
    pub fn times(&self, of: fn(&Round) -> f64) -> Option<Spread> {
        let with_times = self.rounds.iter().filter(|round| round.honest > 0.0);
        Spread::of(with_times.map(of).collect())
    }
}

/// A defence against the floor at one rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Honest connections that got in, percent: the defence's.
    pub honest: Spread,
    /// The floor's.
    pub floor_honest: Spread,
    /// 99th percentile of their time, milliseconds: the defence's.
    pub p99: Spread,
    /// The floor's.
    pub floor_p99: Spread,
    /// The defence's by the floor's of the same round.
    pub ratio: Spread,
}

/// Compares a defence with the floor; none where either was not measured at that rate.
#[must_use]
pub fn compare(curves: &[Curve], defence: Defence, rate: u64) -> Option<Comparison> {
    let point = |defence| {
        let curve = curves.iter().find(|curve| curve.defence == defence)?;
        curve.points.iter().find(|point| point.rate == rate)
    };
    let (measured, floor) = (point(defence)?, point(Defence::Bounce)?);
    let pairs = measured.rounds.iter().zip(&floor.rounds);
    Some(Comparison {
        honest: measured.spread(|round| round.honest)?,
        floor_honest: floor.spread(|round| round.honest)?,
        p99: measured.times(|round| round.p99)?,
        floor_p99: floor.times(|round| round.p99)?,
        // A round in which nobody got in has no times.
        ratio: Spread::of(
            pairs
                .filter(|(one, floor)| one.honest > 0.0 && floor.honest > 0.0)
                .map(|(one, floor)| one.p99 / floor.p99)
                .collect(),
        )?,
    })
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
    let point = |rate: &u64| Point {
        rate: *rate,
        rounds: Vec::new(),
    };
    let curve = |defence: &Defence| Curve {
        defence: *defence,
        points: rates.iter().map(point).collect(),
    };
    let mut curves: Vec<_> = defences.iter().map(curve).collect();
    for _ in 0..rounds {
        for index in 0..rates.len() {
            // What is compared runs within a minute.
            for curve in &mut curves {
                let point = &mut curve.points[index];
                point
                    .rounds
                    .push(round(curve.defence, point.rate, seconds)?);
            }
        }
    }
    for _ in 0..rounds {
        for curve in &mut curves {
            let compared = COMPARED.contains(&curve.defence);
            let points = curve.points.iter_mut();
            for point in points.filter(|point| compared && point.rate == Goal::RATE) {
                point
                    .rounds
                    .push(round(curve.defence, point.rate, seconds)?);
            }
        }
    }
    Ok(curves)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(defence: Defence, rounds: &[(f64, f64)]) -> Curve {
        let round = |(honest, p99): &(f64, f64)| Round {
            came: 1e6,
            honest: *honest,
            p50: 1.0,
            p99: *p99,
            answered: 9e5,
        };
        Curve {
            defence,
            points: vec![Point {
                rate: 1_000_000,
                rounds: rounds.iter().map(round).collect(),
            }],
        }
    }

    #[test]
    fn rounds_are_compared_with_the_floor_of_their_own() {
        let curves = [
            curve(
                Defence::SynGuard,
                &[(100.0, 12.0), (99.0, 30.0), (100.0, 11.0)],
            ),
            curve(
                Defence::Bounce,
                &[(100.0, 10.0), (100.0, 30.0), (98.0, 10.0)],
            ),
        ];
        let compared = compare(&curves, Defence::SynGuard, 1_000_000).unwrap();
        assert_eq!(
            (compared.honest.median, compared.honest.least),
            (100.0, 99.0)
        );
        let ratio = compared.ratio;
        assert_eq!((ratio.least, ratio.median, ratio.most), (1.0, 1.1, 1.2));
        assert_eq!(compare(&curves, Defence::SynGuard, 300_000), None);
        assert_eq!(compare(&curves[..1], Defence::SynGuard, 1_000_000), None);
    }
}
