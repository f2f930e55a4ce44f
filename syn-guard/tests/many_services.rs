//! A thousand services: all of them are guarded, within bounds of memory. What CPU
//! and time that takes, `cargo xtask bench --check` compares. Needs root; without it
//! the tests say so and pass, except where `CI=true`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

mod common;

use std::time::Duration;

use common::wait_until;
use nix::sys::signal::Signal;
use xtask::lab::{FIRST_PORT, Flood, Guard, Lab, Listeners, SERVER_IPV4};

const SERVICES: u16 = 1_000;
const MIB: u64 = 1 << 20;
/// Long enough for a second of the controller, on a machine that others keep busy too.
const SOON: Duration = Duration::from_secs(60);

/// Ports that are guarded.
fn guarded(guard: &Guard, lab: &Lab) -> Vec<u64> {
    let status = guard.status(lab).unwrap();
    let services = status["services"].as_array().unwrap().iter();
    services
        .map(|service| service["port"].as_u64().unwrap())
        .collect()
}

#[test]
fn a_thousand_services_are_guarded_within_bounds() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    lab.separate_cores().unwrap();
    let listeners = Listeners::open(&lab, SERVICES).unwrap();
    let guard = Guard::start(&lab, &["--mode", "auto"]).unwrap();
    let ports: Vec<u64> = (0..SERVICES).map(|i| u64::from(FIRST_PORT + i)).collect();
    assert_eq!(guarded(&guard, &lab), ports);
    let flood = Flood::new((SERVER_IPV4, FIRST_PORT).into())
        .rate(100_000)
        .ports(SERVICES)
        .duration(SOON)
        .start(&lab)
        .unwrap();
    wait_until("all of them protect", SOON, || {
        let status = guard.status(&lab).unwrap();
        let mut services = status["services"].as_array().unwrap().iter();
        services.all(|service| service["state"] == "protecting")
    });
    flood.stop().unwrap();
    let (maps, resident) = (
        guard.map_bytes().unwrap(),
        guard.most_resident_bytes().unwrap(),
    );
    assert!(maps < 64 * MIB, "{maps} bytes of maps");
    assert!(resident < 40 * MIB, "{resident} bytes resident");
    println!("maps {maps}, resident {resident}");
    drop(listeners);
    wait_until("none is guarded any more", SOON, || {
        guarded(&guard, &lab).is_empty()
    });
    assert!(guard.stop(Signal::SIGTERM).unwrap().success());
}

#[test]
fn the_next_guard_makes_room_for_more_services() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    // Room for 1,024 at least.
    let few = Listeners::open(&lab, 1).unwrap();
    let first = Guard::start(&lab, &["--mode", "observe"]).unwrap();
    drop(few);
    let many = Listeners::open(&lab, 1_030).unwrap();
    wait_until("it says for how many there is no room", SOON, || {
        first
            .log()
            .unwrap()
            .contains("6 services are not guarded, from port 21024 on: this guard began with room for 1024; restart it")
    });
    assert_eq!(guarded(&first, &lab).len(), 1_024);
    assert!(!first.stop(Signal::SIGKILL).unwrap().success());
    let second = Guard::start(&lab, &["--mode", "observe"]).unwrap();
    let log = second.log().unwrap();
    assert!(log.contains("room for fewer services"), "{log}");
    assert_eq!(guarded(&second, &lab).len(), many.count());
    assert!(!second.stop(Signal::SIGKILL).unwrap().success());
    // Room is not taken away: counters go on.
    drop(many);
    let few = Listeners::open(&lab, 3).unwrap();
    let third = Guard::start(&lab, &["--mode", "observe"]).unwrap();
    let log = third.log().unwrap();
    assert!(log.contains("going on with the counters"), "{log}");
    assert_eq!(guarded(&third, &lab).len(), few.count());
    assert!(third.stop(Signal::SIGTERM).unwrap().success());
}
