//! A real flood against a real server, with and without the guard: counts and
//! memory. How fast it goes, `cargo xtask bench --check` compares. Needs root;
//! without it every test says so and passes, except where `CI=true`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use xtask::lab::{Flood, Guard, HonestClients, HonestReport, Lab, Nginx};

/// SYNs a second.
const RATE: u64 = 300_000;
const ROUND: Duration = Duration::from_secs(4);
/// Floods are stopped before.
const LONGEST: Duration = Duration::from_secs(100);
const SYNCOOKIES: &str = "net.ipv4.tcp_syncookies";

/// Honest clients while the flood runs, which has begun before and does not end.
fn under_flood(lab: &Lab, clients: HonestClients) -> HonestReport {
    let flood = Flood::new(clients.target)
        .rate(RATE)
        .duration(LONGEST)
        .start(lab)
        .unwrap();
    wait_until("the flood runs", || flood.sent().unwrap() > RATE / 10);
    let report = HonestClients {
        duration: ROUND,
        ..clients
    }
    .run(lab)
    .unwrap();
    assert!(flood.elapsed() < LONGEST, "the flood ended before them");
    flood.stop().unwrap();
    report
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONGEST;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {LONGEST:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// All settings of TCP in the server's namespace.
fn settings(lab: &Lab) -> String {
    lab.server()
        .output(
            "sh",
            &["-c", "grep -H . /proc/sys/net/ipv4/tcp_* 2>/dev/null"],
        )
        .unwrap()
}

/// The same without those that the guard hardens under attack.
fn never_changed(settings: &str) -> Vec<&str> {
    settings
        .lines()
        .filter(|line| {
            !line.contains("tcp_synack_retries") && !line.contains("tcp_max_syn_backlog")
        })
        .collect()
}

#[test]
fn a_flood_closes_the_server_and_the_guard_opens_it_again() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    lab.separate_cores().unwrap();

    lab.server().set_sysctl(SYNCOOKIES, "0").unwrap();
    let nginx = Nginx::start(&lab).unwrap();
    // Few have a chance by sending their SYN again.
    let clients = HonestClients {
        timeout: Duration::from_secs(3),
        ..HonestClients::new(nginx.ipv4())
    };
    let without = under_flood(&lab, clients);
    nginx.stop().unwrap();
    assert!(without.share() < 0.2, "without guard: {without:?}");

    lab.server().set_sysctl(SYNCOOKIES, "1").unwrap();
    let before = settings(&lab);
    for ipv6 in [false, true] {
        let nginx = Nginx::start(&lab).unwrap();
        let target = if ipv6 { nginx.ipv6() } else { nginx.ipv4() };
        let guard = Guard::start(&lab, &["--mode", "auto"]).unwrap();
        let calm = guard.service(&lab, 80).unwrap();
        assert_eq!(calm["state"], "observing", "{calm}");
        let with = under_flood(&lab, HonestClients::new(target));
        let service = guard.service(&lab, 80).unwrap();
        assert_eq!(
            never_changed(&settings(&lab)),
            never_changed(&before),
            "during"
        );
        let log = guard.log().unwrap();
        assert!(guard.stop(Signal::SIGTERM).unwrap().success());
        nginx.stop().unwrap();

        assert!(
            with.share() >= 0.99,
            "with the guard, IPv6 {ipv6}: {with:?}\n{log}"
        );
        assert_eq!(service["state"], "protecting", "{service}");
        // Each connection is handed over once: its first data stands right
        // behind the ACK and must not be taken for another handshake.
        let validated = service["counters"]["cookies_validated"].as_u64().unwrap();
        let tried = u64::try_from(with.tried).unwrap();
        assert!(
            validated >= tried * 9 / 10 && validated <= tried * 103 / 100,
            "{validated} of {tried}"
        );
        let reason = "255 half-open connections reached the limit of 255 (half of the backlog of 511; detection.max_half_open, --max-half-open)";
        assert_eq!(service["reason"], reason);
        let line = log
            .lines()
            .find(|line| line.contains("observing -> protecting"))
            .unwrap();
        assert!(
            line.contains(reason) && line.contains("service=80"),
            "{line}"
        );
        assert_eq!(settings(&lab), before, "after");
    }
}

#[test]
fn a_service_goes_back_to_observing_after_the_hold_time() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    lab.separate_cores().unwrap();
    // Half-open connections live 3 s instead of 63.
    lab.server()
        .set_sysctl("net.ipv4.tcp_synack_retries", "1")
        .unwrap();
    let nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &["--mode", "auto", "--hold", "2"]).unwrap();
    let flood = Flood::new(nginx.ipv4())
        .rate(50_000)
        .duration(ROUND)
        .start(&lab)
        .unwrap();
    wait_until("it protects", || {
        guard.service(&lab, 80).unwrap()["state"] == "protecting"
    });
    // It holds as long as the flood lasts.
    while flood.elapsed() < ROUND - Duration::from_millis(500) {
        assert_eq!(guard.service(&lab, 80).unwrap()["state"], "protecting");
        std::thread::sleep(Duration::from_millis(200));
    }
    flood.join().unwrap();
    let ended = Instant::now();
    wait_until("it observes", || {
        guard.service(&lab, 80).unwrap()["state"] == "observing"
    });
    assert!(
        ended.elapsed() >= Duration::from_secs(2),
        "before the hold time"
    );
    let log = guard.log().unwrap();
    let line = log
        .lines()
        .find(|line| line.contains("protecting -> observing"))
        .unwrap();
    assert!(line.contains("stayed below 128 for 2 s"), "{line}");
    assert_eq!(log.matches("-> protecting").count(), 1, "{log}");
    // And it can do so again.
    let flood = Flood::new(nginx.ipv4())
        .rate(50_000)
        .duration(ROUND)
        .start(&lab)
        .unwrap();
    wait_until("it protects again", || {
        guard.service(&lab, 80).unwrap()["state"] == "protecting"
    });
    flood.stop().unwrap();
    assert!(guard.stop(Signal::SIGTERM).unwrap().success());
}

#[test]
fn mode_observe_counts_within_its_memory_and_changes_nothing() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    lab.separate_cores().unwrap();
    lab.server().set_sysctl(SYNCOOKIES, "0").unwrap();
    let before = settings(&lab);
    let nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &["--mode", "observe"]).unwrap();
    let flood = Flood::new(nginx.ipv4())
        .rate(RATE)
        .duration(LONGEST)
        .start(&lab)
        .unwrap();
    let counters = || guard.service(&lab, 80).unwrap()["counters"].clone();
    let count = |counters: &Value, name: &str| counters[name].as_u64().unwrap();
    // The budget of each CPU is 20,000 a second.
    wait_until("more SYNs than are tracked", || {
        let counters = counters();
        count(&counters, "untracked") > RATE && count(&counters, "tracked") > 20_000
    });
    let during = settings(&lab);
    flood.stop().unwrap();
    assert_eq!(during, before);
    // Every SYN is in the totals, whether it was tracked or not; as soon as all that
    // the flood's last frames cause is done.
    wait_until("every SYN is in the totals", || {
        let counters = counters();
        let parts = ["tracked", "untracked", "syn_retransmissions"];
        count(&counters, "syns") == parts.iter().map(|it| count(&counters, it)).sum::<u64>()
    });
    let status = guard.status(&lab).unwrap();
    let service = guard.service(&lab, 80).unwrap();
    assert_eq!(service["state"], "observing");
    assert_eq!(count(&service["counters"], "cookies_sent"), 0);
    assert!(
        count(&service["counters"], "tracked") <= 131_072,
        "{service}"
    );
    let maps = status["map_bytes"].as_u64().unwrap();
    assert!((20 << 20..64 << 20).contains(&maps), "{maps} bytes of maps");
    let resident = guard.resident_bytes().unwrap();
    assert!(resident < 25 << 20, "{resident} bytes resident");
    assert!(guard.stop(Signal::SIGTERM).unwrap().success());
}

#[test]
fn flat_out_it_answers_within_its_memory_and_honest_clients_get_in() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    lab.separate_cores().unwrap();
    let nginx = Nginx::start(&lab).unwrap();
    for target in [nginx.ipv4(), nginx.ipv6()] {
        let guard = Guard::start(&lab, &["--mode", "protect"]).unwrap();
        let before = lab.syn_acks_received().unwrap();
        let flood = Flood::new(target)
            .before_others()
            .duration(LONGEST)
            .start(&lab)
            .unwrap();
        // More comes than can be answered, and so their SYNs get lost, too. They send
        // them again; who does until the flood is over gets in then.
        let clients = HonestClients {
            rate: 20,
            duration: ROUND / 2,
            timeout: LONGEST,
            target,
        }
        .start(&lab);
        wait_until("cookies go out", || {
            lab.syn_acks_received().unwrap() - before > RATE
        });
        wait_until("some get in", || {
            guard.service(&lab, 80).unwrap()["counters"]["cookies_validated"].as_u64() > Some(0)
        });
        let resident = guard.resident_bytes().unwrap();
        flood.stop().unwrap();
        let honest = clients.join().unwrap();
        println!("{target}: {resident} bytes resident; {honest:?}");
        assert_eq!(honest.succeeded, honest.tried, "{honest:?}");
        assert!(resident < 25 << 20, "{resident} bytes resident");
        assert!(guard.stop(Signal::SIGTERM).unwrap().success());
    }
}
