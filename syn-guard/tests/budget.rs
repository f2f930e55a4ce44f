//! What a packet costs the programs, against what it may.

use xtask::bench::{alone, budget::Line};
use xtask::lab::Lab;

const ROUNDS: usize = 11;
/// How much more than it may cost a line must cost to fail: by a fixed piece of work measured beside
/// it, so that a slow machine is not taken for a slow program.
const TOO_MUCH: f64 = 1.5;
/// What the difference of two means may be off by, nanoseconds.
const UNSURE_NS: f64 = 4.0;
/// A program that has become slower is so every time.
const TRIES: usize = 3;

#[test]
fn every_kind_of_packet_costs_what_it_may() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let mut over = Line::ALL.to_vec();
    for _ in 0..TRIES {
        let report = alone::measure(&lab, ROUNDS).unwrap();
        println!("verified instructions: {:?}", report.verified);
        for row in &report.rows {
            println!("{}", row.text());
            let most = row.line.guarded_ns() * row.slowness() * TOO_MUCH + UNSURE_NS;
            if row.above.median <= most {
                over.retain(|line| *line != row.line);
            }
        }
        if over.is_empty() {
            return;
        }
    }
    panic!("these cost too much: {over:?}");
}
