//! How soon a service protects: before more SYNs than one backlog have reached the
//! stack, by itself, and also when nothing stays half-open. Needs root; without it
//! the tests say so and pass, except where `CI=true`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

mod common;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::{half_open_of_ss, spoofed, verdict, wait_until};
use nix::sys::signal::Signal;
use xtask::lab::{Flood, Guard, HandMade, Lab, Nginx, TcpOptions, patiently};

/// The lab's nginx: what it gives to `listen()`.
const BACKLOG: u64 = 511;
const RATE: u64 = 300_000;
/// On a machine that others keep busy.
const SOON: Duration = Duration::from_secs(30);

fn state(guard: &Guard, lab: &Lab) -> String {
    let service = guard.service(lab, 80).unwrap();
    service["state"].as_str().unwrap().to_owned()
}

fn in_kernel(lab: &Lab) -> u64 {
    half_open_of_ss(lab).values().sum()
}

fn flood(target: SocketAddr) -> Flood {
    Flood::new(target).rate(RATE).duration(SOON * 2)
}

/// What reached the stack before the first cookie, and since.
fn check(guard: &Guard, lab: &Lab) {
    let observed = verdict(guard, lab, "observed");
    let cookies = verdict(guard, lab, "cookie_sent");
    let in_kernel = in_kernel(lab);
    println!("{observed} SYNs passed, {in_kernel} half-open in the kernel, {cookies} cookies");
    assert!((1..=BACKLOG).contains(&observed), "{observed} passed");
    assert!((1..=BACKLOG).contains(&in_kernel), "{in_kernel} half-open");
    let service = guard.service(lab, 80).unwrap();
    let reason = service["reason"].as_str().unwrap();
    assert!(
        reason.contains("255 half-open connections") && reason.contains("the limit of 255"),
        "{reason}"
    );
}

#[test]
fn no_more_than_a_backlog_of_syns_reaches_the_stack_before_the_first_cookie() {
    for ipv6 in [false, true] {
        let Some(lab) = Lab::for_test().unwrap() else {
            return;
        };
        lab.separate_cores().unwrap();
        let nginx = Nginx::start(&lab).unwrap();
        let guard = Guard::start(&lab, &["--mode", "auto"]).unwrap();
        let target = if ipv6 { nginx.ipv6() } else { nginx.ipv4() };
        let flood = flood(target).start(&lab).unwrap();
        wait_until("it protects", SOON, || state(&guard, &lab) == "protecting");
        wait_until("cookies go out", SOON, || {
            verdict(&guard, &lab, "cookie_sent") > RATE / 10
        });
        flood.stop().unwrap();
        check(&guard, &lab);
        assert!(guard.stop(Signal::SIGTERM).unwrap().success());
    }
}

#[test]
fn nor_when_the_controller_is_stopped_before_the_flood() {
    for ipv6 in [false, true] {
        let Some(lab) = Lab::for_test().unwrap() else {
            return;
        };
        lab.separate_cores().unwrap();
        let nginx = Nginx::start(&lab).unwrap();
        let mut guard = Guard::start(&lab, &["--mode", "auto"]).unwrap();
        guard.child().signal(Signal::SIGSTOP).unwrap();
        let answered = lab.syn_acks_received().unwrap();
        let target = if ipv6 { nginx.ipv6() } else { nginx.ipv4() };
        let flood = flood(target).start(&lab).unwrap();
        // Nobody but the data path can have answered all these.
        wait_until("cookies go out", SOON, || {
            lab.syn_acks_received().unwrap() - answered > RATE / 4
        });
        let queued = in_kernel(&lab);
        flood.stop().unwrap();
        guard.child().signal(Signal::SIGCONT).unwrap();
        assert!((1..=BACKLOG).contains(&queued), "{queued} half-open");
        // And it says why, though nobody was there to see it.
        guard
            .child()
            .wait_for_line("observing -> protecting", SOON)
            .unwrap();
        check(&guard, &lab);
        assert!(guard.stop(Signal::SIGTERM).unwrap().success());
    }
}

/// Connections that are begun and reset at once, five times as many a second as
/// are allowed.
struct ResetAtOnce {
    hand_made: HandMade,
    target: SocketAddr,
    started: Instant,
    sent: u128,
}

impl ResetAtOnce {
    const RATE: u128 = 5000;

    fn new(lab: &Lab, target: SocketAddr) -> Self {
        Self {
            hand_made: HandMade::new(lab).unwrap(),
            target,
            started: Instant::now(),
            sent: 0,
        }
    }

    /// Sends what is due, but not all of it at once.
    fn send(&mut self) {
        let due = self.started.elapsed().as_millis() * Self::RATE / 1000;
        for index in (self.sent..due).take(50) {
            let source = spoofed(self.target.is_ipv6(), (index % 60_000) as u16);
            let flow = self
                .hand_made
                .syn((source, 5000).into(), self.target, TcpOptions::SHORT)
                .unwrap();
            self.hand_made.rst(&flow).unwrap();
            self.sent += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn syns_that_are_reset_at_once_are_a_reason_too() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &["--mode", "auto"]).unwrap();
    let mut flood = ResetAtOnce::new(&lab, nginx.ipv4());
    let (mut looked, mut most_half_open) = (Instant::now(), 0);
    loop {
        flood.send();
        if looked.elapsed() > Duration::from_millis(100) {
            looked = Instant::now();
            let service = guard.service(&lab, 80).unwrap();
            if service["state"] == "protecting" {
                break;
            }
            most_half_open = most_half_open.max(service["half_open"].as_u64().unwrap());
        }
        let log = || guard.log().unwrap();
        assert!(
            flood.started.elapsed() < patiently(SOON),
            "{} sent\n{}",
            flood.sent,
            log()
        );
    }
    assert!(
        most_half_open < 255,
        "{most_half_open} half-open: another reason"
    );
    wait_until("it says why", SOON, || is_unanswered_rate(&guard, &lab));
    assert!(guard.stop(Signal::SIGTERM).unwrap().success());
}

fn is_unanswered_rate(guard: &Guard, lab: &Lab) -> bool {
    let service = guard.service(lab, 80).unwrap();
    let reason = service["reason"].as_str().unwrap();
    reason.contains("unanswered SYNs") && reason.contains("limit of 1000")
}

#[test]
fn nor_does_that_need_the_controller() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let mut guard = Guard::start(&lab, &["--mode", "auto"]).unwrap();
    guard.child().signal(Signal::SIGSTOP).unwrap();
    let mut flood = ResetAtOnce::new(&lab, nginx.ipv6());
    while flood.sent < 3 * ResetAtOnce::RATE {
        flood.send();
    }
    guard.child().signal(Signal::SIGCONT).unwrap();
    wait_until("it says why", SOON, || is_unanswered_rate(&guard, &lab));
    // All of them were sent while it was stopped.
    let (observed, cookies) = (
        verdict(&guard, &lab, "observed"),
        verdict(&guard, &lab, "cookie_sent"),
    );
    println!("{} sent: {observed} passed, {cookies} cookies", flood.sent);
    assert!(observed >= 1000, "{observed} passed");
    assert!(cookies > 0, "{cookies} cookies");
    assert!(guard.stop(Signal::SIGTERM).unwrap().success());
}
