//! iperf3: bulk data through a guard, and how much of it.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

use std::net::IpAddr;

use xtask::lab::{Direction, Guard, Iperf, Lab};

use crate::compare::{FAMILIES, Tally, Watch};

const PORT: u16 = 5201;
const DIRECTIONS: [Direction; 2] = [Direction::Up, Direction::Down];
/// Rounds in which the machine may have something else to do.
const ROUNDS: usize = 4;
/// Share of the throughput that there is with a program that passes all.
const OF_PASSING: f64 = 0.7;
/// Share of the throughput without any program. With one, veth copies what is
/// longer than a page.
const OF_NOTHING: f64 = 0.3;

/// Best throughput each way so far, Gbit/s.
#[derive(Clone, Copy, Debug, Default)]
struct Best {
    nothing: [f64; 2],
    passing: [f64; 2],
    guarded: [f64; 2],
}

impl Best {
    fn is_enough(&self) -> bool {
        (0..2).all(|way| {
            self.guarded[way] >= OF_PASSING * self.passing[way]
                && self.guarded[way] >= OF_NOTHING * self.nothing[way]
        })
    }
}

fn keep(best: &mut [f64; 2], way: usize, found: f64) {
    best[way] = best[way].max(found);
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
    let unguarded = |to, best: &mut [f64; 2]| {
        for (way, direction) in DIRECTIONS.into_iter().enumerate() {
            let found = iperf.measure(&lab, to, direction, 1).unwrap();
            keep(best, way, found.up + found.down);
        }
    };
    for (family, to) in FAMILIES {
        let mut best = Best::default();
        for _ in 0..ROUNDS {
            unguarded(to, &mut best.nothing);
            let passing = lab.attach_passing().unwrap();
            unguarded(to, &mut best.passing);
            drop(passing);
            let guard = Guard::start(&lab, &["--mode", "protect"]).unwrap();
            for (way, direction) in DIRECTIONS.into_iter().enumerate() {
                let [up, down] = guarded(&lab, &iperf, &guard, to, direction);
                keep(&mut best.guarded, way, up + down);
            }
            let both = guarded(&lab, &iperf, &guard, to, Direction::Both);
            assert!(both.iter().all(|&found| found > 0.1), "{both:?}");
            assert!(guard.stop_at_once().unwrap().success());
            if best.is_enough() {
                break;
            }
        }
        println!("iperf3 over {family}, Gbit/s up and down: {best:.1?}");
        assert!(best.is_enough(), "{family}: {best:?}");
    }
}
