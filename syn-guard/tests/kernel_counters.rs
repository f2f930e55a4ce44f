//! What the kernel's own counters say while the guard answers, as docs/operating.md has it.
//! Needs root; without it the test says so and passes, except where `CI=true`.

mod common;

use common::{SOON, of_the_stack, settle, spoofed, validated, wait_until};
use xtask::lab::{Guard, HandMade, Lab, Nginx, TcpOptions, fetch};

const PAGES: u64 = 20;
const FORGED: u16 = 100;

/// Counters of `/proc/net/netstat` and `/proc/net/snmp`.
const COUNTERS: [(&str, &str, &str); 5] = [
    ("netstat", "TcpExt: ", "SyncookiesSent"),
    ("netstat", "TcpExt: ", "SyncookiesRecv"),
    ("netstat", "TcpExt: ", "SyncookiesFailed"),
    ("netstat", "TcpExt: ", "TCPReqQFullDoCookies"),
    ("snmp", "Tcp: ", "PassiveOpens"),
];

fn counters(lab: &Lab) -> [u64; 5] {
    COUNTERS.map(|(file, table, name)| of_the_stack(lab.server(), file, table, name))
}

#[test]
fn the_kernels_counters_are_what_the_document_says() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let sent = PAGES + u64::from(FORGED);
    for (engine, expected) in [
        ("auto", [0, 0, 0, 0, PAGES]),
        ("kernel", [0, PAGES, 0, sent, PAGES]),
    ] {
        let guard = Guard::start(&lab, &["--mode", "protect", "--engine", engine]).unwrap();
        let before = counters(&lab);
        for _ in 0..PAGES {
            fetch(lab.client(), None, nginx.ipv4(), "/").unwrap();
        }
        let mut hand_made = HandMade::new(&lab).unwrap();
        for index in 0..FORGED {
            let source = (spoofed(false, index), 10_000).into();
            let flow = hand_made.syn(source, nginx.ipv4(), TcpOptions::FULL);
            drop(flow.unwrap());
        }
        settle(&mut hand_made);
        let of_port = || guard.service(&lab, 80).unwrap()["counters"]["cookies_sent"].clone();
        wait_until("all cookies are counted", SOON, || of_port() == sent);
        assert_eq!(validated(&guard, &lab), PAGES, "{engine}");
        let after = counters(&lab);
        let added: Vec<_> = after
            .iter()
            .zip(before)
            .map(|(after, it)| after - it)
            .collect();
        assert_eq!(added, expected, "{engine}: {COUNTERS:?}");
        assert!(guard.stop_at_once().unwrap().success());
    }
}
