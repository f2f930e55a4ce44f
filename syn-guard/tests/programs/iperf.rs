//! iperf3: bulk data through a guard, and how much of it.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

use std::net::IpAddr;

use xtask::lab::{Direction, Guard, Iperf, Lab};

use crate::compare::{FAMILIES, Tally, Watch};

const PORT: u16 = 5201;
const DIRECTIONS: [Direction; 2] = [Direction::Up, Direction::Down];
/// Rounds, of which one is to be good: the machine may have other things to do.
const ROUNDS: usize = 5;
/// Share of the throughput that there is with a program that passes all.
const OF_PASSING: f64 = 0.6;
/// Share of the throughput without any program. With one, veth copies what is
/// longer than a page.
const OF_NOTHING: f64 = 0.3;

/// Throughput one way in a round, Gbit/s.
#[derive(Clone, Copy, Debug)]
struct Round {
    nothing: f64,
    passing: f64,
    guarded: f64,
}

impl Round {
    fn is_good(&self) -> bool {
        self.guarded >= OF_PASSING * self.passing && self.guarded >= OF_NOTHING * self.nothing
    }
}

/// One direction through the guard, Gbit/s.
fn guarded(lab: &Lab, iperf: &Iperf, guard: &Guard, to: IpAddr, direction: Direction) -> [f64; 2] {
    let watch = Watch::begin(lab, guard, PORT);
    let found = iperf.measure(lab, to, direction, 1).unwrap();
    let tried = direction.connections();
    watch.end(
        &format!("iperf3 to {to}, {direction:?}"),
        Tally { tried, failed: 0 },
    );
    [found.up, found.down]
}

#[test]
fn iperf3_is_not_slowed_down() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let iperf = Iperf::start(&lab, PORT).unwrap();
    let unguarded = || {
        FAMILIES.map(|(_, to)| {
            DIRECTIONS.map(|direction| {
                let found = iperf.measure(&lab, to, direction, 1).unwrap();
                found.up + found.down
            })
        })
    };
    let mut rounds: [[Vec<Round>; 2]; 2] = Default::default();
    for _ in 0..ROUNDS {
        let nothing = unguarded();
        let passing = lab.attach_passing().unwrap();
        let passed = unguarded();
        drop(passing);
        let guard = Guard::start(&lab, &["--mode", "protect"]).unwrap();
        for (family, (_, to)) in FAMILIES.into_iter().enumerate() {
            for (way, direction) in DIRECTIONS.into_iter().enumerate() {
                let [up, down] = guarded(&lab, &iperf, &guard, to, direction);
                rounds[family][way].push(Round {
                    nothing: nothing[family][way],
                    passing: passed[family][way],
                    guarded: up + down,
                });
            }
            let both = guarded(&lab, &iperf, &guard, to, Direction::Both);
            assert!(both.iter().all(|&found| found > 0.05), "{both:?}");
        }
        assert!(guard.stop_at_once().unwrap().success());
        if all_good(&rounds) {
            break;
        }
    }
    for ((family, _), ways) in FAMILIES.into_iter().zip(&rounds) {
        for (direction, rounds) in DIRECTIONS.into_iter().zip(ways) {
            println!("iperf3 over {family}, {direction:?}, Gbit/s: {rounds:.1?}");
        }
    }
    assert!(all_good(&rounds), "{rounds:.1?}");
}

/// Each way over each family had its good round.
fn all_good(rounds: &[[Vec<Round>; 2]; 2]) -> bool {
    rounds
        .iter()
        .flatten()
        .all(|rounds| rounds.iter().any(Round::is_good))
}
