//! The first step of the ladder: settings of the kernel while a service needs
//! them, and exactly what was there afterwards. Needs root; without it the tests
//! say so and pass, except where `CI=true`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::{SOON, half_open_of_guard, half_open_of_ss, spoofed, wait_until};
use nix::sys::signal::Signal;
use xtask::lab::{Flood, Guard, HandMade, Lab, Nginx, RunningFlood, TcpOptions, patiently};

const RETRIES: &str = "net.ipv4.tcp_synack_retries";
const SYN_BACKLOG: &str = "net.ipv4.tcp_max_syn_backlog";
const SOMAXCONN: &str = "net.core.somaxconn";
/// What each is hardened to unless the configuration says otherwise.
const HARDENED: [(&str, &str); 3] = [(RETRIES, "2"), (SYN_BACKLOG, "16384"), (SOMAXCONN, "16384")];
/// From the last half-open connection to the last undoing, with what is slow.
const CALM: Duration = Duration::from_secs(60);

/// A lab with settings that hardening changes, all three.
fn lab() -> Option<Lab> {
    let lab = Lab::for_test().unwrap()?;
    for (name, value) in [(RETRIES, "5"), (SYN_BACKLOG, "512"), (SOMAXCONN, "4096")] {
        lab.server().set_sysctl(name, value).unwrap();
    }
    Some(lab)
}

/// All settings of TCP and of the core in the server's namespace, but those that
/// cookies of the kernel's own making need.
fn settings(lab: &Lab) -> BTreeMap<String, String> {
    let script = "grep -rH . /proc/sys/net/ipv4/tcp_* /proc/sys/net/core 2>/dev/null; true";
    let text = lab.server().output("sh", &["-c", script]).unwrap();
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| !name.ends_with("tcp_syncookies") && !name.ends_with("tcp_timestamps"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn is_hardened(lab: &Lab) -> bool {
    HARDENED
        .iter()
        .all(|(name, value)| lab.server().sysctl(name).unwrap() == *value)
}

fn state(lab: &Lab, guard: &Guard) -> String {
    let service = guard.service(lab, 80).unwrap();
    service["state"].as_str().unwrap().to_owned()
}

fn gauge(lab: &Lab, guard: &Guard) -> String {
    let metrics = guard.metrics(lab).unwrap();
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("syn_guard_hardened "));
    line.unwrap().to_owned()
}

/// A flood until the service protects.
fn attack(lab: &Lab, guard: &Guard, nginx: &Nginx) -> RunningFlood {
    attack_on(lab, guard, nginx.ipv4())
}

fn attack_on(lab: &Lab, guard: &Guard, server: SocketAddr) -> RunningFlood {
    let flood = Flood::new(server)
        .rate(5_000)
        .duration(Duration::from_secs(20))
        .start(lab)
        .unwrap();
    wait_until("it protects", SOON, || state(lab, guard) == "protecting");
    flood
}

/// SYNs from ever new sources, nobody of whom answers.
fn half_open(hand_made: &mut HandMade, nginx: &Nginx, port: u16, count: u16) {
    for index in 0..count {
        let source = (spoofed(false, index), port).into();
        hand_made
            .syn(source, nginx.ipv4(), TcpOptions::FULL)
            .unwrap();
    }
}

/// Guard and kernel soon have this many half-open connections, the same ones.
fn agree(lab: &Lab, stage: &str, expected: u64) {
    let deadline = Instant::now() + patiently(SOON);
    loop {
        let (ss, guard) = (half_open_of_ss(lab), half_open_of_guard(lab));
        if ss == guard && ss.values().sum::<u64>() == expected {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{stage}: expected {expected};\nss    {ss:?}\nguard {guard:?}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn an_attack_hardens_at_once_and_its_end_undoes_all_of_it_last() {
    let Some(lab) = lab() else { return };
    let nginx = Nginx::start(&lab).unwrap();
    let before = settings(&lab);
    let guard = Guard::start(&lab, &["--mode", "auto", "--hold", "2"]).unwrap();
    assert_eq!(gauge(&lab, &guard), "0");
    let flood = attack(&lab, &guard, &nginx);
    wait_until("it is hardened", SOON, || is_hardened(&lab));
    let status = guard.status(&lab).unwrap();
    let reason = status["hardened"].as_str().unwrap();
    assert!(reason.contains("service 80"), "{reason}");
    assert_eq!(gauge(&lab, &guard), "1");
    // What the engine `kernel` changes is noted there too, for as long as it validates.
    let is_noted = || {
        let undo = std::fs::read_to_string(lab.guard_state().join("undo.json"));
        undo.is_ok_and(|undo| undo.contains("tcp_synack_retries"))
    };
    assert!(is_noted(), "what is to be undone is noted");
    let said = guard.log().unwrap();
    let line = said.lines().find(|line| line.contains("hardened: "));
    for change in [
        "tcp_synack_retries 5 -> 2",
        "tcp_max_syn_backlog 512 -> 16384",
        "somaxconn 4096 -> 16384",
    ] {
        assert!(line.unwrap().contains(change), "{line:?}");
    }
    flood.stop().unwrap();

    wait_until("the service observes again", CALM, || {
        let observing = state(&lab, &guard) == "observing";
        // Never the other way round.
        assert!(observing || is_hardened(&lab), "undone before the cookies");
        observing
    });
    wait_until("it is undone", CALM, || settings(&lab) == before);
    wait_until("it says so", SOON, || gauge(&lab, &guard) == "0");
    let log = guard.log().unwrap();
    let observes = log.find("protecting -> observing").unwrap();
    assert!(observes < log.find("no longer hardened").unwrap(), "{log}");
    assert!(!is_noted(), "as if it still had to be undone");
    assert!(guard.stop(Signal::SIGTERM).unwrap().success());
    assert_eq!(settings(&lab), before);
}

#[test]
fn below_the_limit_it_hardens_only_and_counts_as_the_kernel_does() {
    let Some(lab) = lab() else { return };
    let nginx = Nginx::start(&lab).unwrap();
    let before = settings(&lab);
    let guard = Guard::start(&lab, &["--mode", "auto", "--hold", "4"]).unwrap();
    let mut hand_made = HandMade::new(&lab).unwrap();
    let begun = Instant::now();
    let at = |seconds: f64| {
        std::thread::sleep(Duration::from_secs_f64(seconds).saturating_sub(begun.elapsed()));
    };
    // The kernel gives these up after 1, 3, 7, 15, 31 or 63 s: where
    // `tcp_synack_retries` is reached.
    half_open(&mut hand_made, &nginx, 10_000, 20);
    agree(&lab, "before", 20);
    assert_eq!(settings(&lab), before, "20 of 255");
    at(8.5);
    // 150 of 255: more than half of the limit.
    half_open(&mut hand_made, &nginx, 20_000, 130);
    wait_until("it is hardened", SOON, || is_hardened(&lab));
    agree(&lab, "all", 150);
    assert_eq!(state(&lab, &guard), "observing");
    let status = guard.status(&lab).unwrap();
    let reason = status["hardened"].as_str().unwrap();
    assert!(
        reason.contains("service 80 has") && reason.contains("(255; harden.at_percent is 50)"),
        "{reason}"
    );
    at(13.0);
    agree(&lab, "nobody gave up yet", 150);
    // The first at 15 s instead of 63, the others after 7 s.
    at(16.5);
    agree(&lab, "given up sooner", 0);
    // Begun while it is hardened; not any more when their third time-out comes.
    half_open(&mut hand_made, &nginx, 30_000, 20);
    let third = begun.elapsed() + Duration::from_secs(7);
    assert!(is_hardened(&lab), "undone before the hold time");
    wait_until("it is undone", Duration::from_secs(6), || {
        settings(&lab) == before
    });
    assert!(begun.elapsed() < third, "a slow machine: nothing to see");
    at(third.as_secs_f64() + 1.5);
    agree(&lab, "kept as long as ever", 20);
    assert!(guard.stop(Signal::SIGTERM).unwrap().success());
    assert_eq!(settings(&lab), before);
}

#[test]
fn what_a_killed_guard_hardened_is_undone_by_detach_and_by_the_next_guard() {
    let Some(lab) = lab() else { return };
    let nginx = Nginx::start(&lab).unwrap();
    let before = settings(&lab);
    for next in ["detach", "run"] {
        let guard = Guard::start(&lab, &["--mode", "auto"]).unwrap();
        let flood = attack(&lab, &guard, &nginx);
        wait_until("it is hardened", SOON, || is_hardened(&lab));
        assert!(!guard.stop(Signal::SIGKILL).unwrap().success());
        flood.stop().unwrap();
        assert!(is_hardened(&lab));
        if next == "detach" {
            let said = lab.syn_guard_output(&["detach"]).unwrap();
            for (name, old) in [(RETRIES, "5"), (SYN_BACKLOG, "512"), (SOMAXCONN, "4096")] {
                assert!(said.contains(&format!("{name} is {old} again")), "{said}");
            }
        } else {
            let guard = Guard::start(&lab, &["--mode", "auto", "--hold", "2"]).unwrap();
            wait_until("the next guard undoes it", CALM, || {
                settings(&lab) == before
            });
            assert!(guard.stop(Signal::SIGTERM).unwrap().success());
        }
        assert_eq!(settings(&lab), before, "{next}");
    }
}

#[test]
fn a_flood_over_ipv6_hardens_what_counts_for_both() {
    let Some(lab) = lab() else { return };
    let nginx = Nginx::start(&lab).unwrap();
    let before = settings(&lab);
    let guard = Guard::start(&lab, &["--mode", "auto", "--hold", "2"]).unwrap();
    let flood = attack_on(&lab, &guard, nginx.ipv6());
    wait_until("it is hardened", SOON, || is_hardened(&lab));
    flood.stop().unwrap();
    wait_until("it is undone", CALM, || settings(&lab) == before);
    assert!(guard.stop(Signal::SIGTERM).unwrap().success());
    assert_eq!(settings(&lab), before);
}

#[test]
fn what_somebody_else_set_meanwhile_stays_and_a_stop_undoes_the_rest() {
    let Some(lab) = lab() else { return };
    let nginx = Nginx::start(&lab).unwrap();
    let mut before = settings(&lab);
    let guard = Guard::start(&lab, &["--mode", "auto"]).unwrap();
    let flood = attack(&lab, &guard, &nginx);
    wait_until("it is hardened", SOON, || is_hardened(&lab));
    lab.server().set_sysctl(RETRIES, "1").unwrap();
    flood.stop().unwrap();
    assert!(guard.stop(Signal::SIGTERM).unwrap().success());
    before.insert("/proc/sys/net/ipv4/tcp_synack_retries".into(), "1".into());
    assert_eq!(settings(&lab), before);
}

#[test]
fn it_hardens_neither_in_mode_observe_nor_when_told_not_to() {
    let Some(lab) = lab() else { return };
    let nginx = Nginx::start(&lab).unwrap();
    let before = settings(&lab);
    let flood = || {
        Flood::new(nginx.ipv4())
            .rate(5_000)
            .duration(Duration::from_secs(20))
            .start(&lab)
            .unwrap()
    };

    let guard = Guard::start(&lab, &["--mode", "observe"]).unwrap();
    let running = flood();
    wait_until("the limit is passed", SOON, || {
        guard.service(&lab, 80).unwrap()["half_open"].as_u64() > Some(255)
    });
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(settings(&lab), before, "mode observe");
    running.stop().unwrap();
    assert!(guard.stop(Signal::SIGTERM).unwrap().success());

    let file = lab.path("harden.toml");
    fs::write(&file, "[harden]\nenabled = false\n").unwrap();
    let arguments = ["--config", file.to_str().unwrap(), "--mode", "auto"];
    let mut guard = Guard::start(&lab, &arguments).unwrap();
    let running = flood();
    wait_until("it protects", SOON, || state(&lab, &guard) == "protecting");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(settings(&lab), before, "harden.enabled = false");
    // At run time, both ways.
    let mut reload = |text| {
        fs::write(&file, text).unwrap();
        guard.child().signal(Signal::SIGHUP).unwrap();
    };
    reload("");
    wait_until("it may harden now", 2 * SOON, || is_hardened(&lab));
    reload("[harden]\nenabled = false\n");
    wait_until("it may not any more", 2 * SOON, || settings(&lab) == before);
    assert_eq!(settings(&lab), before);
    running.stop().unwrap();
    assert!(guard.stop(Signal::SIGTERM).unwrap().success());
    assert_eq!(settings(&lab), before);
}
