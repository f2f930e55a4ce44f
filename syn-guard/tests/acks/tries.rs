//! How often a forger may try.

use std::time::Duration;

use xtask::lab::{Flood, Flow, Guard, HandMade, Lab, Nginx, TcpOptions};

use crate::common::{SOON, page, spoofed, validated, verdict, wait_until};

/// Nothing comes for so long: nothing was to come.
const SILENCE: Duration = Duration::from_millis(300);

/// Sends a segment of the flow that acknowledges something else.
fn forge(hand_made: &mut HandMade, flow: &Flow, number: u32) {
    let mut segment = hand_made.segment(flow);
    segment.ack = segment.ack.wrapping_add(1000 + number);
    hand_made.send(&segment).unwrap();
}

#[test]
fn a_cookie_does_not_open_the_way_for_many_tries() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let arguments = ["--mode", "protect", "--set", "limits.stray_rate=5"];
    let guard = Guard::start(&lab, &arguments).unwrap();
    let mut hand_made = HandMade::new(&lab).unwrap();
    for (index, target) in [nginx.ipv4(), nginx.ipv6()].into_iter().enumerate() {
        let dropped = verdict(&guard, &lab, "ack_flood");
        let source = (spoofed(target.is_ipv6(), 1), 10_000).into();
        let mut flow = hand_made.syn(source, target, TcpOptions::FULL).unwrap();
        assert!(hand_made.syn_ack(&mut flow, SOON).unwrap());
        for number in 0..200 {
            forge(&mut hand_made, &flow, number);
        }
        wait_until("the rest is dropped unseen", SOON, || {
            verdict(&guard, &lab, "ack_flood") >= dropped + 100
        });
        // Some data may have overtaken its handshake: nobody is reset.
        let none = hand_made.receive(&flow, SILENCE);
        assert_eq!(none.unwrap(), None);
        // And the handshake is finished when it is the honest client's turn.
        std::thread::sleep(Duration::from_millis(1100));
        hand_made.ack(&flow).unwrap();
        assert!(page(&mut hand_made, &mut flow).is_some(), "{target}");
        assert_eq!(validated(&guard, &lab), index as u64 + 1);
    }
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn a_service_that_is_switched_off_takes_the_cookies_that_are_out_and_few_tries() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let arguments = ["--mode", "protect", "--engine", "reqsk"];
    let guard = Guard::start(&lab, &arguments).unwrap();
    let mut hand_made = HandMade::new(&lab).unwrap();
    let mut flows = Vec::new();
    for (target, tries) in [(nginx.ipv4(), 10), (nginx.ipv6(), 10), (nginx.ipv4(), 40)] {
        let source = (spoofed(target.is_ipv6(), tries), 10_000).into();
        let mut flow = hand_made.syn(source, target, TcpOptions::FULL).unwrap();
        assert!(hand_made.syn_ack(&mut flow, SOON).unwrap());
        flows.push((flow, tries));
    }
    lab.syn_guard_output(&["set", "services.80.mode", "off"])
        .unwrap();
    for (flow, tries) in &mut flows {
        for number in 0..*tries {
            forge(&mut hand_made, flow, number.into());
        }
        // The stack answers what it is not kept from.
        let answer = |hand_made: &mut HandMade| hand_made.receive(flow, SILENCE).unwrap();
        while answer(&mut hand_made).is_some_and(|answer| answer.flags.rst) {}
        hand_made.ack(flow).unwrap();
        let got = page(&mut hand_made, flow).is_some();
        assert_eq!(got, *tries < 15, "after {tries} tries");
    }
    assert_eq!(verdict(&guard, &lab, "no_cookie"), 0, "nothing is dropped");
    assert!(guard.stop_at_once().unwrap().success());
}

/// Floods are stopped before.
const LONGEST: Duration = Duration::from_secs(100);

/// For how long after a flood of cookies every segment may belong to one: two ticks of
/// 2,048 jiffies at HZ=250, and a margin.
const AFTERWARDS: Duration = Duration::from_secs(18);

#[test]
fn a_flood_of_cookies_that_is_over_opens_the_way_for_few_tries() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    lab.separate_cores().unwrap();
    let nginx = Nginx::start(&lab).unwrap();
    let target = nginx.ipv4();
    let arguments = ["--mode", "protect", "--set", "limits.stray_rate=100"];
    let guard = Guard::start(&lab, &arguments).unwrap();
    let flood = Flood::new(target)
        .rate(200_000)
        .duration(LONGEST)
        .start(&lab)
        .unwrap();
    // So many that none is remembered.
    wait_until("cookies go to all", 6 * SOON, || {
        verdict(&guard, &lab, "cookie_sent") > 1_000_000
    });
    let mut hand_made = HandMade::new(&lab).unwrap();
    let source = (spoofed(false, 1), 10_000).into();
    let mut flow = hand_made.syn(source, target, TcpOptions::FULL).unwrap();
    assert!(hand_made.syn_ack(&mut flow, SOON).unwrap());
    flood.stop().unwrap();
    std::thread::sleep(AFTERWARDS);

    // An ACK that comes late is still looked at.
    hand_made.ack(&flow).unwrap();
    assert!(page(&mut hand_made, &mut flow).is_some());
    assert_eq!(validated(&guard, &lab), 1);

    let flood = Flood::new(target)
        .acks()
        .rate(400_000)
        .duration(LONGEST)
        .start(&lab)
        .unwrap();
    // The cells that the flood filled have 15 tries each.
    let cells = 15 * 65_536;
    wait_until("they are used up", 6 * SOON, || {
        verdict(&guard, &lab, "ack_flood") > cells / 10
    });
    let sent = flood.stop().unwrap();
    let dropped = verdict(&guard, &lab, "ack_flood");
    let tried = verdict(&guard, &lab, "no_cookie");
    println!("{sent} ACKs: {tried} tried, {dropped} dropped unseen");
    assert!(tried < cells + cells / 10, "{tried} of {sent}");
    assert!(guard.stop_at_once().unwrap().success());
    nginx.stop().unwrap();
}
