//! The same rules, with a guard that observes, and with one that a flood made protect, in
//! generic mode.

use std::time::Duration;

use xtask::lab::{Guard, HandMade, Lab, TcpOptions};

use crate::clients::all_get;
use crate::common::{settle, spoofed, wait_until};
use crate::elsewhere::{OTHER_PORT, PORT, REDIRECT, SYNPROXY, TPROXY, at};
use crate::nat::FOR_OTHERS;
use crate::servers::Server;
use crate::stateful::{LOOSE, STATEFUL};
use crate::{SOON, counter, rules, stop};

/// More than the listener's backlog of 128, and than all limits that come from it.
const FORGED: u16 = 600;

/// The stack sees other sources than the wire.
const OTHER_SOURCES: &str = "table ip sg_nat {
    chain input {
        type nat hook input priority 100;
        tcp dport 8080 snat to 198.18.77.7
    }
}
table ip6 sg_nat {
    chain input {
        type nat hook input priority 100;
        tcp dport 8080 snat to 2001:db8:77::7
    }
}";

/// Rules, the value of `nf_conntrack_tcp_loose`, and whose page clients get.
const ROWS: [(&str, &str, &str, &str); 7] = [
    ("no rules", "", "1", "own"),
    ("NAT for others", FOR_OTHERS, "1", "own"),
    ("a firewall", STATEFUL, "0", "own"),
    ("redirected", REDIRECT, "1", "other"),
    ("a transparent proxy", TPROXY, "1", "other"),
    ("SYNPROXY", SYNPROXY, "0", "own"),
    ("other sources", OTHER_SOURCES, "1", "own"),
];

#[test]
fn while_it_observes_nothing_is_lost() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let _own = Server::on_all(&lab, "own", PORT);
    let _other = Server::transparent(&lab, "other", OTHER_PORT);
    for (what, text, loose, page) in ROWS {
        rules(&lab, text);
        lab.server().set_sysctl(LOOSE, loose).unwrap();
        let guard = Guard::start(&lab, &["--mode", "observe"]).unwrap();
        all_get(&lab, &format!("{what}, observing"), page, &at(PORT));
        assert_eq!(counter(&guard, &lab, PORT, "cookies_sent"), 0, "{what}");
        stop(guard);
    }
}

#[test]
fn in_a_flood_nothing_is_lost_in_generic_mode() {
    for (what, text, loose, page) in ROWS {
        let Some(lab) = Lab::for_test().unwrap() else {
            return;
        };
        let _own = Server::on_all(&lab, "own", PORT);
        let _other = Server::transparent(&lab, "other", OTHER_PORT);
        rules(&lab, text);
        lab.server().set_sysctl(LOOSE, loose).unwrap();
        let arguments = ["--mode", "auto", "--xdp-mode", "generic"];
        let guard = Guard::start(&lab, &arguments).unwrap();
        all_get(&lab, &format!("{what}, before"), page, &at(PORT));
        let mut hand_made = HandMade::new(&lab).unwrap();
        // The second wave comes when the controller has done what it does as an attack begins.
        for wave in 0..2 {
            std::thread::sleep(wave * Duration::from_secs(1));
            flood(&lab, &guard, &mut hand_made, 10_000 + wave as u16);
            let state = guard.service(&lab, PORT).unwrap()["state"].clone();
            // Where the stack itself answers as this listener.
            if matches!(what, "no rules" | "NAT for others" | "a firewall") {
                assert_eq!(state, "protecting", "{what}");
            }
            all_get(&lab, &format!("{what}, in a flood"), page, &at(PORT));
        }
        stop(guard);
    }
}

/// Sends forged SYNs from this port and waits until the guard saw them.
fn flood(lab: &Lab, guard: &Guard, hand_made: &mut HandMade, port: u16) {
    let before = counter(guard, lab, PORT, "syns");
    for service in at(PORT) {
        for index in 0..FORGED {
            let source = (spoofed(service.is_ipv6(), index), port).into();
            drop(hand_made.syn(source, service, TcpOptions::FULL).unwrap());
        }
    }
    wait_until("all were seen", SOON, || {
        counter(guard, lab, PORT, "syns") >= before + 2 * u64::from(FORGED)
    });
    settle(hand_made);
}
