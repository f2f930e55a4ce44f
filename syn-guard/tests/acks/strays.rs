//! Stray ACKs, and how many of them the stack answers.

use std::time::Duration;

use nix::sys::signal::Signal;
use xtask::lab::{Flood, Flow, Guard, HandMade, Lab, Nginx, TcpOptions};

use crate::common::{SOON, spoofed, verdict, wait_until};

#[test]
fn strays_are_reset_as_without_a_guard_until_they_are_too_many() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let file = lab.path("config.toml");
    let config = file.to_str().unwrap();
    std::fs::write(&file, "").unwrap();
    let arguments = ["--mode", "protect", "--config", config];
    let mut guard = Guard::start(&lab, &arguments).unwrap();
    let mut hand_made = HandMade::new(&lab).unwrap();
    // A client of a host that was started anew learns it at once.
    for target in [nginx.ipv4(), nginx.ipv6()] {
        let flow = Flow {
            source: (spoofed(target.is_ipv6(), 1), 10_000).into(),
            service: target,
            isn: 1000,
            next: 1001,
            expected: 5001,
            options: TcpOptions::NONE,
            syn_ack: None,
        };
        hand_made.ack(&flow).unwrap();
        let answer = hand_made.receive(&flow, SOON).unwrap().unwrap();
        assert!(answer.flags.rst && answer.seq == 5001, "{answer:?}");
    }
    drop(hand_made);
    assert_eq!(verdict(&guard, &lab, "stray_ack"), 2);

    let flood = |seconds: u64| {
        let before = lab.answers_received().unwrap();
        let flood = Flood::new(nginx.ipv4())
            .acks()
            .rate(300)
            .duration(Duration::from_secs(seconds));
        let sent = flood.start(&lab).unwrap().join().unwrap();
        std::thread::sleep(Duration::from_millis(100));
        (sent, lab.answers_received().unwrap() - before)
    };
    // Within the rate, which is 1,000 a second.
    let (sent, answered) = flood(2);
    assert!(sent > 300 && answered == sent, "{answered} of {sent}");
    assert_eq!(verdict(&guard, &lab, "ack_flood"), 0);

    std::fs::write(&file, "[limits]\nstray_rate = 10\n").unwrap();
    guard.child().signal(Signal::SIGHUP).unwrap();
    guard.child().wait_for_line("stray_rate", SOON).unwrap();
    let (sent, answered) = flood(2);
    let cpus = std::thread::available_parallelism().unwrap().get() as u64;
    assert!(
        answered >= 10 && answered <= 4 * 10 * cpus,
        "{answered} of {sent}"
    );
    assert_eq!(verdict(&guard, &lab, "ack_flood"), sent - answered);
    let metrics = guard.metrics(&lab).unwrap();
    let line = format!(
        "{{action=\"drop\",reason=\"ack_flood\"}} {}",
        sent - answered
    );
    assert!(metrics.contains(&line), "{metrics}");

    // It holds for as long as cookies are validated.
    lab.syn_guard_output(&["protect", "80", "off"]).unwrap();
    wait_until("it observes", SOON, || {
        guard.service(&lab, 80).unwrap()["state"] == "observing"
    });
    let before = verdict(&guard, &lab, "ack_flood");
    let (sent, answered) = flood(2);
    assert!(
        answered >= 10 && answered <= 4 * 10 * cpus,
        "{answered} of {sent}"
    );
    assert_eq!(verdict(&guard, &lab, "ack_flood"), before + sent - answered);
    assert!(guard.stop_at_once().unwrap().success());
}
