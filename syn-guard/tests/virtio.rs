//! A guard on virtio-net, the card of most virtual machines. Needs two such
//! cards that are joined: `cargo xtask test --kernel` has them and names them in
//! the environment; elsewhere the test says so and passes.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

mod common;

use std::net::SocketAddr;

use common::validated;
use xtask::lab::{Guard, Lab, Namespace, Nginx, PAGE, fetch};

/// Two names, with a space between them.
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

#[test]
fn virtio_net_runs_native_or_else_generic_with_the_reason() {
    let Ok(cards) = std::env::var(CARDS) else {
        eprintln!("skipped: {CARDS} names no two cards of a virtual machine");
        return;
    };
    let (ours, peers) = cards.split_once(' ').unwrap();
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
    for (mtu, mode) in [("1500", "native"), ("9000", "generic")] {
        lab.server()
            .output("ip", &["link", "set", ours, "mtu", mtu])
            .unwrap();
        let guard = Guard::start(&lab, &["--iface", ours, "--mode", "protect"]).unwrap();
        let status = guard.status(&lab).unwrap();
        let interfaces = status["interfaces"].as_array().unwrap();
        let card = interfaces
            .iter()
            .find(|interface| interface["name"] == ours)
            .unwrap();
        assert_eq!(card["mode"], mode, "MTU {mtu}: {}", guard.log().unwrap());
        let log = guard.log().unwrap();
        let line = log.lines().find(|line| line.contains("generic mode"));
        println!("MTU {mtu}: {}", line.unwrap_or("attached in native mode"));
        assert_eq!(line.is_some(), mode == "generic", "{log}");
        if let Some(line) = line {
            assert!(
                line.contains("os error 22") && line.contains("MTU"),
                "{line}"
            );
        }
        for target in targets {
            for _ in 0..PAGES {
                let page = fetch(lab.client(), None, target, "/").unwrap();
                assert_eq!(page, PAGE.as_bytes());
            }
        }
        assert_eq!(validated(&guard, &lab), 2 * PAGES, "{mode}");
        assert!(guard.stop_at_once().unwrap().success());
    }
}
