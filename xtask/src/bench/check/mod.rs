//! `cargo xtask bench --check`: what depends on how fast a machine is against its limits. Packets,
//! cookies, honest connections and throughput are compared with floors of the same run; what has no
//! floor (CPU, times) with a fixed piece of work that runs beside it.

mod outcome;

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use self::outcome::Outcome;
use super::{
    FlatOut, Row, Spread, alone,
    budget::Goal,
    bulk::{self, Bulk},
    controller::{self, GOALS, Point},
    defence::Defence,
    flat_out,
    lists::{self, Lists},
    rates::{self, Curve},
    say,
};
use crate::{build::Paths, digits::grouped, lab::Lab, setup::Need};

/// What has become slower is so every time.
const TRIES: usize = 3;
/// Rounds of what takes milliseconds.
const SHORT_ROUNDS: usize = 11;
/// Rounds of what takes seconds.
const ROUNDS: usize = 3;
/// Rounds of what takes half a minute.
const LONG_ROUNDS: usize = 1;
/// How long honest connections come.
const HONEST: Duration = Duration::from_secs(2);

/// Cookies a second flat out, percent of the floor's frames.
const FLAT_OUT: f64 = 40.0;
/// The 99th percentile of honest connections' time, by the floor's: it varies a lot.
const LATENCY: f64 = 4.0;
/// SYNs a second that come, percent of those that are asked for: with fewer the rest says little.
const CAME: f64 = 90.0;
/// CPU of the controller, by its goals.
const CPU: f64 = 3.0;
/// A guard's start with so many services, milliseconds.
const START: f64 = 5_000.0;
/// Seconds for a hundred thousand prefixes.
const PREFIXES: f64 = 1.0;
/// Throughput with a guard, percent of that with a program that passes all.
const OF_PASSING: f64 = 60.0;
/// The same of that without any program.
const OF_NOTHING: f64 = 20.0;

/// Sets up, builds, measures, and prints a line for each limit.
///
/// # Errors
/// Something is over its limit; or it is not root who runs this, something is missing or fails.
pub fn run(paths: &Paths) -> Result<()> {
    super::prepare(Need::Test, paths)?;
    let outcomes = measure()?;
    println!("\n{}", outcome::table(&outcomes));
    let past = outcomes.iter().filter(|it| it.past().is_some()).count();
    if past > 0 {
        bail!("{past} of {} are past their limits", outcomes.len());
    }
    println!("all {} are within their limits", outcomes.len());
    Ok(())
}

fn measure() -> Result<Vec<Outcome>> {
    let mut slowness = 1.0;
    let mut all = until_within("packets in the programs alone", || {
        let rows = alone::measure(&Lab::new()?, SHORT_ROUNDS)?.rows;
        slowness = slowness_of(&rows)?;
        Ok(packets(&rows))
    })?;
    all.extend(until_within("flat out", || {
        Ok(vec![most_cookies(&flat_out::measure(
            &Lab::new()?,
            ROUNDS,
        )?)])
    })?);
    all.extend(until_within("honest connections under a flood", || {
        let defences = [Defence::SynGuard, Defence::Bounce];
        honest(&rates::measure(&defences, &[Goal::RATE], ROUNDS, HONEST)?)
    })?);
    all.extend(until_within("the controller", || {
        let point = controller::measure_services(GOALS.services, LONG_ROUNDS)?;
        Ok(controllers(&point, slowness))
    })?);
    all.extend(until_within("prefixes", || {
        Ok(prefixes(&lists::measure(&Lab::new()?, ROUNDS)?, slowness))
    })?);
    all.extend(until_within("bulk data", || {
        let measured = bulk::measure(&Lab::new()?, ROUNDS)?;
        Ok(measured.iter().flat_map(throughput).collect())
    })?);
    Ok(all)
}

/// Measures again, a few times, while something is past its limit; the best of each counts.
fn until_within(
    what: &str,
    mut measure: impl FnMut() -> Result<Vec<Outcome>>,
) -> Result<Vec<Outcome>> {
    say(what);
    let mut best = measure()?;
    for _ in 1..TRIES {
        if best.iter().all(|outcome| outcome.past().is_none()) {
            break;
        }
        say(&format!("{what}, once more: something is past its limit"));
        let again = measure()?;
        ensure!(again.len() == best.len(), "not as many numbers as before");
        let both = best.into_iter().zip(again);
        best = both.map(|(before, now)| before.better(now)).collect();
    }
    Ok(best)
}

/// How many times as long as on a quiet machine of the budget's computing takes.
fn slowness_of(rows: &[Row]) -> Result<f64> {
    let all = Spread::of(rows.iter().map(Row::slowness).collect());
    Ok(all.context("no line was measured")?.median)
}

fn packets(rows: &[Row]) -> Vec<Outcome> {
    let outcome = |row: &Row| {
        Outcome::at_most(
            format!("{}, above the floor", row.line.name()),
            row.above.median,
            row.guarded_ns(),
            "ns",
        )
    };
    rows.iter().map(outcome).collect()
}

fn most_cookies(measured: &FlatOut) -> Outcome {
    let what = Goal::FlatOut.name();
    Outcome::at_least(what, measured.share.median, FLAT_OUT, "%")
}

fn honest(curves: &[Curve]) -> Result<Vec<Outcome>> {
    let compared = rates::compare(curves, Defence::SynGuard, Goal::RATE)
        .context("nothing to compare at that rate")?;
    let mut came = f64::INFINITY;
    for point in curves.iter().flat_map(|curve| &curve.points) {
        let spread = point.spread(|round| round.came).context("no round")?;
        came = came.min(spread.median / point.rate as f64 * 100.0);
    }
    Ok(vec![
        Outcome::at_least("SYNs that come, of those asked for", came, CAME, "%"),
        Outcome::at_least(
            Goal::Honest.name().trim_end_matches(", %"),
            compared.honest.median,
            Goal::Honest.limit(),
            "%",
        ),
        Outcome::at_most(
            Goal::Latency.name(),
            compared.ratio.median,
            LATENCY,
            "times",
        ),
    ])
}

fn controllers(point: &Point, slowness: f64) -> Vec<Outcome> {
    let cpu = |what: &str, measured: Spread, goal: f64| {
        let services = grouped(point.services.into());
        let what = format!("CPU of the controller, {services} services, {what}");
        Outcome::at_most(what, measured.median, goal * CPU * slowness, "%")
    };
    vec![
        cpu("idle", point.idle, GOALS.idle),
        cpu("a flood on one", point.one, GOALS.attacked),
        cpu("a flood on all", point.all, GOALS.attacked),
        Outcome::at_most(
            format!(
                "start of a guard, {} services",
                grouped(point.services.into())
            ),
            point.start_ms.median,
            START * slowness,
            "ms",
        ),
    ]
}

fn prefixes(measured: &Lists, slowness: f64) -> Vec<Outcome> {
    let most = PREFIXES * slowness;
    vec![
        Outcome::at_most(
            "100,000 prefixes, until they are in force",
            measured.in_force.median,
            most,
            "s",
        ),
        Outcome::at_most(
            "100,000 prefixes in a configuration, to check them",
            measured.checked.median,
            most,
            "s",
        ),
    ]
}

fn throughput(bulk: &Bulk) -> [Outcome; 2] {
    let family = if bulk.ipv6 { "IPv6" } else { "IPv4" };
    let what = format!(
        "iperf3 {:?}, {family}, --engine {}",
        bulk.direction, bulk.engine
    );
    [
        Outcome::at_least(
            format!("{what}, of a program that passes all"),
            bulk.of_passing.median,
            OF_PASSING,
            "%",
        ),
        Outcome::at_least(
            format!("{what}, of no program"),
            bulk.of_nothing.median,
            OF_NOTHING,
            "%",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::examples;

    fn past(outcomes: &[Outcome]) -> Vec<bool> {
        outcomes.iter().map(|it| it.past().is_some()).collect()
    }

    #[test]
    fn what_has_become_slower_is_past_its_limit() {
        let report = examples::report();
        let mut rows = report.alone.unwrap();
        assert_eq!(past(&packets(&rows)), [false]);
        rows[0].above.median = rows[0].guarded_ns() + 1.0;
        assert_eq!(past(&packets(&rows)), [true]);

        let mut flat = report.flat_out.unwrap();
        assert!(most_cookies(&flat).past().is_none());
        flat.share.median = FLAT_OUT - 1.0;
        assert!(most_cookies(&flat).past().is_some());

        let mut curves = report.rates.unwrap();
        assert_eq!(past(&honest(&curves).unwrap()), [false; 3]);
        for point in &mut curves[0].points {
            for round in &mut point.rounds {
                round.came /= 2.0;
                round.honest -= 5.0;
                round.p99 *= 10.0;
            }
        }
        assert_eq!(past(&honest(&curves).unwrap()), [true; 3]);

        let mut point = report.controller.unwrap().services[1];
        assert_eq!(past(&controllers(&point, 1.0)), [false; 4]);
        for spread in [
            &mut point.idle,
            &mut point.one,
            &mut point.all,
            &mut point.start_ms,
        ] {
            spread.median *= 8.0;
        }
        assert_eq!(past(&controllers(&point, 1.0)), [true; 4]);
        // A slow machine is not taken for a slow program.
        assert_eq!(past(&controllers(&point, 10.0)), [false; 4]);
    }

    #[test]
    fn what_is_past_its_limit_is_measured_again_and_the_best_counts() {
        let tried = |numbers: &[f64]| {
            let mut numbers = numbers.iter();
            let outcomes = until_within("a test", || {
                let number = numbers.next().copied().context("tried too often")?;
                Ok(vec![Outcome::at_most("it", number, 10.0, "ns")])
            });
            outcomes.unwrap()[0].number
        };
        assert_eq!(tried(&[9.0]), 9.0);
        assert_eq!(tried(&[12.0, 9.0]), 9.0);
        assert_eq!(tried(&[12.0, 13.0, 11.0]), 11.0);
    }
}
