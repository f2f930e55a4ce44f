//! The engine that the operator chooses: what it changes, when it changes it
//! back, and that a flood is answered with it. Needs root; without it the tests
//! say so and pass, except where `CI=true`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

mod common;

use std::time::Duration;

use common::{SOON, page, spoofed, validated, wait_until};
use nix::sys::signal::Signal;
use xtask::lab::{Flood, Guard, HandMade, HonestClients, Lab, Nginx, TcpOptions, fetch};

/// Until a flood is over for the guard: its hold time and the drain of cookies
/// that are out (30 s).
const RELEASE: Duration = Duration::from_secs(60);

/// `tcp_syncookies` and `tcp_timestamps` of the server.
fn settings(lab: &Lab) -> [String; 2] {
    ["net.ipv4.tcp_syncookies", "net.ipv4.tcp_timestamps"]
        .map(|name| lab.server().sysctl(name).unwrap())
}

#[test]
fn the_kernels_cookies_change_two_settings_while_a_service_protects() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    lab.separate_cores().unwrap();
    lab.server()
        .set_sysctl("net.ipv4.tcp_synack_retries", "0")
        .unwrap();
    let before = settings(&lab);
    assert_eq!(before, ["1", "1"]);
    let nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &["--engine", "kernel", "--hold", "1"]).unwrap();
    let status = guard.status(&lab).unwrap();
    assert_eq!(status["engine"], "kernel");
    let reason = status["engine_reason"].as_str().unwrap();
    assert!(reason.starts_with("--engine kernel; "), "{reason}");
    assert!(reason.contains("window scaling"), "what it costs: {reason}");
    assert_eq!(settings(&lab), before, "it observes");
    fetch(lab.client(), None, nginx.ipv4(), "/").unwrap();
    assert_eq!(validated(&guard, &lab), 0);

    for target in [nginx.ipv4(), nginx.ipv6()] {
        let flood = Flood::new(target)
            .rate(200_000)
            .duration(Duration::from_secs(8))
            .start(&lab)
            .unwrap();
        wait_until("it protects", SOON * 5, || {
            guard.service(&lab, 80).unwrap()["state"] == "protecting"
        });
        wait_until("the settings are made", SOON, || {
            settings(&lab) == ["2", "2"]
        });
        let honest = HonestClients {
            duration: Duration::from_secs(3),
            ..HonestClients::new(target)
        };
        let report = honest.run(&lab).unwrap();
        flood.stop().unwrap();
        println!("{target}: {report:?}");
        assert!(
            report.share() >= 0.98,
            "{report:?}\n{}",
            guard.log().unwrap()
        );
    }
    let validated = validated(&guard, &lab);
    assert!(validated >= 400, "{validated} cookies of 600 connections");
    wait_until("it observes again", RELEASE, || {
        guard.service(&lab, 80).unwrap()["state"] == "observing"
    });
    wait_until("the stack makes no more", SOON, || settings(&lab)[0] == "1");
    assert_eq!(settings(&lab), ["1", "2"], "cookies are still out");
    wait_until("the settings are back", RELEASE, || {
        settings(&lab) == before
    });
    fetch(lab.client(), None, nginx.ipv4(), "/").unwrap();
    assert!(guard.stop(Signal::SIGTERM).unwrap().success());
    assert_eq!(settings(&lab), before);
}

#[test]
fn what_the_operator_set_is_what_it_is_after() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    // Timestamps that are off stay off: no cookie could carry options then.
    for (before, during) in [
        (["0", "1"], ["2", "2"]),
        (["2", "2"], ["2", "2"]),
        (["1", "0"], ["2", "0"]),
    ] {
        let names = ["net.ipv4.tcp_syncookies", "net.ipv4.tcp_timestamps"];
        for (name, value) in names.iter().zip(before) {
            lab.server().set_sysctl(name, value).unwrap();
        }
        let guard = Guard::start(&lab, &["--engine", "kernel", "--mode", "protect"]).unwrap();
        assert_eq!(settings(&lab), during);
        fetch(lab.client(), None, nginx.ipv4(), "/").unwrap();
        assert_eq!(validated(&guard, &lab), 1);
        assert!(guard.stop_at_once().unwrap().success());
        assert_eq!(settings(&lab), before);
    }
}

#[test]
fn a_guard_that_is_stopped_at_once_lets_the_stack_make_no_more_cookies() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let before = settings(&lab);
    let _nginx = Nginx::start(&lab).unwrap();
    let start = |engine| Guard::start(&lab, &["--engine", engine, "--mode", "protect"]).unwrap();
    for (after_a_killed_one, engine) in
        [(false, "kernel"), (true, "kernel"), (true, "reqsk")].repeat(2)
    {
        if after_a_killed_one {
            assert!(!start("kernel").stop(Signal::SIGKILL).unwrap().success());
            assert_eq!(settings(&lab), ["2", "2"]);
        }
        let mut guard = start(engine);
        guard.child().signal(Signal::SIGTERM).unwrap();
        let stopping = "no more cookies are sent";
        guard.child().wait_for_line(stopping, SOON).unwrap();
        assert_eq!(settings(&lab), ["1", "2"], "{after_a_killed_one} {engine}");
        assert!(guard.stop(Signal::SIGTERM).unwrap().success());
        assert_eq!(settings(&lab), before);
    }
}

#[test]
fn a_guard_that_is_killed_is_undone_by_detach_or_the_next_engine() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let before = settings(&lab);
    let start = |engine| Guard::start(&lab, &["--engine", engine, "--mode", "protect"]).unwrap();
    assert!(!start("kernel").stop(Signal::SIGKILL).unwrap().success());
    assert_eq!(settings(&lab), ["2", "2"]);
    // Its programs go on alone.
    fetch(lab.client(), None, nginx.ipv4(), "/").unwrap();
    lab.syn_guard_output(&["detach"]).unwrap();
    assert_eq!(settings(&lab), before);

    for engines in [["kernel", "reqsk"], ["reqsk", "kernel"]] {
        let [first, second] = engines;
        assert!(!start(first).stop(Signal::SIGKILL).unwrap().success());
        let guard = start(second);
        let validated_before = validated(&guard, &lab);
        for target in [nginx.ipv4(), nginx.ipv6()] {
            fetch(lab.client(), None, target, "/").unwrap();
        }
        assert_eq!(validated(&guard, &lab) - validated_before, 2, "{engines:?}");
        assert!(guard.stop_at_once().unwrap().success());
        assert_eq!(settings(&lab), before, "{engines:?}");
    }

    // One that needs them no more does not keep them until it stops.
    assert!(!start("kernel").stop(Signal::SIGKILL).unwrap().success());
    let guard = Guard::start(&lab, &["--engine", "reqsk", "--hold", "1"]).unwrap();
    wait_until("the settings are back", RELEASE, || {
        settings(&lab) == before
    });
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn cookies_carry_no_options_while_timestamps_have_a_secret_offset() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &["--engine", "kernel", "--mode", "protect"]).unwrap();
    // Somebody changes it back: the guard notices within a second, and until
    // then connections must not break.
    let mut hand_made = HandMade::new(&lab).unwrap();
    for round in 0..3_u16 {
        lab.server()
            .set_sysctl("net.ipv4.tcp_timestamps", "1")
            .unwrap();
        wait_until("it is right again", SOON * 2, || {
            settings(&lab) == ["2", "2"]
        });
        let source = (spoofed(false, round), 10_000).into();
        let connected = hand_made.connect(source, nginx.ipv4(), TcpOptions::FULL, SOON);
        let mut flow = connected.unwrap().unwrap();
        assert!(page(&mut hand_made, &mut flow).is_some());
    }
    assert_eq!(validated(&guard, &lab), 3);
    assert!(guard.stop_at_once().unwrap().success());
    assert_eq!(settings(&lab), ["1", "1"]);
}
