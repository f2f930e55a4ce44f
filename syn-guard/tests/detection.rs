//! What the guard calls what it sees, and when a service protects. Needs root;
//! without it the tests say so and pass, except where `CI=true`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

mod common;

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{spoofed, wait_until};
use serde_json::Value;
use xtask::lab::{
    Flood, Guard, HandMade, HonestClients, Lab, Nginx, NginxSetup, RunningFlood, ShortConnections,
    ShortReport, TcpOptions, honest_ipv4, patiently,
};

const SECOND: Duration = Duration::from_secs(1);
/// A kind is known after five seconds, and that there is no flood after nine; on a
/// machine that others keep busy later.
const KNOWN: Duration = Duration::from_secs(60);
/// Floods are stopped before.
const LONGEST: Duration = Duration::from_secs(100);
/// SYNs a second: as many as leave this machine time for everything else.
const RATE: u64 = 15_000;

fn flood(lab: &Lab, target: SocketAddr, few_sources: bool) -> RunningFlood {
    let flood = Flood::new(target).rate(RATE).duration(LONGEST);
    let flood = if few_sources {
        flood.few_sources(4)
    } else {
        flood
    };
    flood.start(lab).unwrap()
}

/// The service, when its flood is of that kind.
fn wait_for_kind(guard: &Guard, lab: &Lab, kind: &str) -> Value {
    let begun = Instant::now();
    let mut service = Value::Null;
    wait_until(kind, KNOWN, || {
        service = guard.service(lab, 80).unwrap();
        service["flood"]["kind"] == kind
    });
    let flood = &service["flood"];
    println!(
        "{kind} after {:.1} s: {flood}",
        begun.elapsed().as_secs_f64()
    );
    service
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap()
}

/// Changes of state that the guard logged.
fn changes(guard: &Guard) -> Vec<String> {
    let log = guard.log().unwrap();
    log.lines()
        .filter(|line| line.contains("observing -> ") || line.contains("protecting -> "))
        .map(str::to_owned)
        .collect()
}

fn stop(guard: Guard) {
    assert!(guard.stop_at_once().unwrap().success());
}

/// Connections of eight addresses that keep many ports busy, until told to stop.
fn crowd(lab: &Lab, target: SocketAddr, over: &AtomicBool) -> ShortReport {
    let mut all = ShortReport::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (1..=8)
            .map(|source| {
                scope.spawn(move || {
                    let mut sum = ShortReport::default();
                    let mut ports = 10_000..20_000;
                    while !over.load(Ordering::Relaxed) {
                        let report = ShortConnections {
                            source: (honest_ipv4(source), 0).into(),
                            ports: ports.clone(),
                            target,
                            count: 2_000,
                            concurrency: 25,
                            timeout: patiently(SECOND * 30),
                        }
                        .run(lab)
                        .unwrap();
                        sum.succeeded += report.succeeded;
                        sum.errors.extend(report.errors);
                        // Others while these are in TIME_WAIT.
                        ports = if ports.start == 50_000 {
                            10_000..20_000
                        } else {
                            ports.start + 10_000..ports.end + 10_000
                        };
                    }
                    sum
                })
            })
            .collect();
        for worker in workers {
            let report = worker.join().unwrap();
            all.succeeded += report.succeeded;
            all.errors.extend(report.errors);
        }
    });
    all
}

#[test]
fn each_kind_of_flood_is_called_by_its_name() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &["--hold", "5"]).unwrap();
    let target = nginx.ipv4();

    let forged = flood(&lab, target, false);
    let service = wait_for_kind(&guard, &lab, "spoofed");
    let numbers = &service["flood"];
    assert!(number(numbers, "heavy_percent") <= 10, "{numbers}");
    assert!(number(numbers, "new_source_percent") >= 80, "{numbers}");
    assert!(number(numbers, "answered_percent") <= 5, "{numbers}");
    let unanswered = number(numbers, "unanswered_syns_per_second");
    assert!(unanswered > number(&service, "limit"), "{service}");
    assert_eq!(service["state"], "protecting", "{service}");

    let few = flood(&lab, target, true);
    wait_for_kind(&guard, &lab, "mixed");
    forged.stop().unwrap();
    let service = wait_for_kind(&guard, &lab, "concentrated");
    let numbers = &service["flood"];
    assert!(number(numbers, "heavy_percent") >= 60, "{numbers}");
    assert!(number(numbers, "new_source_percent") <= 10, "{numbers}");
    let metrics = guard.metrics(&lab).unwrap();
    for line in [
        "syn_guard_flood_kind{service=\"80\",kind=\"concentrated\"} 1",
        "syn_guard_flood_kind{service=\"80\",kind=\"none\"} 0",
        "syn_guard_attacks_total{service=\"80\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    few.stop().unwrap();
    let service = wait_for_kind(&guard, &lab, "none");
    assert_eq!(number(&service["flood"], "attacks"), 1, "{service}");

    let log = guard.log().unwrap();
    let kinds: Vec<_> = log
        .lines()
        .filter_map(|line| line.split_once("flood ")?.1.split_once(": "))
        .map(|(kind, _)| kind)
        .collect();
    assert_eq!(kinds, ["spoofed", "mixed", "concentrated", "none"], "{log}");
    stop(guard);
}

#[test]
fn floods_of_ipv6_are_called_by_the_same_names() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &[]).unwrap();
    let forged = flood(&lab, nginx.ipv6(), false);
    let service = wait_for_kind(&guard, &lab, "spoofed");
    let numbers = &service["flood"];
    assert!(number(numbers, "heavy_percent") <= 10, "{numbers}");
    assert!(number(numbers, "new_source_percent") >= 80, "{numbers}");
    // All its addresses are of one /64, which is one source.
    let few = flood(&lab, nginx.ipv6(), true);
    forged.stop().unwrap();
    let service = wait_for_kind(&guard, &lab, "concentrated");
    let numbers = &service["flood"];
    assert!(number(numbers, "heavy_percent") >= 60, "{numbers}");
    assert_eq!(number(numbers, "attacks"), 1, "{numbers}");
    few.stop().unwrap();
    stop(guard);
}

#[test]
fn a_flash_crowd_is_never_an_attack() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    lab.server()
        .set_sysctl("net.core.somaxconn", "8192")
        .unwrap();
    let setup = NginxSetup {
        backlog: 8192,
        ..NginxSetup::default()
    };
    let nginx = Nginx::start_with(&lab, &setup).unwrap();
    let guard = Guard::start(&lab, &[]).unwrap();
    let over = AtomicBool::new(false);
    // Several times what would be a flood if nobody completed.
    const CROWD: u64 = 15_000;
    let report = std::thread::scope(|scope| {
        let crowd = scope.spawn(|| crowd(&lab, nginx.ipv4(), &over));
        let begun = Instant::now();
        let mut syns = 0;
        while begun.elapsed() < SECOND * 10 || syns < CROWD {
            assert!(begun.elapsed() < LONGEST, "only {syns} SYNs came");
            let service = guard.service(&lab, 80).unwrap();
            assert_eq!(service["flood"]["kind"], "none", "{service}");
            assert_eq!(service["state"], "observing", "{service}");
            syns = number(&service["counters"], "syns");
            std::thread::sleep(SECOND / 2);
        }
        over.store(true, Ordering::Relaxed);
        crowd.join().unwrap()
    });
    println!("{} connections", report.succeeded);
    assert_eq!(report.failed(), 0, "{report:?}");
    let service = guard.service(&lab, 80).unwrap();
    assert_eq!(number(&service["flood"], "attacks"), 0, "{service}");
    assert_eq!(number(&service["counters"], "protections"), 0, "{service}");
    assert!(
        number(&service["counters"], "syns") >= report.succeeded as u64,
        "{service}"
    );
    stop(guard);
}

#[test]
fn a_crowd_above_the_limit_gets_cookies_and_is_no_attack() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &["--max-half-open", "1"]).unwrap();
    let over = AtomicBool::new(false);
    let report = std::thread::scope(|scope| {
        let crowd = scope.spawn(|| crowd(&lab, nginx.ipv4(), &over));
        wait_until("a crowd is seen", KNOWN, || {
            guard.service(&lab, 80).unwrap()["flood"]["crowd"] == true
        });
        over.store(true, Ordering::Relaxed);
        crowd.join().unwrap()
    });
    assert_eq!(report.failed(), 0, "{report:?}");
    let service = guard.service(&lab, 80).unwrap();
    assert_eq!(service["state"], "protecting", "{service}");
    assert_eq!(service["flood"]["kind"], "none", "{service}");
    assert_eq!(number(&service["flood"], "attacks"), 0, "{service}");
    let reason = service["reason"].as_str().unwrap();
    assert!(
        reason.contains("(detection.max_half_open, --max-half-open); no flood but a crowd: "),
        "{reason}"
    );
    let log = guard.log().unwrap();
    assert_eq!(log.matches("no flood but a crowd: ").count(), 1, "{log}");
    stop(guard);
}

#[test]
fn a_flood_that_pulses_switches_once_on_and_once_off() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    // Half-open connections live 3 s instead of 63.
    lab.server()
        .set_sysctl("net.ipv4.tcp_synack_retries", "1")
        .unwrap();
    let nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &["--hold", "4"]).unwrap();
    for _ in 0..15 {
        let pulse = Flood::new(nginx.ipv4()).rate(RATE).duration(SECOND);
        pulse.start(&lab).unwrap().join().unwrap();
        std::thread::sleep(SECOND);
    }
    let service = guard.service(&lab, 80).unwrap();
    assert_eq!(service["state"], "protecting", "{service}");
    assert_eq!(service["flood"]["kind"], "spoofed", "{service}");
    wait_until("it is over", KNOWN, || {
        guard.service(&lab, 80).unwrap()["state"] == "observing"
    });
    let changes = changes(&guard);
    assert_eq!(changes.len(), 2, "{changes:#?}");
    assert!(
        changes[0].contains("observing -> protecting"),
        "{changes:#?}"
    );
    assert!(
        changes[1].contains("protecting -> observing"),
        "{changes:#?}"
    );
    stop(guard);
}

#[test]
fn a_flood_of_one_service_does_not_touch_another() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    lab.separate_cores().unwrap();
    let attacked = Nginx::start(&lab).unwrap();
    let setup = NginxSetup {
        port: 81,
        ..NginxSetup::default()
    };
    let other = Nginx::start_with(&lab, &setup).unwrap();
    let guard = Guard::start(&lab, &[]).unwrap();
    let flood = Flood::new(attacked.ipv4())
        .rate(100_000)
        .duration(LONGEST)
        .start(&lab)
        .unwrap();
    wait_until("it protects", KNOWN, || {
        guard.service(&lab, 80).unwrap()["state"] == "protecting"
    });
    let honest = HonestClients {
        duration: SECOND * 6,
        ..HonestClients::new(other.ipv4())
    }
    .run(&lab)
    .unwrap();
    wait_for_kind(&guard, &lab, "spoofed");
    flood.stop().unwrap();
    assert!(honest.share() >= 0.99, "{honest:?}");
    let service = guard.service(&lab, 81).unwrap();
    assert_eq!(service["state"], "observing", "{service}");
    assert_eq!(service["flood"]["kind"], "none", "{service}");
    let counters = &service["counters"];
    for name in [
        "protections",
        "cookies_sent",
        "cookies_validated",
        "expired",
    ] {
        assert_eq!(number(counters, name), 0, "{name}: {service}");
    }
    let completed = number(counters, "completed");
    assert!(completed >= honest.succeeded as u64, "{service}");
    stop(guard);
}

#[test]
fn retransmitted_half_open_connections_are_a_reason() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let file = lab.path("config.toml");
    fs::write(&file, "[detection]\nmax_retransmitted = 20\n").unwrap();
    let guard = Guard::start(&lab, &["--config", file.to_str().unwrap()]).unwrap();
    let mut hand_made = HandMade::new(&lab).unwrap();
    for source in 0..30 {
        let source = (spoofed(false, source), 10_000).into();
        hand_made
            .syn(source, nginx.ipv4(), TcpOptions::FULL)
            .unwrap();
    }
    // The first SYN-ACK is sent again after a second.
    wait_until("it protects", KNOWN, || {
        guard.service(&lab, 80).unwrap()["state"] == "protecting"
    });
    let service = guard.service(&lab, 80).unwrap();
    assert_eq!(number(&service["signals"], "retransmitted_limit"), 20);
    assert!(number(&service["signals"], "retransmitted") >= 20);
    let reason = service["reason"].as_str().unwrap();
    let end = " half-open connections retransmitted at least once reached the limit of 20 (detection.max_retransmitted)";
    let value = reason
        .strip_suffix(end)
        .unwrap_or_else(|| panic!("{reason}"));
    assert!((20..=30).contains(&value.parse().unwrap()), "{reason}");
    stop(guard);
}

#[test]
fn connections_refused_for_want_of_backlog_are_a_reason() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let setup = NginxSetup {
        backlog: 16,
        ..NginxSetup::default()
    };
    let nginx = Nginx::start_with(&lab, &setup).unwrap();
    // The data path alone would see no reason.
    let guard = Guard::start(&lab, &["--max-half-open", "20000"]).unwrap();
    let flood = Flood::new(nginx.ipv4())
        .rate(200)
        .duration(LONGEST)
        .start(&lab)
        .unwrap();
    wait_until("it protects", KNOWN, || {
        guard.service(&lab, 80).unwrap()["state"] == "protecting"
    });
    flood.stop().unwrap();
    let service = guard.service(&lab, 80).unwrap();
    let reason = service["reason"].as_str().unwrap();
    let end = " connections a second refused for want of backlog reached the limit of 5 (detection.max_refused_rate)";
    let value = reason
        .strip_suffix(end)
        .unwrap_or_else(|| panic!("{reason}"));
    assert!(value.parse::<u64>().unwrap() >= 5, "{reason}");
    stop(guard);
}

#[test]
fn a_port_scan_of_small_listeners_is_no_alarm() {
    const BACKLOGS: [(u16, i32); 4] = [(8001, 0), (8002, 1), (8003, 2), (8004, 5)];
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let listen = |(port, backlog)| {
        let socket = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None)?;
        let all = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port));
        socket.bind(&all.into())?;
        socket.listen(backlog)?;
        Ok::<_, std::io::Error>(socket)
    };
    let listeners = lab.server().run(|| BACKLOGS.map(listen)).unwrap();
    let _listeners = listeners.map(Result::unwrap);
    let guard = Guard::start(&lab, &["--mode", "auto"]).unwrap();
    let mut hand_made = HandMade::new(&lab).unwrap();
    // As many as the queue takes, and one more; none completes, none is reset.
    for (port, backlog) in BACKLOGS {
        for index in 0..=u16::try_from(backlog).unwrap() {
            let source = (spoofed(false, index), 10_000).into();
            let service = SocketAddr::from((xtask::lab::SERVER_IPV4, port));
            drop(hand_made.syn(source, service, TcpOptions::FULL).unwrap());
        }
    }
    let services = || BACKLOGS.map(|(port, _)| guard.service(&lab, port).unwrap());
    wait_until("the kernel sends its SYN-ACKs again", KNOWN, || {
        let again = |it: &Value| number(&it["signals"], "retransmitted") > 0;
        services().iter().all(again)
    });
    // What follows from it would come within the next second.
    std::thread::sleep(3 * SECOND);
    for service in services() {
        assert_eq!(service["state"], "observing", "{service}");
        assert_eq!(service["flood"]["kind"], "none", "{service}");
    }
    let status = guard.status(&lab).unwrap();
    assert_eq!(status["changes"], serde_json::json!([]), "{status}");
    assert!(guard.stop_at_once().unwrap().success());
}
