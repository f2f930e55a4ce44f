//! Interfaces of other kinds than the lab's own cable: the same results, in
//! whatever mode. Needs root; without it the tests say so and pass, except
//! where `CI=true`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

mod common;

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use common::{SOON, second_cable};
use xtask::lab::{
    CLIENT_MAC, Flags, Guard, HandMade, HonestClients, Lab, Nginx, Passing, SERVER_INTERFACE,
    SERVER_MAC, TcpOptions, fetch,
};

fn pages(lab: &Lab, target: SocketAddr, count: usize) {
    for _ in 0..count {
        let page = fetch(lab.client(), None, target, "/").unwrap();
        assert_eq!(page, xtask::lab::PAGE.as_bytes());
    }
}

#[test]
fn two_interfaces_native_and_generic_give_the_same_results() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    second_cable(&lab, 4);
    let _receives = Passing::attach_to(lab.client(), "sg-second").unwrap();
    let nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &["--iface", "sg-second", "--mode", "protect"]).unwrap();
    let status = guard.status(&lab).unwrap();
    let interfaces = status["interfaces"].as_array().unwrap();
    let mode = |name: &str| {
        interfaces
            .iter()
            .find(|interface| interface["name"] == name)
            .unwrap()["mode"]
            .clone()
    };
    assert_eq!(mode(SERVER_INTERFACE), "native", "{status}");
    assert_eq!(mode("sg-second"), "generic", "{status}");
    let log = guard.log().unwrap();
    let line = log
        .lines()
        .find(|line| line.contains("generic mode"))
        .unwrap();
    assert!(
        line.contains("several times slower") && line.contains("os error 28"),
        "{line}"
    );

    for target in ["198.18.5.1:80", "[2001:db8:0:5::1]:80"] {
        pages(&lab, target.parse().unwrap(), 10);
    }
    pages(&lab, nginx.ipv4(), 10);
    pages(&lab, nginx.ipv6(), 10);
    let service = guard.service(&lab, 80).unwrap();
    assert_eq!(service["counters"]["cookies_sent"], 40, "{service}");
    let validated = service["counters"]["cookies_validated"].as_u64().unwrap();
    // Where the stack is slow to take the ACK, the engine `kernel` counts the
    // data behind it as well.
    let more = common::kernel_engine(&guard, &lab) && validated > 40;
    assert!(validated == 40 || more, "{service}");
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn tagged_frames_are_answered() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &["--mode", "protect"]).unwrap();
    let mut hand_made = HandMade::new(&lab).unwrap();
    // With one tag; with two the stack would take no cookie's connection, and
    // three are not known: these pass, and the stack has no interface for them.
    for (tags, cookies) in [(1, 1), (2, 1), (3, 1)] {
        let source = (common::spoofed(false, tags), 10_000).into();
        let mut flow = hand_made
            .syn(source, nginx.ipv4(), TcpOptions::FULL)
            .unwrap();
        assert!(hand_made.syn_ack(&mut flow, SOON).unwrap(), "untagged");
        let mut segment = hand_made.segment(&flow);
        segment.source.set_port(10_001);
        segment.seq = flow.isn;
        segment.ack = 0;
        segment.flags = Flags {
            syn: true,
            ..Flags::default()
        };
        segment.options = TcpOptions::FULL;
        let mut frame = segment.frame(CLIENT_MAC, SERVER_MAC).unwrap();
        for tag in 0..tags {
            let kind = if tag == 1 { [0x88, 0xa8] } else { [0x81, 0] };
            frame.splice(12..12, [kind[0], kind[1], 0, 5]);
        }
        hand_made.send_frame(&frame).unwrap();
        let mut tagged = flow.clone();
        tagged.source.set_port(10_001);
        let answered = hand_made
            .syn_ack(&mut tagged, Duration::from_millis(500))
            .unwrap();
        assert_eq!(answered, tags < 2, "{tags} tags");
        let service = guard.service(&lab, 80).unwrap();
        let sent = u64::from(tags) + cookies;
        assert_eq!(
            service["counters"]["cookies_sent"], sent,
            "{tags} tags: {service}"
        );
    }
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn an_idle_guard_is_in_nobodys_way() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &["--mode", "auto"]).unwrap();
    let clients = HonestClients {
        rate: 500,
        duration: Duration::from_secs(2),
        ..HonestClients::new(nginx.ipv4())
    };
    let report = clients.run(&lab).unwrap();
    assert_eq!((report.tried, report.succeeded), (1000, 1000), "{report:?}");
    let service = guard.service(&lab, 80).unwrap();
    assert_eq!(service["state"], "observing", "{service}");
    assert_eq!(service["counters"]["completed"], 1000, "{service}");
    assert_eq!(service["half_open"], 0, "{service}");
    let handshakes = service["handshakes"]["buckets"].as_array().unwrap();
    let counted: u64 = handshakes
        .iter()
        .map(|bucket| bucket[1].as_u64().unwrap())
        .sum();
    assert_eq!(counted, 1000, "{service}");
    assert!(guard.stop_at_once().unwrap().success());
}

/// A TC program that drops SYNs of IPv4 to port 80, which it finds by their place behind the
/// Ethernet header.
const DROPS: &str = "tc qdisc add dev sg-server clsact
    tc filter add dev sg-server ingress bpf bytecode \
        '4,40 0 0 36,21 0 1 80,6 0 0 2,6 0 0 4294967295' direct-action";

#[test]
fn other_tc_programs_see_packets_as_without_a_guard() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    lab.server().output("sh", &["-ec", DROPS]).unwrap();
    let answered = |service: SocketAddr| {
        let within = if service.is_ipv6() {
            SOON
        } else {
            Duration::from_millis(300)
        };
        let connect = || TcpStream::connect_timeout(&service, within).is_ok();
        lab.client().run(connect).unwrap()
    };
    let both = || (answered(nginx.ipv4()), answered(nginx.ipv6()));
    assert_eq!(both(), (false, true), "without a guard");
    for mode in ["native", "generic"] {
        for what in ["off", "observe"] {
            let guard = Guard::start(&lab, &["--mode", what, "--xdp-mode", mode]).unwrap();
            assert_eq!(both(), (false, true), "{mode}, {what}");
            assert!(guard.stop_at_once().unwrap().success());
        }
    }
}
