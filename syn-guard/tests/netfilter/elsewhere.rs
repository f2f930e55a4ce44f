//! A port whose connections the firewall leads to another socket or host, or answers
//! itself: they are no business of the guard's.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use xtask::lab::{Lab, SERVER_IPV4, SERVER_IPV6};

use crate::clients::{all_get, all_get_by_cookies};
use crate::servers::{CONTAINER, Server, container};
use crate::{ENGINES, counter, protect, rules, stop};

pub const PORT: u16 = 8080;
pub const OTHER_PORT: u16 = 9090;

/// The port is led to the other one.
pub const REDIRECT: &str = "table inet sg_nat {
    chain prerouting {
        type nat hook prerouting priority dstnat;
        tcp dport 8080 redirect to :9090
    }
}";
/// A transparent proxy takes the port.
pub const TPROXY: &str = "table inet sg_proxy {
    chain prerouting {
        type filter hook prerouting priority mangle;
        tcp dport 8080 tproxy to :9090
    }
}";
/// SYNPROXY answers for the port; it needs `nf_conntrack_tcp_loose` 0.
pub const SYNPROXY: &str = "table inet sg_synproxy {
    chain before {
        type filter hook prerouting priority raw;
        tcp dport 8080 tcp flags & (fin|syn|rst|ack) == syn notrack
    }
    chain proxy {
        type filter hook input priority filter;
        tcp dport 8080 ct state invalid,untracked \
            synproxy mss 1460 wscale 7 timestamp sack-perm
        tcp dport 8080 ct state invalid drop
    }
}";

pub fn at(port: u16) -> [SocketAddr; 2] {
    [(SERVER_IPV4, port).into(), (SERVER_IPV6, port).into()]
}

/// All clients of the port get this page, without a guard and with one, whoever makes
/// cookies. `sends_none`: the guard sends no cookie as these engines make them.
fn all_get_the_same(lab: &Lab, what: &str, page: &str, sends_none: &[&str]) {
    all_get(lab, what, page, &at(PORT));
    for engine in ENGINES {
        let guard = protect(lab, engine);
        let what = format!("{what}, engine {engine}");
        all_get(lab, &what, page, &at(PORT));
        if sends_none.contains(&engine) {
            assert_eq!(counter(&guard, lab, PORT, "cookies_sent"), 0, "{what}");
        }
        stop(guard);
    }
}

#[test]
fn a_redirected_port_is_the_other_listeners() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let _first = Server::on_all(&lab, "first", PORT);
    let _second = Server::on_all(&lab, "second", OTHER_PORT);
    rules(&lab, REDIRECT);
    // First: a redirected connection's port in TIME_WAIT would be a connection here.
    for engine in ENGINES {
        let guard = protect(&lab, engine);
        let what = format!("the other port, engine {engine}");
        all_get_by_cookies(&lab, &guard, &what, "second", &at(OTHER_PORT));
        stop(guard);
    }
    all_get_the_same(&lab, "redirected", "second", &ENGINES);
}

#[test]
fn a_port_that_a_transparent_proxy_takes_is_the_proxys() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let _own = Server::on_all(&lab, "own", PORT);
    let _proxy = Server::transparent(&lab, "proxy", OTHER_PORT);
    rules(&lab, TPROXY);
    // A cookie of the kernel's is the proxy's to validate, as the stack's own would be.
    all_get_the_same(&lab, "by a transparent proxy", "proxy", &["auto"]);
}

#[test]
fn a_port_that_synproxy_answers_is_left_to_it() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let _own = Server::on_all(&lab, "own", PORT);
    rules(&lab, SYNPROXY);
    lab.server()
        .set_sysctl("net.netfilter.nf_conntrack_tcp_loose", "0")
        .unwrap();
    // The server's own SYN-ACK gets through where SYNPROXY lost its hold of it, which
    // happens without a guard too; cookies may go then.
    all_get_the_same(&lab, "behind SYNPROXY", "own", &[]);
}

#[test]
fn of_two_own_addresses_one_may_be_a_containers() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let script = "ip address add 198.18.0.3/24 dev sg-server
        ip address add 2001:db8:0:1::3/64 dev sg-server nodad";
    lab.server().output("sh", &["-ec", script]).unwrap();
    let _host = Server::on_all(&lab, "host", PORT);
    let _container = container(&lab, "container", PORT);
    let [ipv4, ipv6] = CONTAINER;
    rules(
        &lab,
        &format!(
            "table inet sg_nat {{
                chain prerouting {{
                    type nat hook prerouting priority dstnat;
                    ip daddr 198.18.0.3 tcp dport 8080 dnat ip to {ipv4}:8080
                    ip6 daddr 2001:db8:0:1::3 tcp dport 8080 dnat ip6 to [{ipv6}]:8080
                }}
            }}"
        ),
    );
    let theirs: [SocketAddr; 2] = [
        (Ipv4Addr::new(198, 18, 0, 3), PORT).into(),
        (Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 3), PORT).into(),
    ];
    all_get(&lab, "the host's address", "host", &at(PORT));
    all_get(&lab, "the container's address", "container", &theirs);
    for engine in ENGINES {
        let guard = protect(&lab, engine);
        let what = |of: &str| format!("the {of}'s address, engine {engine}");
        // The container's first: there is no cookie before the stack's answer.
        all_get(&lab, &what("container"), "container", &theirs);
        assert_eq!(counter(&guard, &lab, PORT, "cookies_sent"), 0);
        all_get_by_cookies(&lab, &guard, &what("host"), "host", &at(PORT));
        let sent = counter(&guard, &lab, PORT, "cookies_sent");
        all_get(&lab, &what("container"), "container", &theirs);
        assert_eq!(counter(&guard, &lab, PORT, "cookies_sent"), sent);
        stop(guard);
    }
}
