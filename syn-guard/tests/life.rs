//! Connections that live longer than the guard, or than its states: none is
//! hurt when it comes, protects, stops or is killed. Needs root; without it the
//! tests say so and pass, except where `CI=true`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::{REQUEST, SOON, spoofed, wait_until};
use nix::sys::signal::Signal;
use xtask::lab::{
    Flags, Flood, Flow, Guard, HandMade, Lab, Nginx, Segment, ShortConnections, TcpOptions,
    honest_ipv6,
};

/// Handshakes begun by hand, answered by whoever answers.
fn begin(hand_made: &mut HandMade, service: SocketAddr, count: u16) -> Vec<Flow> {
    (0..count)
        .map(|index| {
            let source = (spoofed(service.is_ipv6(), index), 10_000).into();
            let mut flow = hand_made.syn(source, service, TcpOptions::FULL).unwrap();
            assert!(hand_made.syn_ack(&mut flow, SOON).unwrap(), "{flow:?}");
            flow
        })
        .collect()
}

/// Ends these handshakes: every other client did not get its SYN-ACK and sends
/// its SYN again, while others come. What failed.
fn finish(hand_made: &mut HandMade, flows: &mut [Flow]) -> Vec<String> {
    common::settle(hand_made);
    for (other, flow) in (1000..).zip(flows.iter().step_by(2)) {
        let other = (spoofed(flow.service.is_ipv6(), other), 10_000).into();
        hand_made
            .syn(other, flow.service, TcpOptions::FULL)
            .unwrap();
        hand_made.resend_syn(flow).unwrap();
    }
    let mut failed = Vec::new();
    for (index, flow) in flows.iter_mut().enumerate() {
        if index % 2 == 0 {
            let first = flow.syn_ack.clone().unwrap();
            assert!(hand_made.syn_ack(flow, SOON).unwrap(), "{flow:?}");
            if flow.syn_ack.as_ref().unwrap().seq != first.seq {
                failed.push(format!("{}: another SYN-ACK", flow.source));
            }
        }
        hand_made.ack(flow).unwrap();
        hand_made.data(flow, REQUEST).unwrap();
        if !gets_data(hand_made, flow) {
            failed.push(format!("{}: no data", flow.source));
        }
    }
    failed
}

/// Whether the service sends data, and no reset.
fn gets_data(hand_made: &mut HandMade, flow: &Flow) -> bool {
    while let Some(segment) = hand_made.receive(flow, SOON).unwrap() {
        if segment.flags.rst || !segment.payload.is_empty() {
            return !segment.flags.rst;
        }
    }
    false
}

fn all_succeeded(what: &str, tried: usize, failed: &[String]) {
    println!("{what}: {tried} tried, {} failed", failed.len());
    assert!(failed.is_empty(), "{what}: {failed:?}");
}

/// Does a test with hand-made handshakes over IPv4 and over IPv6.
fn for_each_service(test: impl Fn(&Lab, &mut HandMade, SocketAddr)) {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let mut hand_made = HandMade::new(&lab).unwrap();
    for service in [nginx.ipv4(), nginx.ipv6()] {
        test(&lab, &mut hand_made, service);
    }
}

#[test]
fn half_open_before_the_guard_began() {
    for_each_service(|lab, hand_made, service| {
        let mut flows = begin(hand_made, service, 40);
        let guard = Guard::start(lab, &["--mode", "protect"]).unwrap();
        let failed = finish(hand_made, &mut flows);
        assert!(guard.stop_at_once().unwrap().success());
        all_succeeded("half-open before the guard", flows.len(), &failed);
    });
}

#[test]
fn half_open_when_it_began_to_protect() {
    for_each_service(|lab, hand_made, service| {
        let guard = Guard::start(lab, &["--mode", "auto"]).unwrap();
        let mut flows = begin(hand_made, service, 40);
        let flood = Flood::new(service)
            .rate(5000)
            .duration(Duration::from_secs(20))
            .start(lab)
            .unwrap();
        wait_until("it protects", Duration::from_secs(10), || {
            guard.service(lab, 80).unwrap()["state"] == "protecting"
        });
        flood.stop().unwrap();
        let failed = finish(hand_made, &mut flows);
        assert!(guard.stop_at_once().unwrap().success());
        all_succeeded("half-open before it protected", flows.len(), &failed);
    });
}

#[test]
fn a_cookie_that_is_out_when_the_guard_is_killed() {
    for_each_service(|lab, hand_made, service| {
        let guard = Guard::start(lab, &["--mode", "protect"]).unwrap();
        let mut flows = begin(hand_made, service, 20);
        assert!(!guard.stop(Signal::SIGKILL).unwrap().success());
        let (while_dead, later) = flows.split_at_mut(10);
        let failed = answer(hand_made, while_dead);
        all_succeeded("cookies while the guard is dead", 10, &failed);
        let guard = Guard::start(lab, &["--mode", "protect"]).unwrap();
        let failed = answer(hand_made, later);
        all_succeeded("cookies of the guard before", 10, &failed);
        assert_eq!(common::validated(&guard, lab), 20);
        assert!(guard.stop_at_once().unwrap().success());
    });
}

/// Ends these handshakes as clients do that got their SYN-ACK.
fn answer(hand_made: &mut HandMade, flows: &mut [Flow]) -> Vec<String> {
    let mut failed = Vec::new();
    for flow in flows {
        hand_made.ack(flow).unwrap();
        hand_made.data(flow, REQUEST).unwrap();
        if !gets_data(hand_made, flow) {
            failed.push(format!("{}: no data", flow.source));
        }
    }
    failed
}

/// What a client sees that crashed and comes back from the port of its old
/// connection, which the server still has.
fn comes_back(hand_made: &mut HandMade, old: &Flow) -> Vec<&'static str> {
    let name = |segment: &Segment| match (segment.flags.syn, segment.flags.rst) {
        _ if !segment.flags.ack => "no ACK",
        (true, _) => "SYN-ACK",
        (_, true) => "RST",
        (false, false) if segment.ack == old.next => "challenge ACK",
        _ => "another ACK",
    };
    common::settle(hand_made);
    let mut flow = hand_made.syn(old.source, old.service, old.options).unwrap();
    let Some(challenge) = hand_made.receive(&flow, SOON).unwrap() else {
        return vec!["silence"];
    };
    let mut seen = vec![name(&challenge)];
    // RFC 9293 section 3.10.7.3: what does not belong to its SYN is reset.
    let mut reset = hand_made.segment(&flow);
    reset.seq = challenge.ack;
    reset.options = TcpOptions::NONE;
    reset.flags = Flags {
        rst: true,
        ..Flags::default()
    };
    hand_made.send(&reset).unwrap();
    hand_made.resend_syn(&flow).unwrap();
    seen.push(if hand_made.syn_ack(&mut flow, SOON).unwrap() {
        "SYN-ACK"
    } else {
        "silence"
    });
    seen.push(match answer(hand_made, &mut [flow]).is_empty() {
        true => "data",
        false => "no data",
    });
    seen
}

#[test]
fn a_client_that_crashed_comes_back_from_its_port() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let mut hand_made = HandMade::new(&lab).unwrap();
    let connected = |hand_made: &mut HandMade, service, index| {
        let source = (spoofed(SocketAddr::is_ipv6(&service), index), 10_000).into();
        let flow = hand_made.connect(source, service, TcpOptions::FULL, SOON);
        flow.unwrap().unwrap()
    };
    for service in [nginx.ipv4(), nginx.ipv6()] {
        let old = connected(&mut hand_made, service, 1);
        let without = comes_back(&mut hand_made, &old);
        assert_eq!(without, ["challenge ACK", "SYN-ACK", "data"]);
        // Left from before the guard, from when it observed, and made by a
        // cookie.
        let before = connected(&mut hand_made, service, 2);
        let guard = Guard::start(&lab, &["--mode", "auto", "--max-half-open", "50"]).unwrap();
        let observed = connected(&mut hand_made, service, 3);
        let flood = Flood::new(service)
            .rate(5000)
            .duration(Duration::from_secs(20))
            .start(&lab)
            .unwrap();
        wait_until("it protects", Duration::from_secs(10), || {
            guard.service(&lab, 80).unwrap()["state"] == "protecting"
        });
        flood.stop().unwrap();
        // The controller tells of the connections when it hears of the switch.
        std::thread::sleep(Duration::from_millis(1200));
        let by_cookie = connected(&mut hand_made, service, 4);
        for old in [before, observed, by_cookie] {
            let with = comes_back(&mut hand_made, &old);
            println!("{}: 1 tried, {with:?}", old.source);
            assert_eq!(with, without, "{}", old.source);
        }
        assert!(guard.stop_at_once().unwrap().success());
    }
}

#[test]
fn ports_in_time_wait_are_used_again_over_ipv6() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &["--mode", "protect"]).unwrap();
    let short = ShortConnections {
        source: (honest_ipv6(1), 0).into(),
        ports: 10_000..10_500,
        target: nginx.ipv6(),
        count: 2500,
        concurrency: 16,
        timeout: Duration::from_secs(15),
    };
    let report = short.run(&lab).unwrap();
    println!("2,500 tried, {} failed", report.failed());
    assert_eq!((report.succeeded, report.failed()), (2500, 0), "{report:?}");
    let known = common::verdict(&guard, &lab, "known_connection");
    assert!(known >= 1500, "only {known} SYNs into TIME_WAIT");
    assert!(guard.stop_at_once().unwrap().success());
}
