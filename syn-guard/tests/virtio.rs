//! A guard on virtio-net, the card of most virtual machines. Needs two such
//! cards that are joined: `cargo xtask test --kernel` has them and names them in
//! the environment; elsewhere the test says so and passes.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

mod common;

use std::net::SocketAddr;

use common::validated;
use xtask::lab::{Guard, Lab, Namespace, Nginx, PAGE, fetch};

/// Their names, with spaces between them: two that are joined, and one whose receive offloads are on
/// and stay so.
const CARDS: &str = "SYN_GUARD_LAB_CARDS";
/// Pages of each family.
const PAGES: u64 = 10;

/// Puts a card into a namespace.
fn give(card: &str, to: &Namespace, ipv4: &str, ipv6: &str) {
    // It comes from the machine's own namespace.
    let name = to.name();
    let moved = std::process::Command::new("ip")
        .args(["link", "set", card, "netns", name])
        .status();
    assert!(moved.unwrap().success());
    let script = format!(
        "ip link set {card} up
         ip addr add {ipv4}/24 dev {card}
         ip addr add {ipv6}/64 dev {card} nodad"
    );
    to.output("sh", &["-ec", &script]).unwrap();
}

/// The mode in which a guard attached to a card, and the line that says why not in another.
fn mode(guard: &Guard, lab: &Lab, card: &str) -> (String, Option<String>) {
    let status = guard.status(lab).unwrap();
    let interfaces = status["interfaces"].as_array().unwrap();
    let found = interfaces.iter().find(|it| it["name"] == card).unwrap();
    let log = guard.log().unwrap();
    let line = log.lines().find(|line| line.contains("generic mode"));
    let mode = found["mode"].as_str().unwrap().to_owned();
    println!("{card}: {mode}: {}", line.unwrap_or("attached"));
    (mode, line.map(str::to_owned))
}

#[test]
fn virtio_net_runs_native_or_else_generic_with_the_reason() {
    let Ok(cards) = std::env::var(CARDS) else {
        eprintln!("skipped: {CARDS} names no cards of a virtual machine");
        return;
    };
    let cards: Vec<_> = cards.split(' ').collect();
    let [ours, peers, ..] = cards[..] else {
        panic!("{cards:?}");
    };
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    give(ours, lab.server(), "198.18.6.1", "2001:db8:0:6::1");
    give(peers, lab.client(), "198.18.6.2", "2001:db8:0:6::2");
    let _nginx = Nginx::start(&lab).unwrap();
    let targets: [SocketAddr; 2] = ["198.18.6.1:80", "[2001:db8:0:6::1]:80"].map(|target| {
        let target = target.parse().unwrap();
        fetch(lab.client(), None, target, "/").unwrap();
        target
    });

    // A frame must fit into a page for native XDP (`virtnet_xdp_set`).
    for (mtu, expected) in [("1500", "native"), ("9000", "generic")] {
        lab.server()
            .output("ip", &["link", "set", ours, "mtu", mtu])
            .unwrap();
        let guard = Guard::start(&lab, &["--iface", ours, "--mode", "protect"]).unwrap();
        let (mode, why) = mode(&guard, &lab, ours);
        assert_eq!(mode, expected, "MTU {mtu}: {}", guard.log().unwrap());
        match (mode.as_str(), why) {
            ("native", None) => {}
            ("generic", Some(line)) => {
                assert!(
                    line.contains("os error 22") && line.contains("MTU"),
                    "{line}"
                );
            }
            other => panic!("{other:?}"),
        }
        for target in targets {
            for _ in 0..PAGES {
                let page = fetch(lab.client(), None, target, "/").unwrap();
                assert_eq!(page, PAGE.as_bytes());
            }
        }
        // The engine `kernel` may count the data behind an ACK as well.
        assert!(validated(&guard, &lab) >= 2 * PAGES, "{mode}");
        assert!(guard.stop_at_once().unwrap().success());
    }

    let Some(offloading) = cards.get(2) else {
        println!("no card whose receive offloads stay on: only root's machine has one");
        return;
    };
    give(offloading, lab.server(), "198.18.7.1", "2001:db8:0:7::1");
    let guard = Guard::start(&lab, &["--iface", offloading]).unwrap();
    let (mode, why) = mode(&guard, &lab, offloading);
    let why = why.unwrap_or_default();
    assert_eq!(mode, "generic", "{}", guard.log().unwrap());
    assert!(
        why.contains("os error 95") && why.contains("offloads"),
        "{why}"
    );
    assert!(guard.stop_at_once().unwrap().success());
}
