//! Clients that come again from the port they had, to a service that did not
//! protect then and does now: conntrack still knows their last connection, and
//! its SYN is the last that it saw.

use std::collections::BTreeMap;
use std::io::{Read as _, Result, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use xtask::lab::{
    CLIENT_IPV4, CLIENT_IPV6, Firewalld, Guard, Lab, Nginx, NginxSetup, PAGE, Private, Ufw,
};

use crate::common::{validated, wait_until};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n";
/// How long one connection may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Clients of a kind.
const COUNT: u16 = 20;
/// Until the client's own stack takes its port again: a second of TIME_WAIT,
/// and some. conntrack remembers a reset connection for 10 s.
const AWAY: Duration = Duration::from_secs(3);

/// How a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It closes first, and is in TIME_WAIT afterwards.
    Fin,
    /// It resets the connection.
    Rst,
}

/// Fetches the page from this address and port.
fn page(source: SocketAddr, target: SocketAddr, end: End) -> Result<bool> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&source.into())?;
    socket.connect_timeout(&target.into(), PATIENCE)?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(REQUEST)?;
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    while !answer.ends_with(PAGE.as_bytes()) {
        let length = stream.read(&mut part)?;
        if length == 0 {
            return Ok(false);
        }
        answer.extend_from_slice(&part[..length]);
    }
    match end {
        End::Fin => {
            stream.shutdown(std::net::Shutdown::Write)?;
            stream.read_to_end(&mut answer)?;
        }
        End::Rst => socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?,
    }
    Ok(true)
}

/// All clients of both kinds and families, at once; how often which of them got
/// no page, and why.
fn all(lab: &Lab, nginx: &Nginx) -> BTreeMap<String, usize> {
    let mut clients = Vec::new();
    let hosts: [(IpAddr, SocketAddr); 2] = [
        (CLIENT_IPV4.into(), nginx.ipv4()),
        (CLIENT_IPV6.into(), nginx.ipv6()),
    ];
    for (own, target) in hosts {
        for (end, first) in [(End::Fin, 33_000), (End::Rst, 34_000)] {
            for port in first..first + COUNT {
                let source = SocketAddr::new(own, port);
                let client = lab
                    .client()
                    .start(move || Ok(page(source, target, end).map_err(|error| error.kind())));
                clients.push((target, end, client));
            }
        }
    }
    let mut failed = BTreeMap::new();
    for (target, end, client) in clients {
        let result = client.join().unwrap().unwrap();
        if result != Ok(true) {
            *failed
                .entry(format!("{target} {end:?} {result:?}"))
                .or_default() += 1;
        }
    }
    failed
}

/// What `start` puts before the service lets all clients come again.
fn come_again<F>(what: &str, start: impl FnOnce(&Lab) -> Option<F>) {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    lab.client()
        .set_sysctl("net.ipv4.tcp_tw_reuse", "1")
        .unwrap();
    // The clients close first.
    let setup = NginxSetup {
        keep_alive: true,
        ..NginxSetup::default()
    };
    let nginx = Nginx::start_with(&lab, &setup).unwrap();
    let Some(_firewall) = start(&lab) else {
        return;
    };
    let guard = Guard::start(&lab, &["--mode", "observe"]).unwrap();
    let failed = all(&lab, &nginx);
    assert!(failed.is_empty(), "{what}, by the stack: {failed:#?}");
    lab.syn_guard_output(&["protect", "80", "on"]).unwrap();
    wait_until("it protects", PATIENCE, || {
        guard.service(&lab, 80).unwrap()["state"] == "protecting"
    });
    std::thread::sleep(AWAY);
    let failed = all(&lab, &nginx);
    let lost: usize = failed.values().sum();
    let cookies = validated(&guard, &lab);
    println!(
        "{what}: {lost} of {} failed when they came again, {cookies} with cookies",
        4 * COUNT
    );
    assert!(failed.is_empty(), "{what}, with cookies: {failed:#?}");
    assert!(cookies >= 4 * u64::from(COUNT), "{cookies}");
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn clients_come_again_to_a_host_without_a_firewall() {
    come_again("no firewall", |_| Some(()));
}

#[test]
fn clients_come_again_to_a_host_with_firewalld() {
    come_again("firewalld", |lab| Firewalld::for_test(lab, &[80]).unwrap());
}

#[test]
fn clients_come_again_to_a_host_with_ufw() {
    come_again("ufw", |lab| Ufw::for_test(lab, &[80]).unwrap());
}

#[test]
fn clients_come_again_to_a_host_with_a_stateful_ruleset() {
    come_again("nftables", |lab| {
        let private = Private::for_test(lab).unwrap()?;
        private.output("nft", &[RULES]).unwrap();
        Some(private)
    });
}

/// What administrators write by hand. Neighbour discovery is not tracked.
const RULES: &str = "
table inet lab {
    chain input {
        type filter hook input priority 0; policy drop;
        iif lo accept
        meta l4proto ipv6-icmp accept
        ct state established,related accept
        ct state invalid drop
        tcp dport 80 ct state new accept
    }
}";
