//! A port that the firewall closes: no cookie opens it, and nothing that it drops counts.

use std::net::SocketAddr;
use std::time::Duration;

use xtask::lab::{Guard, HandMade, Lab, Nginx, PAGE, TcpOptions};

use crate::clients::all_get_by_cookies;
use crate::common::{settle, spoofed, wait_until};
use crate::{ENGINES, SOON, counter, protect, rules, stands_back, stop};

const CLOSED: &str = "table inet sg_filter {
    chain input {
        type filter hook input priority filter;
        iif lo accept
        tcp dport 80 drop
    }
}";
/// Longer than a SYN-ACK takes, and shorter than until it is sent again.
const SILENT: Duration = Duration::from_millis(300);
/// More than nginx's backlog and three times the limit that begins protection.
const FORGED: u16 = 1500;

#[test]
fn no_cookie_answers_what_the_firewall_drops() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    rules(&lab, CLOSED);
    for engine in ENGINES {
        let guard = protect(&lab, engine);
        let mut hand_made = HandMade::new(&lab).unwrap();
        for service in [nginx.ipv4(), nginx.ipv6()] {
            for index in 0..40 {
                let source = (spoofed(service.is_ipv6(), index), 10_000).into();
                let mut flow = hand_made.syn(source, service, TcpOptions::FULL).unwrap();
                let answer = hand_made.syn_ack(&mut flow, Duration::from_millis(20));
                assert!(!answer.unwrap(), "{service}: {flow:?}");
            }
        }
        wait_until("all were seen", SOON, || {
            counter(&guard, &lab, 80, "syns") >= 80
        });
        assert_eq!(counter(&guard, &lab, 80, "cookies_sent"), 0);
        wait_until("the service says so", SOON, || {
            stands_back(&guard, &lab, 80).contains("no cookies on 198.18.0.1")
        });
        stop(guard);
    }
}

/// Sends many forged SYNs and waits until the guard saw them.
fn forge(lab: &Lab, guard: &Guard, nginx: &Nginx, port: u16) {
    let mut hand_made = HandMade::new(lab).unwrap();
    let before = counter(guard, lab, 80, "syns");
    for index in 0..FORGED {
        let source = (spoofed(false, index), port).into();
        let flow = hand_made.syn(source, nginx.ipv4(), TcpOptions::FULL);
        drop(flow.unwrap());
    }
    wait_until("all were seen", SOON, || {
        counter(guard, lab, 80, "syns") >= before + u64::from(FORGED)
    });
    settle(&mut hand_made);
}

#[test]
fn what_the_firewall_drops_switches_nothing() {
    for engine in ENGINES {
        let Some(lab) = Lab::for_test().unwrap() else {
            return;
        };
        let nginx = Nginx::start(&lab).unwrap();
        rules(&lab, CLOSED);
        let guard = Guard::start(&lab, &["--mode", "auto", "--engine", engine]).unwrap();
        forge(&lab, &guard, &nginx, 10_000);
        // Said some seconds after the SYNs: by then a switch would have come.
        wait_until("the service says why", SOON, || {
            stands_back(&guard, &lab, 80).contains("no cookies on 198.18.0.1")
        });
        let service = guard.service(&lab, 80).unwrap();
        assert_eq!(service["state"], "observing", "{service}");
        assert_eq!(service["half_open"], 0, "{service}");
        let changes = guard.status(&lab).unwrap()["changes"].clone();
        assert_eq!(changes, serde_json::json!([]));

        // The same SYNs are a flood once they come in.
        rules(&lab, "");
        forge(&lab, &guard, &nginx, 10_001);
        wait_until("it protects", SOON, || {
            guard.service(&lab, 80).unwrap()["state"] == "protecting"
        });
        stop(guard);
    }
}

/// Open to the honest client and to some of the forged sources.
const OPEN_TO_SOME: &str = "table inet sg_filter {
    chain input {
        type filter hook input priority filter;
        iif lo accept
        tcp dport 80 ip saddr { 198.18.0.0/24, 10.7.0.0/24 } accept
        tcp dport 80 ip6 saddr { 2001:db8:0:1::/64, 2001:db8:2000:0::/56 } accept
        tcp dport 80 drop
    }
}";
const OPEN_TO: &str =
    "services.80.open_to=198.18.0.0/24,10.7.0.0/24,2001:db8:0:1::/64,2001:db8:2000:0::/56";

#[test]
fn a_port_that_is_open_to_some_is_open_to_no_others() {
    for engine in ENGINES {
        let Some(lab) = Lab::for_test().unwrap() else {
            return;
        };
        let nginx = Nginx::start(&lab).unwrap();
        rules(&lab, OPEN_TO_SOME);
        let arguments = ["--mode", "protect", "--engine", engine, "--set", OPEN_TO];
        let guard = Guard::start(&lab, &arguments).unwrap();
        let targets = [nginx.ipv4(), nginx.ipv6()];
        all_get_by_cookies(&lab, &guard, engine, PAGE, &targets);
        let mut hand_made = HandMade::new(&lab).unwrap();
        let mut answered = |service: SocketAddr, index: u16, port: u16, within| {
            let source = (spoofed(service.is_ipv6(), index), port).into();
            let mut flow = hand_made.syn(source, service, TcpOptions::FULL).unwrap();
            hand_made.syn_ack(&mut flow, within).unwrap()
        };
        for service in targets {
            for index in 0..10 {
                // 10.7.0.x and 2001:db8:2000:x::, then 10.7.1.x and 2001:db8:2000:1xx::.
                assert!(answered(service, index, 10_000, SOON), "{service}: {index}");
                let closed = answered(service, 256 + index, 10_000, SILENT);
                assert!(!closed, "{service}: {}", 256 + index);
            }
        }
        // Everybody again, as far as the guard knows.
        let everybody = ["set", "services.80.open_to", "0.0.0.0/0,::/0"];
        lab.syn_guard_output(&everybody).unwrap();
        let service = nginx.ipv4();
        wait_until("the guard goes by it", SOON, || {
            // The stack is asked again, and answers only this one.
            assert!(answered(service, 1, 10_001, SOON), "{service}");
            answered(service, 300, 10_001, SILENT)
        });
        stop(guard);
    }
}
