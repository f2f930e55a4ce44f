//! A real flood against a real server, with and without the guard. Needs root;
//! without it every test says so and passes, except where `CI=true`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use xtask::lab::{Flood, Guard, HonestClients, HonestReport, Lab, Nginx};

/// SYNs a second.
const RATE: u64 = 300_000;
const ROUND: Duration = Duration::from_secs(4);
const SYNCOOKIES: &str = "net.ipv4.tcp_syncookies";

fn honest(lab: &Lab, target: SocketAddr) -> HonestReport {
    HonestClients {
        rate: 100,
        duration: ROUND,
        ..HonestClients::new(target)
    }
    .run(lab)
    .unwrap()
}

/// Honest clients while the flood runs, which has begun before.
fn under_flood(lab: &Lab, target: SocketAddr) -> HonestReport {
    let flood = Flood::new(target)
        .rate(RATE)
        .duration(ROUND * 3)
        .start(lab)
        .unwrap();
    wait_until("the flood runs", || flood.sent().unwrap() > RATE / 10);
    let report = honest(lab, target);
    let sent = flood.sent().unwrap() as f64;
    let rate = sent / flood.elapsed().as_secs_f64();
    flood.stop().unwrap();
    assert!(
        rate > RATE as f64 * 0.8,
        "the flood was only {rate:.0} SYN/s"
    );
    report
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "not within 10 s: {what}");
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
    let without = under_flood(&lab, nginx.ipv4());
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
        let with = under_flood(&lab, target);
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
    let deadline = ended + Duration::from_secs(30);
    while guard.service(&lab, 80).unwrap()["state"] != "observing" {
        assert!(Instant::now() < deadline, "{}", guard.log().unwrap());
        std::thread::sleep(Duration::from_millis(100));
    }
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
        .duration(ROUND * 2)
        .start(&lab)
        .unwrap();
    std::thread::sleep(ROUND);
    let during = settings(&lab);
    flood.stop().unwrap();
    // All that the flood's last frames cause is done.
    std::thread::sleep(Duration::from_millis(200));
    let status = guard.status(&lab).unwrap();
    let service = guard.service(&lab, 80).unwrap();
    let counters = &service["counters"];
    let count = |name: &str| counters[name].as_u64().unwrap();
    assert_eq!(service["state"], "observing");
    assert_eq!(during, before);
    assert_eq!(count("cookies_sent"), 0);
    // Every SYN is in the totals, whether it was tracked or not.
    assert_eq!(
        count("syns"),
        count("tracked") + count("untracked") + count("syn_retransmissions"),
        "{service}"
    );
    assert!(count("untracked") > RATE, "{service}");
    // The budget of each CPU is 20,000 a second.
    assert!(
        count("tracked") > 20_000 && count("tracked") <= 131_072,
        "{service}"
    );
    let maps = status["map_bytes"].as_u64().unwrap();
    assert!((20 << 20..64 << 20).contains(&maps), "{maps} bytes of maps");
    let resident = guard.resident_bytes().unwrap();
    assert!(resident < 25 << 20, "{resident} bytes resident");
    assert!(guard.stop(Signal::SIGTERM).unwrap().success());
}

#[test]
fn flat_out_cookies_come_near_the_floor() {
    /// Cookies a second that are enough whatever the floor does.
    const ENOUGH: f64 = 1_800_000.0;
    /// Share of the floor that is enough on a slow machine.
    const SHARE: f64 = 0.3;
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    lab.separate_cores().unwrap();
    let nginx = Nginx::start(&lab).unwrap();
    let second = Duration::from_secs(1);
    let mut rounds = Vec::new();
    for _ in 0..5 {
        let floor = lab.attach_floor().unwrap();
        let flood = Flood::new(nginx.ipv4())
            .before_others()
            .duration(second * 5)
            .start(&lab)
            .unwrap();
        std::thread::sleep(second / 2);
        let bounced = floor.frames_per_second(second).unwrap();
        flood.stop().unwrap();
        drop(floor);

        let guard = Guard::start(&lab, &["--mode", "protect"]).unwrap();
        let flood = Flood::new(nginx.ipv4())
            .before_others()
            .duration(second * 5)
            .start(&lab)
            .unwrap();
        std::thread::sleep(second / 2);
        let (before, start) = (lab.syn_acks_received().unwrap(), Instant::now());
        std::thread::sleep(second);
        let answered = (lab.syn_acks_received().unwrap() - before) as f64;
        let cookies = answered / start.elapsed().as_secs_f64();
        flood.stop().unwrap();
        let resident = guard.resident_bytes().unwrap();
        assert!(resident < 25 << 20, "{resident} bytes resident");
        assert!(guard.stop(Signal::SIGTERM).unwrap().success());
        rounds.push((cookies, bounced));
        if cookies >= ENOUGH || cookies >= SHARE * bounced {
            println!("cookies and floor, frames/s: {rounds:.0?}");
            return;
        }
    }
    panic!("neither {ENOUGH} cookies/s nor {SHARE} of the floor in any round: {rounds:.0?}");
}
