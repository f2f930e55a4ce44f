//! iperf3: bulk data through a guard. How fast it goes, `cargo xtask bench --check` compares.

use xtask::lab::{Direction, Guard, Iperf, Lab};

use crate::compare::{FAMILIES, Tally, Watch};

const PORT: u16 = 5201;
const DIRECTIONS: [Direction; 3] = [Direction::Up, Direction::Down, Direction::Both];
/// Bytes each way.
const BYTES: u64 = 128 << 20;
/// Bytes that whoever sends does not wait for at the end: they are in sockets then.
const UNDER_WAY: u64 = 16 << 20;

#[test]
fn iperf3_gets_its_bytes_through() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let iperf = Iperf::start(&lab, PORT).unwrap();
    let guard = Guard::start(&lab, &["--mode", "protect"]).unwrap();
    for (family, to) in FAMILIES {
        for direction in DIRECTIONS {
            let watch = Watch::begin(&lab, &guard, PORT);
            let received = iperf.carry(&lab, to, direction, BYTES).unwrap();
            let what = format!("iperf3 over {family}, {direction:?}");
            println!("{what}: {received:?} bytes received");
            let [up, down] = received;
            // Both ways end as soon as one has its bytes.
            assert!(up.max(down) + UNDER_WAY >= BYTES, "{what}: {received:?}");
            assert!(up > 0 || direction == Direction::Down, "{what}");
            assert!(down > 0 || direction == Direction::Up, "{what}");
            let tried = direction.connections();
            watch.end_under_way(&what, Tally { tried, failed: 0 });
        }
    }
    assert!(guard.stop_at_once().unwrap().success());
}
