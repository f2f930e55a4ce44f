//! Connections made through a cookie are what they would have been without a
//! guard. Needs root; without it the tests say so and pass, except where
//! `CI=true`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

mod common;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use common::{REQUEST, SOON, kernel_engine, page, spoofed, syns_sent_again, validated};
use nix::sys::signal::Signal;
use xtask::lab::{
    Guard, HandMade, Lab, Nginx, NginxSetup, Segment, ShortConnections, TcpOptions, fetch,
    honest_ipv4, patience,
};

/// What `ss -ti` says of an open connection to `target`, on both sides: all
/// that both sides agreed on.
fn agreed(lab: &Lab, target: SocketAddr) -> [BTreeSet<String>; 2] {
    let stream = lab
        .client()
        .run(|| TcpStream::connect(target))
        .unwrap()
        .unwrap();
    let mut stream = stream;
    // The connection stays open until the request is whole.
    stream.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    let port = target.port();
    std::thread::sleep(Duration::from_millis(100));
    let of = |side: &xtask::lab::Namespace, filter: String| {
        let text = side
            .output("ss", &["-Htino", "state", "established", &filter])
            .unwrap();
        let kept = ["ts", "sack", "ecn", "wscale", "mss", "advmss", "pmtu"];
        let words: BTreeSet<_> = text
            .split_whitespace()
            .filter(|word| kept.contains(&word.split(':').next().unwrap()))
            .map(str::to_owned)
            .collect();
        assert!(words.iter().any(|word| word.starts_with("mss")), "{text}");
        words
    };
    [
        of(lab.client(), format!("( dport = :{port} )")),
        of(lab.server(), format!("( sport = :{port} )")),
    ]
}

#[test]
fn a_connection_carries_what_both_sides_would_have_agreed_on() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    // Two different scales, so that a mix-up shows.
    lab.client()
        .set_sysctl("net.ipv4.tcp_rmem", "4096 131072 67108864")
        .unwrap();
    let nginx = Nginx::start_with(
        &lab,
        &NginxSetup {
            big_file: true,
            ..NginxSetup::default()
        },
    )
    .unwrap();
    let cases: [(&str, &str, &str); 4] = [
        ("net.ipv4.tcp_timestamps", "1", "1"),
        ("net.ipv4.tcp_timestamps", "1", "0"),
        ("net.ipv4.tcp_sack", "0", "1"),
        ("net.ipv4.tcp_window_scaling", "0", "1"),
    ];
    for target in [nginx.ipv4(), nginx.ipv6()] {
        for (setting, client, server) in cases {
            let both = [(lab.client(), client), (lab.server(), server)];
            let before = both.map(|(side, _)| side.sysctl(setting).unwrap());
            for (side, value) in both {
                side.set_sysctl(setting, value).unwrap();
            }
            let without = agreed(&lab, target);
            let guard = Guard::start(&lab, &["--mode", "protect"]).unwrap();
            let with = agreed(&lab, target);
            assert_eq!(validated(&guard, &lab), 1, "{target} {setting}");
            if server == "1" {
                assert_eq!(with, without, "{target}, {setting} {client} {server}");
            } else {
                // Without timestamps a cookie has no room for every scale: no
                // scaling then, on both sides alike.
                let scaled =
                    |side: &BTreeSet<String>| side.iter().any(|word| word.starts_with("wscale"));
                assert_eq!(scaled(&with[0]), scaled(&with[1]), "{with:?}");
                let sack = with[0].contains("sack") && with[1].contains("sack");
                assert_eq!(sack, !kernel_engine(&guard, &lab), "{with:?}");
            }
            if setting == "net.ipv4.tcp_timestamps" {
                let file = fetch(lab.client(), None, target, "/big").unwrap();
                assert!(Nginx::is_big_file(&file), "{} bytes", file.len());
                assert_eq!(validated(&guard, &lab), 2);
            }
            assert!(guard.stop_at_once().unwrap().success());
            for ((side, _), value) in both.iter().zip(before) {
                side.set_sysctl(setting, &value).unwrap();
            }
        }
    }
}

/// The SYN-ACK to a SYN with these options, from a new source.
fn syn_ack(
    hand_made: &mut HandMade,
    service: SocketAddr,
    index: u16,
    options: TcpOptions,
) -> Segment {
    let source = (spoofed(service.is_ipv6(), index), 10_000).into();
    let mut flow = hand_made.syn(source, service, options).unwrap();
    assert!(hand_made.syn_ack(&mut flow, SOON).unwrap(), "{options:?}");
    flow.syn_ack.unwrap()
}

#[test]
fn the_guards_answer_is_the_listeners_own() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let mut hand_made = HandMade::new(&lab).unwrap();
    let windows = TcpOptions {
        mss: Some(1460),
        window_scale: Some(8),
        sack: true,
        timestamps: None,
    };
    let only_mss = TcpOptions {
        mss: Some(1460),
        ..TcpOptions::NONE
    };
    let no_scale = TcpOptions {
        window_scale: None,
        ..TcpOptions::FULL
    };
    let no_sack = TcpOptions {
        sack: false,
        ..TcpOptions::FULL
    };
    let all = [
        TcpOptions::FULL,
        windows,
        only_mss,
        no_scale,
        no_sack,
        TcpOptions::NONE,
    ];
    let services = [nginx.ipv4(), nginx.ipv6()];
    let mut answers = |first: u16| -> Vec<Segment> {
        let mut index = first;
        let mut answers = Vec::new();
        for service in services {
            for options in all {
                answers.push(syn_ack(&mut hand_made, service, index, options));
                index += 1;
            }
        }
        answers
    };
    let kernels = answers(0);
    let guard = Guard::start(&lab, &["--mode", "protect"]).unwrap();
    let guards = answers(0);
    assert_eq!(
        guard.service(&lab, 80).unwrap()["counters"]["cookies_sent"],
        // Those that the kernel still holds get its answer again.
        0
    );
    for (again, first) in guards.iter().zip(&kernels) {
        assert_eq!(
            again.seq, first.seq,
            "a SYN of a half-open connection is the stack's"
        );
    }
    let guards = answers(1000);
    assert_eq!(
        guard.service(&lab, 80).unwrap()["counters"]["cookies_sent"],
        guards.len()
    );
    let kernel = kernel_engine(&guard, &lab);
    for ((guards, kernels), asked) in guards.iter().zip(&kernels).zip(all.iter().cycle()) {
        if asked.mss.is_none() {
            // The answer is no longer than the SYN.
            assert_eq!(guards.options.mss, None);
        }
        if kernel && guards.options.timestamps.is_none() {
            // A cookie of the kernel's carries no more.
            assert!(guards.options.window_scale.is_none() && !guards.options.sack);
            continue;
        }
        let comparable = |segment: &Segment| Segment {
            source: kernels.source,
            destination: kernels.destination,
            seq: 0,
            ack: 0,
            options: TcpOptions {
                mss: segment.options.mss.filter(|_| asked.mss.is_some()),
                timestamps: segment.options.timestamps.map(|(_, echo)| (0, echo)),
                ..segment.options
            },
            ..segment.clone()
        };
        assert_eq!(comparable(guards), comparable(kernels));
        assert_eq!(guards.payload, b"");
    }
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn short_connections_reuse_ports_that_are_in_time_wait() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &["--mode", "protect"]).unwrap();
    // Ten rounds over 2,000 ports, fewer where everything is slow: each comes
    // back while the server holds its last connection.
    let count = 2_000 * (10 / patience() as usize).max(2);
    let short = ShortConnections {
        source: (honest_ipv4(1), 0).into(),
        ports: 10_000..12_000,
        target: nginx.ipv4(),
        count,
        concurrency: 16,
        timeout: Duration::from_secs(30),
    };
    let report = short.run(&lab).unwrap();
    assert_eq!(
        (report.succeeded, report.failed()),
        (count, 0),
        "{report:?}"
    );
    let waiting = lab
        .server()
        .output("ss", &["-Htan", "state", "time-wait"])
        .unwrap()
        .lines()
        .count();
    assert!(
        waiting >= 1500,
        "only {waiting} in TIME_WAIT: ports were not reused"
    );
    let service = guard.service(&lab, 80).unwrap();
    assert!(
        service["counters"]["cookies_validated"].as_u64() >= Some(1000),
        "{service}"
    );
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn a_client_that_comes_back_from_the_same_port_gets_in_at_once() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let source: SocketAddr = (honest_ipv4(7), 20_000).into();
    // The first connection is older than the guard: TIME_WAIT is not in its
    // memory of packets.
    fetch(lab.client(), Some(source), nginx.ipv4(), "/").unwrap();
    let guard = Guard::start(&lab, &["--mode", "protect"]).unwrap();
    let before = syns_sent_again(&lab);
    for _ in 0..3 {
        let waiting = lab
            .server()
            .output("ss", &["-Htan", "state", "time-wait"])
            .unwrap();
        assert!(
            waiting.contains(":20000"),
            "the server closes first: {waiting}"
        );
        fetch(lab.client(), Some(source), nginx.ipv4(), "/").unwrap();
    }
    // After a second without an answer a SYN would have been sent again.
    assert_eq!(syns_sent_again(&lab), before);
    let verdicts = guard.status(&lab).unwrap()["verdicts"].clone();
    let known = verdicts
        .as_array()
        .unwrap()
        .iter()
        .find(|v| v["reason"] == "known_connection");
    assert_eq!(known.unwrap()["packets"], 3, "{verdicts}");
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn data_that_overtakes_its_handshake_waits_for_it() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &["--mode", "protect"]).unwrap();
    let mut hand_made = HandMade::new(&lab).unwrap();
    for (index, service) in [nginx.ipv4(), nginx.ipv6()].into_iter().enumerate() {
        let source = (spoofed(service.is_ipv6(), 1), 10_000).into();
        let mut flow = hand_made.syn(source, service, TcpOptions::FULL).unwrap();
        assert!(hand_made.syn_ack(&mut flow, SOON).unwrap());
        let mut early = hand_made.segment(&flow);
        let half = REQUEST.len() / 2;
        early.seq = flow.next.wrapping_add(u32::try_from(half).unwrap());
        early.payload = REQUEST[half..].to_vec();
        hand_made.send(&early).unwrap();
        let none = hand_made
            .receive(&flow, Duration::from_millis(300))
            .unwrap();
        assert_eq!(none, None, "no reset");
        // The lost ACK never comes; the first data carries the cookie as well.
        assert!(page(&mut hand_made, &mut flow).is_some());
        assert_eq!(validated(&guard, &lab), index as u64 + 1);
    }
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn a_cookie_that_is_out_at_exit_still_becomes_a_connection() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let mut guard = Guard::start(&lab, &["--mode", "protect"]).unwrap();
    let mut hand_made = HandMade::new(&lab).unwrap();
    let source = (spoofed(false, 1), 10_000).into();
    let mut flow = hand_made
        .syn(source, nginx.ipv4(), TcpOptions::FULL)
        .unwrap();
    assert!(hand_made.syn_ack(&mut flow, SOON).unwrap());
    guard.child().signal(Signal::SIGTERM).unwrap();
    guard
        .child()
        .wait_for_line("no more cookies are sent", SOON)
        .unwrap();
    // A SYN of now is the stack's.
    let other = (spoofed(false, 2), 10_000).into();
    let mut late = hand_made
        .syn(other, nginx.ipv4(), TcpOptions::FULL)
        .unwrap();
    assert!(hand_made.syn_ack(&mut late, SOON).unwrap());
    let half_open = common::half_open_of_ss(&lab);
    assert!(
        half_open.contains_key(&spoofed(false, 2).to_string()),
        "{half_open:?}"
    );
    hand_made.ack(&flow).unwrap();
    assert!(page(&mut hand_made, &mut flow).is_some());
    assert!(
        guard
            .child()
            .wait(Duration::from_secs(10))
            .unwrap()
            .success()
    );
}

#[test]
fn a_connection_goes_on_when_the_guard_comes_and_goes() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let open = |lab: &Lab| {
        let mut stream = lab
            .client()
            .run(|| TcpStream::connect(nginx.ipv4()))
            .unwrap()
            .unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n").unwrap();
        stream
    };
    let finish = |mut stream: TcpStream| {
        stream.write_all(b"Host: lab\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.contains(xtask::lab::PAGE), "{text}");
    };
    let before = [open(&lab), open(&lab)];
    let [first, second] = before;
    let guard = Guard::start(&lab, &["--mode", "protect"]).unwrap();
    let during = [open(&lab), open(&lab)];
    let [third, fourth] = during;
    finish(first);
    finish(third);
    assert!(guard.stop_at_once().unwrap().success());
    finish(second);
    finish(fourth);
}

#[test]
fn an_ipv6_client_without_options_gets_its_page() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &["--mode", "protect"]).unwrap();
    let mut hand_made = HandMade::new(&lab).unwrap();
    for service in [nginx.ipv4(), nginx.ipv6()] {
        let source = (spoofed(service.is_ipv6(), 1), 10_000).into();
        let connected = hand_made.connect(source, service, TcpOptions::NONE, SOON);
        let mut flow = connected.unwrap().unwrap();
        assert!(page(&mut hand_made, &mut flow).is_some(), "{service}");
    }
    assert_eq!(validated(&guard, &lab), 2);
    assert!(guard.stop_at_once().unwrap().success());
}
