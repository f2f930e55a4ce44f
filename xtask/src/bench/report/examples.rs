//! Numbers that nobody measured, for tests.

use super::Report;
use crate::bench::{
    FlatOut, Row, Spread,
    budget::{Goal, Line},
    controller::{self, Controller, ManySources},
    defence::Defence,
    growth::{Growth, Step},
    rates::{Curve, Point, Round},
    size::Program,
};

fn spread(least: f64, median: f64, most: f64) -> Spread {
    Spread {
        least,
        median,
        most,
    }
}

fn row(line: Line, floor: f64, above: Spread, touch: Option<Spread>) -> Row {
    Row {
        line,
        floor: spread(floor, floor, floor),
        above,
        touch,
        yardstick: None,
    }
}

fn curve(defence: Defence, rounds: [(f64, f64); 3]) -> Curve {
    let point = |rate| Point {
        rate,
        rounds: rounds
            .map(|(honest, p99)| Round {
                came: rate as f64,
                honest,
                p50: 2.0,
                p99,
                answered: rate as f64 * 0.9,
            })
            .into(),
    };
    Curve {
        defence,
        points: [100_000, Goal::RATE].map(point).into(),
    }
}

fn point(services: u16) -> controller::Point {
    controller::Point {
        services,
        start_ms: spread(700.0, 800.0, 900.0),
        idle: spread(0.4, 0.5, 0.7),
        one: spread(1.0, 1.2, 1.3),
        all: spread(2.0, 3.2, 3.3),
        resident: spread(15.0, 15.1, 15.2),
        most_resident: spread(34.0, 34.7, 34.8),
        maps: spread(35.0, 35.5, 36.0),
    }
}

/// A bit of everything.
pub(in crate::bench) fn report() -> Report {
    let step = |count| Step {
        count,
        cookie: spread(70.0, 75.0, 80.0),
        established: spread(18.0, 20.0, 21.0),
        observed: spread(30.0, 32.0, 34.0),
    };
    Report {
        machine: "Linux 6.18, 2 cores".to_owned(),
        command: "cargo xtask bench".to_owned(),
        path: Some(vec![
            row(
                Line::NotTcp,
                44.0,
                spread(90.0, 95.0, 99.0),
                Some(spread(80.0, 85.0, 90.0)),
            ),
            row(Line::CookieIpv4, 46.0, spread(90.0, 95.0, 99.0), None),
        ]),
        alone: Some(vec![row(
            Line::CookieIpv4,
            15.0,
            spread(77.4, 78.4, 79.4),
            None,
        )]),
        flat_out: Some(FlatOut {
            cookies: spread(1.9e6, 2e6, 2.1e6),
            floor: spread(2.1e6, 2.2e6, 2.3e6),
            share: spread(90.0, 90.9, 92.0),
        }),
        rates: Some(vec![
            curve(
                Defence::SynGuard,
                [(99.7, 12.0), (100.0, 15.0), (99.0, 20.0)],
            ),
            curve(
                Defence::Bounce,
                [(100.0, 12.0), (98.0, 10.0), (100.0, 10.0)],
            ),
        ]),
        left_out: Vec::new(),
        growth: Some(Growth {
            services: [1, 10, 256].map(step).into(),
            sources: [1, 10_000_000].map(step).into(),
            prefixes: [0, 100_000].map(step).into(),
        }),
        size: Some(vec![Program {
            name: "syn_guard".to_owned(),
            verified: 224_000,
            instructions: 4_000,
            machine_code: 20_000,
            stack: Some(504),
            load: spread(300.0, 310.0, 320.0),
        }]),
        controller: Some(Controller {
            services: [1, 1_000].map(point).into(),
            sources: vec![ManySources {
                protects: true,
                syns: spread(3e7, 4e7, 5e7),
                cpu: spread(0.9, 1.0, 1.1),
                most_resident: spread(33.0, 33.5, 34.0),
            }],
            first_cookie_ms: spread(1.5, 1.7, 3.2),
        }),
    }
}
