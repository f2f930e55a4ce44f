//! Connections made from cookies that something takes: the listener stands back.

use std::net::SocketAddr;
use std::time::Duration;

use xtask::lab::{Guard, Lab, Nginx, PAGE, patiently};

use crate::clients::{all_get, get};
use crate::common::wait_until;
use crate::{ENGINES, SOON, events, protect, rules, stands_back, stop};

/// So many clients may lose their connection before.
const MOST: usize = 10;
/// How long one that is lost may take to show it.
const PATIENCE: Duration = Duration::from_secs(5);

/// A firewall to which the first that it sees of a connection must be its SYN.
fn syn_first(verdict: &str) -> String {
    format!(
        "table inet sg_filter {{
            chain input {{
                type filter hook input priority filter;
                tcp dport 80 ct state new tcp flags & (syn|ack) == ack {verdict}
            }}
        }}"
    )
}

/// Clients come one after the other until the listener stands back; how many were
/// lost.
fn come_until_it_stands_back(lab: &Lab, guard: &Guard, target: SocketAddr) -> usize {
    let address = target.ip().to_string();
    let stands = || {
        let said = stands_back(guard, lab, 80);
        let mut lines = said.lines();
        lines.any(|line| line.starts_with("stands back on ") && line.contains(&address))
    };
    let mut lost = 0;
    for came in 0.. {
        if stands() {
            break;
        }
        assert!(
            lost <= MOST && came < 4 * MOST,
            "{target}: {lost} of {came} lost, and cookies go on\n{}",
            guard.log().unwrap() + &lab.syn_guard_output(&["status"]).unwrap()
        );
        let within = patiently(PATIENCE);
        let client = lab.client().start(move || Ok(get(target, within)));
        // The connection of a client that waits may be what it takes.
        while !client.is_finished() && !stands() {
            std::thread::sleep(Duration::from_millis(20));
        }
        let got = client.join().unwrap().unwrap();
        lost += usize::from(got.ok().is_none_or(|page| page != PAGE));
    }
    lost
}

fn stands_back_after_few(verdict: &str) {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let both = [nginx.ipv4(), nginx.ipv6()];
    rules(&lab, &syn_first(verdict));
    all_get(&lab, "without a guard", PAGE, &both);
    for engine in ENGINES {
        let guard = protect(&lab, engine);
        for target in both {
            let lost = come_until_it_stands_back(&lab, &guard, target);
            println!("{verdict}, engine {engine}: {target}: {lost} lost");
            assert!((1..=MOST).contains(&lost), "{target}: {lost} lost");
            let what = format!("{verdict}, engine {engine}");
            all_get(&lab, &what, PAGE, &[target]);
        }
        wait_until("it is told", SOON, || {
            let told = events(&lab, "stands_back");
            both.iter()
                .all(|target| told.iter().any(|it| it.contains(&target.ip().to_string())))
        });
        let status = lab.syn_guard_output(&["status"]).unwrap();
        let mut lines = status.lines();
        let said = lines.any(|line| {
            line.starts_with("Without cookies") && line.contains("80: stands back on ")
        });
        assert!(said, "{status}");
        stop(guard);
    }
}

#[test]
fn a_listener_whose_connections_are_reset_stands_back() {
    stands_back_after_few("reject with tcp reset");
}

#[test]
fn a_listener_whose_connections_are_dropped_stands_back() {
    stands_back_after_few("drop");
}
