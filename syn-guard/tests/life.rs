//! Connections that live longer than the guard, or than its states: none is
//! hurt when it comes, protects, stops or is killed. Needs root; without it the
//! tests say so and pass, except where `CI=true`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::{REQUEST, SOON, spoofed, wait_until};
use xtask::lab::{Flood, Flow, Guard, HandMade, Lab, Nginx, TcpOptions};

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

#[test]
fn half_open_before_the_guard_began() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let mut hand_made = HandMade::new(&lab).unwrap();
    for service in [nginx.ipv4(), nginx.ipv6()] {
        let mut flows = begin(&mut hand_made, service, 40);
        let guard = Guard::start(&lab, &["--mode", "protect"]).unwrap();
        let failed = finish(&mut hand_made, &mut flows);
        assert!(guard.stop_at_once().unwrap().success());
        all_succeeded("half-open before the guard", flows.len(), &failed);
    }
}

#[test]
fn half_open_when_it_began_to_protect() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let mut hand_made = HandMade::new(&lab).unwrap();
    for service in [nginx.ipv4(), nginx.ipv6()] {
        let guard = Guard::start(&lab, &["--mode", "auto"]).unwrap();
        let mut flows = begin(&mut hand_made, service, 40);
        let flood = Flood::new(service)
            .rate(5000)
            .duration(Duration::from_secs(20))
            .start(&lab)
            .unwrap();
        wait_until("it protects", Duration::from_secs(10), || {
            guard.service(&lab, 80).unwrap()["state"] == "protecting"
        });
        flood.stop().unwrap();
        let failed = finish(&mut hand_made, &mut flows);
        assert!(guard.stop_at_once().unwrap().success());
        all_succeeded("half-open before it protected", flows.len(), &failed);
    }
}
