//! A firewall that changes the stack's SYN-ACKs: cookies say what the stack's say as
//! they leave.

use std::net::SocketAddr;

use xtask::lab::{Flow, HandMade, Lab, Nginx, Segment, TcpOptions};

use crate::common::{page, spoofed};
use crate::{ENGINES, SOON, counter, protect, rules, stop};

const CHANGES: &str = "table inet sg_mangle {
    chain output {
        type filter hook output priority mangle;
        tcp sport 80 tcp flags & (syn|ack) == syn|ack goto answers
    }
    chain answers {
        tcp option maxseg size set 1240
        meta nfproto ipv4 ip dscp set cs2
        meta nfproto ipv4 ip ttl set 42
        meta nfproto ipv6 ip6 dscp set cs2
        meta nfproto ipv6 ip6 hoplimit set 42
    }
}";
/// CS2 as it stands in the header.
const CLASS: u8 = 0x40;

/// Sends a SYN; its SYN-ACK and the TOS or traffic class of that.
fn ask(hand_made: &mut HandMade, service: SocketAddr, index: u16) -> (Flow, u8) {
    let source = (spoofed(service.is_ipv6(), index), 10_000).into();
    hand_made.clear().unwrap();
    let mut flow = hand_made.syn(source, service, TcpOptions::FULL).unwrap();
    loop {
        let frame = hand_made.receive_frame(SOON).unwrap();
        let frame = frame.unwrap().to_vec();
        let found = Segment::parse(&frame).filter(|segment| {
            segment.source == service && segment.destination == source && segment.flags.is_syn_ack()
        });
        let Some(segment) = found else { continue };
        let class = if service.is_ipv6() {
            (frame[14] << 4) | (frame[15] >> 4)
        } else {
            frame[15]
        };
        flow.expected = segment.seq.wrapping_add(1);
        flow.syn_ack = Some(segment);
        return (flow, class);
    }
}

#[test]
fn cookies_say_what_the_firewall_makes_the_stack_say() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    rules(&lab, CHANGES);
    let mut hand_made = HandMade::new(&lab).unwrap();
    for (round, engine) in (0..).zip(ENGINES) {
        let guard = protect(&lab, engine);
        for service in [nginx.ipv4(), nginx.ipv6()] {
            let sent = || counter(&guard, &lab, 80, "cookies_sent");
            let before = sent();
            for index in 0..20 {
                let (mut flow, class) = ask(&mut hand_made, service, round * 100 + index);
                let answer = flow.syn_ack.as_ref().unwrap();
                let found = (answer.options.mss, answer.ttl, class);
                assert_eq!(found, (Some(1240), 42, CLASS), "{engine} {service}");
                hand_made.ack(&flow).unwrap();
                assert!(page(&mut hand_made, &mut flow).is_some());
            }
            assert!(sent() - before >= 15, "{engine} {service}");
        }
        stop(guard);
    }
}
