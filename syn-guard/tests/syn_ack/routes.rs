//! Clients whose route makes the SYN-ACK another one.

use std::time::Instant;

use xtask::lab::{CLIENT_IPV4, CLIENT_IPV6, Namespace};

use crate::frame::SynAck;
use crate::syns::{self, Syn};
use crate::twins::{Twins, listen};
use crate::{failure, guard, ip, lab};

/// Clients whom no route of their own leads to.
const GENERAL: u8 = 7;
/// Clients behind another device, with another MTU.
const DEVICE: u8 = 49;
/// What `ip route` says of groups of clients: the group of 10.GROUP.0.0/16
/// and of a /48, how many groups from there on, metrics.
const ROUTES: [(u8, u8, &str); 16] = [
    (20, 1, "advmss 1000"),
    (21, 1, "mtu 1400"),
    (22, 1, "window 20000"),
    (23, 1, "initrwnd 9"),
    (24, 1, "hoplimit 9"),
    (25, 1, "features ecn"),
    (26, 1, "mtu 9000"),
    (27, 1, "advmss 100"),
    (28, 1, "advmss 1300 window 300000 hoplimit 200 initrwnd 30"),
    (29, 1, "initrwnd 2 advmss 600"),
    (30, 1, "advmss 60000"),
    (31, 1, "mtu lock 1400"),
    // One in another, and one in that without any metrics.
    (32, 16, "advmss 1200"),
    (33, 1, "advmss 700"),
    (34, 1, ""),
    // No class of its own: the SYN-ACK is the same.
    (50, 1, "initcwnd 20"),
];

fn prefixes(group: u8, groups: u8) -> [String; 2] {
    let fewer = groups.ilog2();
    [
        format!("10.{group}.0.0/{}", 16 - fewer),
        format!("2001:db8:{:x}::/{}", 0x2000 + u16::from(group), 48 - fewer),
    ]
}

fn route(server: &Namespace, what: &str, group: u8, groups: u8, more: &str) {
    let [ipv4, ipv6] = prefixes(group, groups);
    let more = if more.is_empty() {
        String::new()
    } else {
        format!(" {more}")
    };
    ip(
        server,
        &format!("route {what} {ipv4} via {CLIENT_IPV4}{more}"),
    );
    ip(
        server,
        &format!("route {what} {ipv6} via {CLIENT_IPV6}{more}"),
    );
}

/// Another device of the server's by which frames reach the client as well.
fn make_device(server: &Namespace) {
    let [ipv4, ipv6] = prefixes(DEVICE, 1);
    let neighbour = "lladdr 02:00:00:00:00:02 dev sg-other nud permanent";
    for command in [
        "link add link sg-server name sg-other type macvlan mode bridge",
        "link set sg-other addrgenmode none mtu 1380 up",
        &format!("neigh add {CLIENT_IPV4} {neighbour}"),
        &format!("neigh add fe80::2 {neighbour}"),
        &format!("route add {ipv4} via {CLIENT_IPV4} dev sg-other onlink"),
        &format!("route add {ipv6} via fe80::2 dev sg-other"),
    ] {
        ip(server, command);
    }
}

/// Asks from a group; what differs, under a name.
fn ask(twins: &mut Twins<'_>, syns: &[Syn], group: u8, name: &str) -> (Vec<SynAck>, String) {
    twins.other_device = group == DEVICE;
    let outcome = twins.ask(syns, group);
    let said = failure(name, &outcome.differences);
    (outcome.kernel, said)
}

#[test]
fn the_guards_answer_is_the_listeners_own_by_every_route() {
    let Some(lab) = lab() else {
        return;
    };
    let begun = Instant::now();
    let server = lab.server();
    // So that a route that turns it on shows.
    server.set_sysctl("net.ipv4.tcp_ecn", "0").unwrap();
    let guard = guard(&lab);
    let mut twins = Twins::new(&lab, &guard);
    let mut syns = syns::systems();
    syns.extend(
        syns::odd_ones()
            .into_iter()
            .filter(|syn| syn.name.contains("ECN")),
    );
    let listeners = listen(&lab, &[]);
    let (general, mut failed) = ask(&mut twins, &syns, GENERAL, "no routes");
    make_device(server);
    for (group, groups, metrics) in ROUTES {
        route(server, "add", group, groups, metrics);
    }
    let (_, said) = ask(&mut twins, &syns, GENERAL, "the others");
    failed += &said;
    for (group, _, metrics) in ROUTES {
        let (kernel, said) = ask(&mut twins, &syns, group, metrics);
        failed += &said;
        let changes = !matches!(metrics, "" | "initcwnd 20");
        if (kernel != general) != changes {
            failed += &format!("{metrics}: it changes {}\n", !changes);
        }
    }
    for (group, name) in [
        (40, "the rest of the larger prefix"),
        (DEVICE, "another device"),
    ] {
        let (kernel, said) = ask(&mut twins, &syns, group, name);
        failed += &said;
        assert!(kernel != general, "{name}");
    }

    // Routes come, change and go.
    for (family, via) in [
        ("-4", CLIENT_IPV4.to_string()),
        ("-6", CLIENT_IPV6.to_string()),
    ] {
        let metrics = "advmss 1250 hoplimit 77";
        ip(
            server,
            &format!("{family} route replace default via {via} {metrics}"),
        );
    }
    route(server, "change", 20, 1, "advmss 900");
    for (group, name) in [
        (GENERAL, "a default route"),
        (20, "changed"),
        (34, "not changed"),
    ] {
        failed += &ask(&mut twins, &syns, group, name).1;
    }
    ip(server, "link del sg-other");
    for (family, via) in [
        ("-4", CLIENT_IPV4.to_string()),
        ("-6", CLIENT_IPV6.to_string()),
    ] {
        ip(server, &format!("{family} route replace default via {via}"));
    }
    for (group, groups, _) in ROUTES {
        route(server, "del", group, groups, "");
    }
    for group in [20, 32, DEVICE] {
        let (kernel, said) = ask(&mut twins, &syns, group, "all gone");
        failed += &said;
        assert!(kernel == general, "{group}");
    }
    println!(
        "{} answers compared over {} routes in {:?}",
        twins.compared,
        ROUTES.len() + 2,
        begun.elapsed()
    );
    drop(listeners);
    drop(twins);
    assert!(guard.stop_at_once().unwrap().success());
    assert!(failed.is_empty(), "\n{failed}");
}
