//! A firewall that lets in new connections and what belongs to one, and nothing else.

use std::net::SocketAddr;
use std::time::Duration;

use xtask::lab::{Flow, Guard, HandMade, Lab, Nginx, PAGE, TcpOptions};

use crate::clients::{COUNT, all_get, all_get_by_cookies};
use crate::common::{page, spoofed, wait_until};
use crate::{ENGINES, SOON, counter, protect, rules, stop};

pub const STATEFUL: &str = "table inet sg_filter {
    chain input {
        type filter hook input priority filter; policy drop;
        iif lo accept
        ct state established,related accept
        ct state invalid drop
        meta l4proto icmpv6 accept
        tcp dport { 80, 8080 } ct state new accept
    }
}";
/// What conntrack does with a connection whose SYN it did not see.
pub const LOOSE: &str = "net.netfilter.nf_conntrack_tcp_loose";

#[test]
fn cookies_make_connections_that_the_firewall_knows() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let both = [nginx.ipv4(), nginx.ipv6()];
    rules(&lab, STATEFUL);
    for loose in ["0", "1"] {
        lab.server().set_sysctl(LOOSE, loose).unwrap();
        all_get(&lab, "without a guard", PAGE, &both);
        for engine in ENGINES {
            let guard = protect(&lab, engine);
            let what = format!("loose {loose}, engine {engine}");
            all_get_by_cookies(&lab, &guard, &what, PAGE, &both);
            stop(guard);
        }
    }
}

/// How a client ends its connection.
#[derive(Clone, Copy, Debug)]
enum End {
    Fin,
    Rst,
}

/// A handshake from there, and the page.
fn connect(hand_made: &mut HandMade, source: SocketAddr, service: SocketAddr) -> Option<Flow> {
    hand_made
        .connect(source, service, TcpOptions::FULL, SOON)
        .unwrap()
}

/// Ends a connection before the server does.
fn close(hand_made: &mut HandMade, mut flow: Flow, how: End) {
    match how {
        End::Rst => hand_made.rst(&flow).unwrap(),
        End::Fin => {
            hand_made.fin(&mut flow).unwrap();
            let mut closed = false;
            while !closed {
                let segment = hand_made.receive(&flow, SOON).unwrap();
                closed = segment.unwrap().flags.fin;
            }
            flow.expected = flow.expected.wrapping_add(1);
            hand_made.ack(&flow).unwrap();
        }
    }
}

/// All clients connect from addresses and ports of their own, and close.
fn come_and_go(
    lab: &Lab,
    hand_made: &mut HandMade,
    sources: &[SocketAddr],
    nginx: &Nginx,
    how: End,
) {
    for source in sources {
        let flow = connect(hand_made, *source, of_family(nginx, *source)).unwrap();
        close(hand_made, flow, how);
    }
    let port = format!(":{}", sources[0].port());
    // Within some jiffies of a handshake its flow's packets are taken for the data behind
    // it.
    std::thread::sleep(Duration::from_millis(300));
    wait_until("no connection is left", SOON, || {
        let left = lab.server().output("ss", &["-Htan", "( sport = :80 )"]);
        !left.unwrap().contains(&port)
    });
}

fn of_family(nginx: &Nginx, source: SocketAddr) -> SocketAddr {
    if source.is_ipv6() {
        nginx.ipv6()
    } else {
        nginx.ipv4()
    }
}

/// Clients come from their ports again, first to a service that observed.
fn come_again(lab: &Lab, guard: &Guard, nginx: &Nginx, how: End, port: u16) -> Vec<SocketAddr> {
    let half = u16::try_from(COUNT / 2).unwrap();
    let sources: Vec<SocketAddr> = [false, true]
        .into_iter()
        .flat_map(|ipv6| (0..half).map(move |index| (spoofed(ipv6, index), port).into()))
        .collect();
    let mut hand_made = HandMade::new(lab).unwrap();
    lab.syn_guard_output(&["protect", "80", "off"]).unwrap();
    come_and_go(lab, &mut hand_made, &sources, nginx, how);
    lab.syn_guard_output(&["protect", "80", "on"]).unwrap();
    wait_until("it protects", SOON, || {
        guard.service(lab, 80).unwrap()["state"] == "protecting"
    });
    all_get(lab, "others", PAGE, &[nginx.ipv4(), nginx.ipv6()]);
    // After a connection that the firewall saw whole, and after one of a cookie.
    come_and_go(lab, &mut hand_made, &sources, nginx, how);
    let failed = sources.into_iter().filter(|source| {
        let flow = connect(&mut hand_made, *source, of_family(nginx, *source));
        flow.and_then(|mut flow| page(&mut hand_made, &mut flow))
            .is_none()
    });
    failed.collect()
}

#[test]
fn clients_that_come_again_from_the_same_port_get_in() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    rules(&lab, STATEFUL);
    // Others each time: what was left open is no part of it.
    let mut port = 10_000;
    for loose in ["0", "1"] {
        lab.server().set_sysctl(LOOSE, loose).unwrap();
        for engine in ENGINES {
            let guard = Guard::start(&lab, &["--mode", "auto", "--engine", engine]).unwrap();
            for how in [End::Fin, End::Rst] {
                port += 1;
                let before = counter(&guard, &lab, 80, "cookies_validated");
                let failed = come_again(&lab, &guard, &nginx, how, port);
                let what = format!("loose {loose}, engine {engine}, after {how:?}");
                println!("{what}: {COUNT} tried, {} failed", failed.len());
                assert!(failed.is_empty(), "{what}: {failed:?}");
                let made = counter(&guard, &lab, 80, "cookies_validated") - before;
                assert!(made >= 60, "{what}: {made} by cookies");
            }
            stop(guard);
        }
    }
}
