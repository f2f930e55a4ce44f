//! What the guard puts on the wire is well-formed. Needs root; without it the
//! tests say so and pass, except where `CI=true`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

mod common;

use std::time::Duration;

use common::{SOON, spoofed};
use xtask::lab::{
    CLIENT_INTERFACE, Capture, Flood, Guard, HandMade, Lab, Nginx, TcpOptions, fetch,
};

/// SYNs by hand, of either family.
const EACH: u16 = 500;

/// Frames of the capture that a filter of tshark matches.
fn frames(lab: &Lab, file: &str, filter: &str) -> usize {
    let lines = lab
        .client()
        .output(
            "tshark",
            &[
                "-n",
                "-r",
                file,
                "-o",
                "tcp.check_checksum:TRUE",
                "-o",
                "ip.check_checksum:TRUE",
                "-Y",
                filter,
            ],
        )
        .unwrap();
    lines.lines().count()
}

#[test]
fn tshark_finds_nothing_wrong_with_cookies() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &["--mode", "protect"]).unwrap();
    let mut hand_made = HandMade::new(&lab).unwrap();
    let file = lab.path("cookies.pcap");
    let capture = Capture::start(lab.client(), CLIENT_INTERFACE, &file).unwrap();
    let mut flows = Vec::new();
    for ipv6 in [false, true] {
        let service = if ipv6 { nginx.ipv6() } else { nginx.ipv4() };
        for index in 0..EACH {
            let bit = |bit: u16| index & (1 << bit) != 0;
            let options = TcpOptions {
                // Smaller ones are the stack's.
                mss: bit(0).then_some(1220 + index),
                window_scale: bit(1).then_some(8),
                sack: bit(2),
                timestamps: bit(3).then_some((u32::from(index) << 20, 0)),
            };
            let source = (spoofed(ipv6, index), 1024 + index).into();
            let mut flow = hand_made.syn(source, service, options).unwrap();
            assert!(hand_made.syn_ack(&mut flow, SOON).unwrap(), "{flow:?}");
            flows.push(flow);
        }
    }
    for target in [nginx.ipv4(), nginx.ipv6()] {
        fetch(lab.client(), None, target, "/").unwrap();
    }
    let captured = capture.stop().unwrap();
    assert_eq!(captured.dropped, 0, "{captured:?}");
    let cookies = guard.service(&lab, 80).unwrap()["counters"]["cookies_sent"]
        .as_u64()
        .unwrap();
    assert_eq!(cookies, u64::from(EACH) * 2 + 2);
    assert!(guard.stop_at_once().unwrap().success());

    let file = file.to_str().unwrap();
    // The client's stack may answer some with ICMP errors, which quote them.
    let syn_acks = "tcp.flags.syn == 1 && tcp.flags.ack == 1 && !icmp && !icmpv6";
    assert_eq!(
        frames(&lab, file, syn_acks) as u64,
        cookies,
        "all of them are captured"
    );
    let good = format!("({syn_acks}) && tcp.checksum.status == \"Good\"");
    assert_eq!(frames(&lab, file, &good) as u64, cookies);
    let good_ip = format!("({syn_acks}) && (ip.checksum.status == \"Good\" || ipv6)");
    assert_eq!(frames(&lab, file, &good_ip) as u64, cookies);
    // A SYN-ACK is never longer than its SYN, and has no MSS where the SYN has none.
    let wrong = format!("({syn_acks}) && (_ws.malformed || tcp.options.unknown || eth.padding)");
    assert_eq!(frames(&lab, file, &wrong), 0);
    for flow in flows {
        let answer = flow.syn_ack.unwrap();
        assert_eq!(answer.ack, flow.next, "{answer:?}");
        assert!(answer.options.mss.is_some() || flow.options.mss.is_none());
        assert!(answer.options.window_scale.is_none() || flow.options.window_scale.is_some());
        assert!(!answer.options.sack || flow.options.sack);
        let echo = answer.options.timestamps.map(|(_, echo)| echo);
        assert_eq!(echo, flow.options.timestamps.map(|(value, _)| value));
    }
}

#[test]
fn every_forged_syn_gets_one_answer_and_no_more() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &["--mode", "protect"]).unwrap();
    let flood = Flood::new(nginx.ipv4())
        .rate(10_000)
        .duration(Duration::from_secs(2))
        .start(&lab)
        .unwrap();
    let sent = flood.join().unwrap();
    // Long enough for whoever would send an answer again.
    std::thread::sleep(Duration::from_millis(1500));
    let answers = lab.answers_received().unwrap();
    let service = guard.service(&lab, 80).unwrap();
    let cookies = service["counters"]["cookies_sent"].as_u64().unwrap();
    // Frames may be lost on the way in a busy machine's queues.
    let came = common::came(&guard, &lab);
    assert!(came > 1_000 && came <= sent, "{came} of {sent}");
    assert_eq!(cookies, came);
    assert!(
        answers <= cookies && answers > cookies / 2,
        "{cookies} cookies, {answers} answers"
    );
    assert_eq!(service["half_open_kernel"], 0, "{service}");
    assert!(guard.stop_at_once().unwrap().success());
}
