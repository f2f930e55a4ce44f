//! Half-open connections are counted by source exactly as the kernel holds
//! them. Needs root; without it the tests say so and pass, except where
//! `CI=true`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

mod common;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::{half_open_of_guard, half_open_of_ss, sources, spoofed, wait_until};
use nix::sys::signal::Signal;
use xtask::lab::{Flow, Guard, HandMade, Lab, Nginx, NginxSetup, TcpOptions, patiently};

/// A batch has fewer connections than a veth's ring has room for, 256: the kernel gives
/// those up whose SYN-ACKs a full ring refuses, and sends them again all at once on a
/// machine that others keep busy.
const SOURCES: u16 = 10;
/// Connections of each source in each of two batches.
const BATCH: u16 = 20;

/// Guard and kernel agree soon, on what is expected of every source.
fn agree(lab: &Lab, stage: &str, of_each: u64) {
    let mut last = (BTreeMap::new(), BTreeMap::new());
    let deadline = Instant::now() + patiently(Duration::from_secs(6));
    loop {
        let (ss, guard) = (half_open_of_ss(lab), half_open_of_guard(lab));
        let complete = if of_each == 0 {
            ss.is_empty()
        } else {
            ss.len() == usize::from(SOURCES) && ss.values().all(|count| *count == of_each)
        };
        if ss == guard && complete {
            return;
        }
        last = if Instant::now() < deadline {
            (ss, guard)
        } else {
            last
        };
        if Instant::now() >= deadline {
            panic!(
                "{stage}: expected {of_each} each;\nss    {:?}\nguard {:?}",
                last.0, last.1
            );
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn batch(hand_made: &mut HandMade, nginx: &Nginx, ipv6: bool, first_port: u16) -> Vec<Flow> {
    let service = if ipv6 { nginx.ipv6() } else { nginx.ipv4() };
    let mut flows = Vec::new();
    for port in first_port..first_port + BATCH {
        for source in 0..SOURCES {
            let source = (spoofed(ipv6, source), port).into();
            flows.push(hand_made.syn(source, service, TcpOptions::FULL).unwrap());
        }
        // Not all time-outs in one moment.
        std::thread::sleep(Duration::from_millis(25));
    }
    for flow in &mut flows {
        assert!(
            hand_made.syn_ack(flow, Duration::from_secs(5)).unwrap(),
            "{flow:?}"
        );
    }
    flows
}

#[test]
fn half_open_by_source_is_what_the_kernel_holds() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    lab.server()
        .set_sysctl("net.core.somaxconn", "8192")
        .unwrap();
    // A life of 15 s: 1, 2, 4 and 8.
    lab.server()
        .set_sysctl("net.ipv4.tcp_synack_retries", "3")
        .unwrap();
    let setup = NginxSetup {
        backlog: 8192,
        ..NginxSetup::default()
    };
    let nginx = Nginx::start_with(&lab, &setup).unwrap();
    let guard = Guard::start(&lab, &["--mode", "auto"]).unwrap();
    for ipv6 in [false, true] {
        let mut hand_made = HandMade::new(&lab).unwrap();
        let begun = Instant::now();
        let first = batch(&mut hand_made, &nginx, ipv6, 10_000);
        agree(&lab, "a first batch", 20);
        // Flows of a port are next to each other, one of each source.
        let (completed, rest) = first.split_at(5 * usize::from(SOURCES));
        let (reset, _left) = rest.split_at(6 * usize::from(SOURCES));
        completed
            .iter()
            .for_each(|flow| hand_made.ack(flow).unwrap());
        agree(&lab, "five of each completed", 15);
        reset.iter().for_each(|flow| hand_made.rst(flow).unwrap());
        agree(&lab, "six of each reset", 9);
        std::thread::sleep(Duration::from_secs(8).saturating_sub(begun.elapsed()));
        let second = batch(&mut hand_made, &nginx, ipv6, 20_000);
        agree(&lab, "a second batch", 29);
        std::thread::sleep(Duration::from_millis(15_600).saturating_sub(begun.elapsed()));
        agree(&lab, "the rest of the first batch timed out", 20);
        second
            .iter()
            .take(10 * usize::from(SOURCES))
            .for_each(|flow| {
                // Another sequence number is none of this connection's.
                let mut foreign = flow.clone();
                foreign.next = foreign.next.wrapping_add(1 << 30);
                hand_made.rst(&foreign).unwrap();
            });
        agree(&lab, "a reset out of the window ends nothing", 20);
        wait_until(
            "the second batch timed out",
            Duration::from_secs(30),
            || half_open_of_ss(&lab).is_empty(),
        );
        agree(&lab, "all timed out", 0);

        let counted: Vec<_> = sources(&lab)
            .into_iter()
            .filter(|source| source.source.contains(':') == ipv6 && source.port == 80)
            .filter(|source| source.syns >= 40)
            .collect();
        assert_eq!(counted.len(), usize::from(SOURCES), "{counted:?}");
        for source in counted {
            let ends = (source.completed, source.reset, source.expired);
            assert_eq!((source.syns, ends), (40, (5, 6, 29)), "{source:?}");
        }
        for flow in completed {
            hand_made.rst(flow).unwrap();
        }
    }
    let service = guard.service(&lab, 80).unwrap();
    assert_eq!(service["state"], "observing", "{service}");
    let count = |name: &str| service["counters"][name].as_u64().unwrap();
    assert_eq!(
        (count("reset"), count("expired")),
        (2 * 60, 2 * 290),
        "{service}"
    );
    assert_eq!(count("untracked"), 0, "{service}");
    assert!(guard.stop(Signal::SIGTERM).unwrap().success());
}

#[test]
fn retransmitted_syns_are_one_half_open_connection() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &["--mode", "auto"]).unwrap();
    let mut hand_made = HandMade::new(&lab).unwrap();
    let source = (spoofed(false, 1), 10_000).into();
    let flow = hand_made
        .syn(source, nginx.ipv4(), TcpOptions::FULL)
        .unwrap();
    for _ in 0..600 {
        hand_made.resend_syn(&flow).unwrap();
    }
    wait_until("all SYNs are counted", common::SOON, || {
        guard.service(&lab, 80).unwrap()["counters"]["syns"] == 601
    });
    let service = guard.service(&lab, 80).unwrap();
    assert_eq!(service["half_open"], 1, "{service}");
    assert_eq!(service["half_open_kernel"], 1, "{service}");
    assert_eq!(service["counters"]["syn_retransmissions"], 600, "{service}");
    assert_eq!(service["state"], "observing", "{service}");
    assert!(guard.stop(Signal::SIGTERM).unwrap().success());
}
