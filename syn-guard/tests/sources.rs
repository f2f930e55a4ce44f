//! Limits of single sources, and of replies to one prefix. Needs root; without it
//! the tests say so and pass, except where `CI=true`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

mod common;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use common::{came, settle, spoofed, verdict, wait_until};
use nix::sys::signal::Signal;
use xtask::lab::{
    CLIENT_MAC, Flood, Guard, HandMade, HonestClients, Lab, Nginx, SERVER_MAC, Segment,
    ShortConnections, TcpOptions, honest_ipv4, patiently,
};

const SOON: Duration = Duration::from_secs(30);
/// Floods are stopped before.
const LONGEST: Duration = Duration::from_secs(100);

/// The default limit of a source, unanswered SYNs a second.
const SOURCE_RATE: u64 = 200;
/// What a source may have beyond it until it is found to be heavy, on the lab's
/// one queue: a quarter of the limit, and half of that for its prefix.
const UNSEEN: u64 = 75;

fn target(nginx: &Nginx, ipv6: bool) -> SocketAddr {
    if ipv6 { nginx.ipv6() } else { nginx.ipv4() }
}

/// Lines of the log that name a dropped source.
fn dropped_lines(guard: &Guard) -> Vec<String> {
    let log = guard.log().unwrap();
    log.lines()
        .filter(|line| line.contains("are dropped"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn few_sources_are_dropped_and_honest_clients_served() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    lab.separate_cores().unwrap();
    for ipv6 in [false, true] {
        let nginx = Nginx::start(&lab).unwrap();
        let guard = Guard::start(&lab, &["--mode", "protect"]).unwrap();
        let flood = Flood::new(target(&nginx, ipv6))
            .rate(100_000)
            .few_sources(4)
            .duration(LONGEST)
            .start(&lab)
            .unwrap();
        let honest = HonestClients {
            duration: Duration::from_secs(4),
            ..HonestClients::new(target(&nginx, ipv6))
        };
        let honest = honest.run(&lab).unwrap();
        let seconds = flood.elapsed().as_secs() + 1;
        flood.stop().unwrap();
        let dropped = verdict(&guard, &lab, "source_limit");
        let came = came(&guard, &lab);
        let cookies = verdict(&guard, &lab, "cookie_sent");
        println!("IPv6 {ipv6}: {came} came, {dropped} dropped, {cookies} cookies; {honest:?}");
        assert!(honest.share() >= 0.99, "{honest:?}");
        assert!(dropped > came * 8 / 10, "{dropped} of {came}");
        // Four IPv4 addresses; all four IPv6 addresses are of one /64.
        let names: &[&str] = if ipv6 {
            &["2001:db8:2000::/64"]
        } else {
            &["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]
        };
        let sources = names.len() as u64;
        let forged = cookies.saturating_sub(honest.tried as u64);
        let most = sources * (SOURCE_RATE + UNSEEN) * (seconds + 1);
        assert!(forged <= most, "{forged} answers, {most} at most");
        // Each is named once, with its numbers, however long it goes on.
        let lines = dropped_lines(&guard);
        assert_eq!(lines.len(), names.len(), "{lines:#?}");
        for name in names {
            let text = format!(
                "SYNs of {name} are dropped: {SOURCE_RATE} unanswered SYNs a second reached its limit of {SOURCE_RATE}"
            );
            assert!(
                lines
                    .iter()
                    .any(|line| line.contains(&text) && line.contains("service=80")),
                "{name}: {lines:#?}"
            );
        }
        assert!(guard.stop(Signal::SIGTERM).unwrap().success());
        nginx.stop().unwrap();
    }
}

/// Many sources of one prefix, each of them well within its limit: the SYNs that a
/// prefix may have sent in that time.
fn neighbours(hand_made: &mut HandMade, service: SocketAddr, first_port: u16) -> u64 {
    const SOURCES: u16 = 250;
    let started = Instant::now();
    for port in first_port..first_port + 8 {
        for index in 0..SOURCES {
            let source = (spoofed(service.is_ipv6(), index), port).into();
            hand_made.syn(source, service, TcpOptions::SHORT).unwrap();
            if index % 50 == 0 {
                // What a full ring of the veth (256 frames) refuses is lost.
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let allowed = (seconds + 1.0) * SOURCE_RATE as f64 + (seconds + 2.0).ceil() * UNSEEN as f64;
    allowed as u64
}

#[test]
fn a_source_is_the_prefix_that_is_configured() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    for ipv6 in [false, true] {
        let nginx = Nginx::start(&lab).unwrap();
        let service = target(&nginx, ipv6);
        let guard = Guard::start(&lab, &["--mode", "protect"]).unwrap();
        let mut hand_made = HandMade::new(&lab).unwrap();
        neighbours(&mut hand_made, service, 3000);
        settle(&mut hand_made);
        assert_eq!(verdict(&guard, &lab, "source_limit"), 0, "IPv6 {ipv6}");

        // At run time, and without another word.
        let (key, bits, name) = if ipv6 {
            ("limits.ipv6_bits", "48", "2001:db8:2000::/48")
        } else {
            ("limits.ipv4_bits", "24", "10.7.0.0/24")
        };
        lab.syn_guard_output(&["set", key, bits]).unwrap();
        let before = came(&guard, &lab);
        let allowed = neighbours(&mut hand_made, service, 4000);
        settle(&mut hand_made);
        let came = came(&guard, &lab) - before;
        let dropped = verdict(&guard, &lab, "source_limit");
        println!("IPv6 {ipv6}: {dropped} of {came} dropped, {allowed} allowed");
        assert!(
            dropped + allowed >= came && dropped > 0,
            "IPv6 {ipv6}: {dropped} of {came}, {allowed} allowed"
        );
        wait_until("it is named", SOON, || {
            dropped_lines(&guard)
                .iter()
                .any(|line| line.contains(&format!("SYNs of {name} are dropped")))
        });
        assert!(guard.stop(Signal::SIGTERM).unwrap().success());
        nginx.stop().unwrap();
    }
}

#[test]
fn too_many_half_open_connections_of_a_source_are_a_reason_however_slow_it_is() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let arguments = [
        "--mode",
        "auto",
        "--max-half-open",
        "60",
        "--set",
        "limits.source_half_open=20",
    ];
    let guard = Guard::start(&lab, &arguments).unwrap();
    let mut hand_made = HandMade::new(&lab).unwrap();
    let service = nginx.ipv4();
    let syn = |hand_made: &mut HandMade, source: IpAddr, port: u16| {
        let options = TcpOptions::SHORT;
        let mut flow = hand_made.syn((source, port).into(), service, options);
        let flow = flow.as_mut().unwrap();
        hand_made.syn_ack(flow, Duration::from_secs(1)).unwrap()
    };
    let bad = spoofed(false, 900);
    for port in 1000..1030 {
        assert!(syn(&mut hand_made, bad, port), "it observes");
    }
    let middling = spoofed(false, 902);
    for port in 1000..1012 {
        assert!(syn(&mut hand_made, middling, port));
    }
    for index in 0..30 {
        assert!(syn(&mut hand_made, spoofed(false, index), 1000));
    }
    wait_until("it protects", SOON, || {
        guard.service(&lab, 80).unwrap()["state"] == "protecting"
    });
    assert!(!syn(&mut hand_made, bad, 2000), "it is over its limit");
    assert!(syn(&mut hand_made, spoofed(false, 901), 2000));
    assert_eq!(verdict(&guard, &lab, "source_limit"), 1);
    // What was allowed is too much for another limit.
    assert!(syn(&mut hand_made, middling, 2000));
    lab.syn_guard_output(&["set", "limits.source_half_open", "10"])
        .unwrap();
    assert!(
        !syn(&mut hand_made, middling, 2001),
        "it is over the limit now"
    );
    let text = "SYNs of 10.7.3.132 are dropped: 30 half-open connections reached its limit of 20";
    wait_until("it is named", SOON, || guard.log().unwrap().contains(text));
    assert!(guard.stop(Signal::SIGTERM).unwrap().success());
}

#[test]
fn without_limits_nobody_is_dropped_and_they_change_under_a_flood() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    lab.separate_cores().unwrap();
    let nginx = Nginx::start(&lab).unwrap();
    let arguments = [
        "--mode",
        "protect",
        "--set",
        "limits.source_rate=0",
        "--set",
        "limits.source_half_open=0",
        "--set",
        "limits.reply_rate=0",
    ];
    let guard = Guard::start(&lab, &arguments).unwrap();
    let flood = Flood::new(nginx.ipv4())
        .rate(50_000)
        .few_sources(4)
        .duration(LONGEST)
        .start(&lab)
        .unwrap();
    wait_until("the flood is answered", SOON, || {
        verdict(&guard, &lab, "cookie_sent") > 40_000
    });
    assert_eq!(verdict(&guard, &lab, "source_limit"), 0);
    assert_eq!(verdict(&guard, &lab, "reply_limit"), 0);
    lab.syn_guard_output(&["set", "limits.source_rate", "100"])
        .unwrap();
    let before = (verdict(&guard, &lab, "source_limit"), came(&guard, &lab));
    wait_until("the flood goes on", SOON, || {
        came(&guard, &lab) > before.1 + 100_000
    });
    flood.stop().unwrap();
    let dropped = verdict(&guard, &lab, "source_limit") - before.0;
    let came = came(&guard, &lab) - before.1;
    assert!(dropped > came / 2, "{dropped} of {came}");
    assert!(guard.stop(Signal::SIGTERM).unwrap().success());
}

#[test]
fn replies_to_one_prefix_have_a_limit() {
    const REPLY_RATE: u64 = 2000;
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    lab.separate_cores().unwrap();
    for ipv6 in [false, true] {
        let nginx = Nginx::start(&lab).unwrap();
        let rate = format!("limits.reply_rate={REPLY_RATE}");
        // Another prefix for the clients of this test; all else as usual.
        let arguments = ["--mode", "protect", "--set", &rate];
        let guard = Guard::start(&lab, &arguments).unwrap();
        let service = target(&nginx, ipv6);
        let answered = lab.syn_acks_received().unwrap();
        let started = Instant::now();
        let flood = Flood::new(service)
            .rate(100_000)
            .few_sources(250)
            .duration(LONGEST);
        // All IPv6 addresses of a flood from few sources are one source: limits
        // of sources would come first.
        if ipv6 {
            lab.syn_guard_output(&["set", "limits.source_rate", "0"])
                .unwrap();
        }
        let flood = flood.start(&lab).unwrap();
        let honest = HonestClients {
            duration: Duration::from_secs(3),
            ..HonestClients::new(service)
        };
        let honest = honest.run(&lab).unwrap();
        // It is a limit, not a wall.
        wait_until("some are answered", SOON, || {
            verdict(&guard, &lab, "cookie_sent") > honest.tried as u64 + REPLY_RATE
        });
        flood.stop().unwrap();
        let seconds = started.elapsed().as_secs_f64();
        std::thread::sleep(Duration::from_millis(200));
        let answered = lab.syn_acks_received().unwrap() - answered;
        let forged = answered.saturating_sub(honest.tried as u64);
        let most = REPLY_RATE as f64 * (seconds + 1.0) * 1.1;
        let came = came(&guard, &lab);
        println!(
            "IPv6 {ipv6}: {came} came in {seconds:.1} s, {forged} answered, {most:.0} at most"
        );
        assert!(forged as f64 <= most, "{forged} answers, {most:.0} at most");
        let dropped = verdict(&guard, &lab, "reply_limit");
        assert!(dropped > came / 4, "{dropped} of {came}");
        assert!(honest.share() >= 0.99, "{honest:?}");
        assert!(guard.stop(Signal::SIGTERM).unwrap().success());
        nginx.stop().unwrap();
    }
}

#[test]
fn answers_have_no_more_bytes_than_what_they_answer() {
    const SYNS: u16 = 50;
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &["--mode", "protect"]).unwrap();
    let mut hand_made = HandMade::new(&lab).unwrap();
    let offers = [TcpOptions::NONE, TcpOptions::SHORT, TcpOptions::FULL];
    for (ipv6, options) in [false, true]
        .into_iter()
        .flat_map(|ipv6| offers.map(|options| (ipv6, options)))
    {
        settle(&mut hand_made);
        let cookies = verdict(&guard, &lab, "cookie_sent");
        let mut sent = 0;
        for index in 0..SYNS {
            let source = (spoofed(ipv6, index), 8000).into();
            let flow = hand_made
                .syn(source, target(&nginx, ipv6), options)
                .unwrap();
            let mut syn = hand_made.segment(&flow);
            syn.options = options;
            sent += syn.frame(CLIENT_MAC, SERVER_MAC).unwrap().len();
        }
        let (mut answers, mut received) = (0, 0);
        while let Some(frame) = hand_made.receive_frame(Duration::from_millis(300)).unwrap() {
            // The cable carries a host's other frames too.
            if Segment::parse(frame).is_some_and(|it| it.flags.is_syn_ack()) {
                answers += 1;
                received += frame.len();
            }
        }
        println!("IPv6 {ipv6}: {sent} bytes of {SYNS} SYNs, {received} of {answers} answers");
        let cookies = verdict(&guard, &lab, "cookie_sent") - cookies;
        assert_eq!(cookies, u64::from(SYNS), "IPv6 {ipv6}, {options:?}");
        // One for one, and nobody sends them again.
        assert_eq!(answers, SYNS);
        assert!(
            received <= sent,
            "IPv6 {ipv6}, {options:?}: {received} for {sent}"
        );
    }
    assert!(guard.stop(Signal::SIGTERM).unwrap().success());
}

#[test]
fn who_completes_is_not_counted_by_the_limit_of_replies() {
    const REPLY_RATE: u64 = 20;
    const CLIENTS: u16 = 200;
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let rate = format!("limits.reply_rate={REPLY_RATE}");
    let guard = Guard::start(&lab, &["--mode", "protect", "--set", &rate]).unwrap();
    let mut hand_made = HandMade::new(&lab).unwrap();
    for ipv6 in [false, true] {
        let service = target(&nginx, ipv6);
        for index in 0..CLIENTS {
            let source = (spoofed(ipv6, index), 6000).into();
            let flow = hand_made
                .connect(source, service, TcpOptions::FULL, SOON)
                .unwrap();
            assert!(flow.is_some(), "client {index} of {CLIENTS}, IPv6 {ipv6}");
        }
        assert_eq!(verdict(&guard, &lab, "reply_limit"), 0);
    }
    // Those who do not complete are.
    let started = Instant::now();
    for index in 0..CLIENTS {
        let source = (spoofed(false, index), 7000).into();
        hand_made
            .syn(source, nginx.ipv4(), TcpOptions::FULL)
            .unwrap();
        std::thread::sleep(Duration::from_micros(200));
    }
    let seconds = started.elapsed().as_secs() + 2;
    wait_until("they are dropped", SOON, || {
        verdict(&guard, &lab, "reply_limit") + REPLY_RATE * seconds >= u64::from(CLIENTS)
    });
    assert!(guard.stop(Signal::SIGTERM).unwrap().success());
}

#[test]
fn completed_handshakes_never_count_against_their_source() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    lab.separate_cores().unwrap();
    let nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &["--mode", "protect"]).unwrap();
    let count = 20_000 / patiently(Duration::from_secs(1)).as_secs() as usize;
    let report = ShortConnections {
        source: (honest_ipv4(1), 0).into(),
        // Each comes round again while its last connection is in TIME_WAIT.
        ports: 20_000..24_000,
        target: nginx.ipv4(),
        count,
        concurrency: 50,
        timeout: SOON,
    }
    .run(&lab)
    .unwrap();
    assert_eq!(report.failed(), 0, "{report:?}");
    assert_eq!(report.succeeded, count);
    assert_eq!(verdict(&guard, &lab, "source_limit"), 0);
    assert!(dropped_lines(&guard).is_empty());
    assert!(guard.stop(Signal::SIGTERM).unwrap().success());
}
