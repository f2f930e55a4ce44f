//! Listeners that come, go and change behind a guard that answers every SYN:
//! clients see what they would see without it. Needs root; without it the tests
//! say so and pass, except where `CI=true`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

mod common;

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::{REQUEST, SOON, settle, spoofed, syns_sent_again, verdict, wait_until};
use socket2::{Domain, Socket, Type};
use xtask::lab::{Guard, HandMade, Lab, SERVER_IPV4, SERVER_IPV6, TcpOptions};

const PORT: u16 = 8080;
/// How long one connection may take.
const PATIENCE: Duration = Duration::from_secs(15);
const PROTECT: [&str; 2] = ["--mode", "protect"];

/// How to listen.
#[derive(Clone, Copy)]
struct How<'a> {
    address: &'a str,
    backlog: i32,
    reuse_port: bool,
    v6_only: bool,
}

impl Default for How<'_> {
    fn default() -> Self {
        Self {
            address: "[::]:8080",
            backlog: 128,
            reuse_port: false,
            v6_only: false,
        }
    }
}

fn listen(lab: &Lab, how: &How<'_>) -> Socket {
    let address: SocketAddr = how.address.parse().unwrap();
    let socket = lab.server().run(|| {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(how.reuse_port)?;
        if address.is_ipv6() {
            socket.set_only_v6(how.v6_only)?;
        }
        socket.bind(&address.into())?;
        socket.listen(how.backlog)?;
        Ok::<_, std::io::Error>(socket)
    });
    socket.unwrap().unwrap()
}

/// A server that answers a request with its name; dropping it ends it and
/// closes its listener.
struct Server {
    stop: Arc<AtomicBool>,
    accepts: Option<JoinHandle<()>>,
}

impl Server {
    fn start(listener: Socket, name: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        listener
            .set_read_timeout(Some(Duration::from_millis(5)))
            .unwrap();
        let accepts = std::thread::spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                if let Ok((client, _)) = listener.accept() {
                    std::thread::spawn(move || serve(client.into(), name));
                }
            }
        });
        Self {
            stop,
            accepts: Some(accepts),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let _ = self.accepts.take().unwrap().join();
    }
}

fn serve(mut client: TcpStream, name: &str) -> std::io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    let mut request = [0; REQUEST.len()];
    client.read_exact(&mut request)?;
    client.write_all(name.as_bytes())
}

/// Asks a server for its name.
fn ask(lab: &Lab, target: SocketAddr) -> std::io::Result<String> {
    let answer = lab.client().run(|| {
        let mut stream = TcpStream::connect_timeout(&target, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(REQUEST)?;
        let mut name = String::new();
        stream.read_to_string(&mut name)?;
        Ok(name)
    });
    answer.unwrap()
}

fn targets() -> [SocketAddr; 2] {
    [(SERVER_IPV4, PORT).into(), (SERVER_IPV6, PORT).into()]
}

/// How often each name answered, of so many clients of either family; none may
/// fail.
fn names(lab: &Lab, what: &str, count: usize) -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    let mut failed = Vec::new();
    for target in targets() {
        for _ in 0..count {
            match ask(lab, target) {
                Ok(name) => *names.entry(name).or_default() += 1,
                Err(error) => failed.push(format!("{target}: {error}")),
            }
        }
    }
    println!(
        "{what}: {} tried, {} failed, {names:?}",
        2 * count,
        failed.len()
    );
    assert!(failed.is_empty(), "{what}: {failed:?}");
    names
}

/// A counter of the service; 0 while it is not guarded.
fn counter(guard: &Guard, lab: &Lab, name: &str) -> u64 {
    guard
        .service(lab, PORT)
        .map_or(0, |service| service["counters"][name].as_u64().unwrap())
}

#[test]
fn a_handshake_with_a_listener_of_now_is_the_kernels_to_finish() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    // Twice: known to the guard before, and the port's first.
    let guards: [&[&str]; 2] = [&["--mode", "protect", "--ports", "8080"], &PROTECT];
    for arguments in guards {
        let guard = Guard::start(&lab, arguments).unwrap();
        let mut hand_made = HandMade::new(&lab).unwrap();
        for target in targets() {
            let _server = Server::start(listen(&lab, &How::default()), "new");
            // The guard has not looked yet.
            let mut flows: Vec<_> = (0..20)
                .map(|index| {
                    let source = (spoofed(target.is_ipv6(), index), 10_000).into();
                    hand_made.syn(source, target, TcpOptions::FULL).unwrap()
                })
                .collect();
            for flow in &mut flows {
                assert!(hand_made.syn_ack(flow, SOON).unwrap());
            }
            wait_until("it protects", SOON, || {
                guard
                    .service(&lab, PORT)
                    .is_ok_and(|service| service["backlog"] == 128)
            });
            settle(&mut hand_made);
            let cookies = counter(&guard, &lab, "cookies_sent");
            let mut failed = 0;
            for (other, flow) in (1000..).zip(&mut flows) {
                let first = flow.syn_ack.clone().unwrap();
                let other = (spoofed(target.is_ipv6(), other), 10_000).into();
                hand_made.syn(other, target, TcpOptions::FULL).unwrap();
                hand_made.resend_syn(flow).unwrap();
                assert!(hand_made.syn_ack(flow, SOON).unwrap());
                failed += usize::from(flow.syn_ack.as_ref().unwrap().seq != first.seq);
            }
            println!("{target}: {} tried, {failed} failed", flows.len());
            assert_eq!(failed, 0, "{target} {arguments:?}");
            assert!(counter(&guard, &lab, "cookies_sent") >= cookies + 20);
        }
        assert!(guard.stop_at_once().unwrap().success());
    }
}

#[test]
fn a_restart_costs_nobody_more_than_without_a_guard() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let mut server = Some(Server::start(listen(&lab, &How::default()), "0"));
    let guard = Guard::start(&lab, &PROTECT).unwrap();
    names(&lab, "before", 10);
    for gap in [0, 0, 0, 3, 30, 300, 1500].map(Duration::from_millis) {
        server.take();
        let (closed, before) = (Instant::now(), syns_sent_again(&lab));
        while closed.elapsed() < gap {
            for target in targets() {
                let begun = closed.elapsed();
                let kind = ask(&lab, target).unwrap_err().kind();
                assert_eq!(kind, ErrorKind::ConnectionRefused, "{target}, {begun:?}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // Each SYN was answered: after a second it would have been sent again.
        assert_eq!(syns_sent_again(&lab), before, "in a gap of {gap:?}");
        server = Some(Server::start(listen(&lab, &How::default()), "new"));
        names(&lab, &format!("after a gap of {gap:?}"), 10);
    }
    wait_until("it answers again", SOON, || {
        names(&lab, "later", 5);
        counter(&guard, &lab, "cookies_validated") >= 10
    });
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn a_port_is_refused_as_soon_as_its_listener_is_gone_and_answered_as_soon_as_it_is_back() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let mut listener = Some(listen(&lab, &How::default()));
    let guard = Guard::start(&lab, &PROTECT).unwrap();
    let mut hand_made = HandMade::new(&lab).unwrap();
    let mut sources = 0..;
    // What comes back for a SYN: whether it is a SYN-ACK.
    let mut is_answered = |target: SocketAddr| {
        let source = spoofed(target.is_ipv6(), sources.next().unwrap());
        let source = (source, 10_000).into();
        let flow = hand_made.syn(source, target, TcpOptions::FULL).unwrap();
        let answer = hand_made.receive(&flow, SOON).unwrap().unwrap();
        assert_ne!(answer.flags.syn, answer.flags.rst, "{answer:?}");
        answer.flags.syn
    };
    let cookies = counter(&guard, &lab, "cookies_sent");
    let (mut gone, mut back) = (0, 0);
    const ROUNDS: usize = 20;
    for _ in 0..ROUNDS {
        for target in targets() {
            assert!(is_answered(target), "before");
            listener.take();
            gone += usize::from(is_answered(target));
            listener = Some(listen(&lab, &How::default()));
            back += usize::from(!is_answered(target));
            // The stack has answered that one; the guard's next look is at most 10 ms away.
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    let cookies = counter(&guard, &lab, "cookies_sent") - cookies;
    let tried = 2 * ROUNDS;
    println!(
        "{tried} restarts, {cookies} cookies: {gone} answered without a listener, {back} refused with one"
    );
    assert_eq!((gone, back), (0, 0));
    assert!(cookies >= 10, "the guard took no part");
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn four_listeners_of_one_port_all_get_connections() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let first = Server::start(listen(&lab, &How::default()), "first");
    let guard = Guard::start(&lab, &PROTECT).unwrap();
    names(&lab, "one listener", 10);
    drop(first);
    let shared = How {
        reuse_port: true,
        ..How::default()
    };
    let mut servers: Vec<_> = ["a", "b", "c", "d"]
        .map(|name| Server::start(listen(&lab, &shared), name))
        .into();
    let new = names(&lab, "just moved to four", 100);
    assert_eq!(new.len(), 4, "{new:?}");
    wait_until("the backlogs are added up", SOON, || {
        guard
            .service(&lab, PORT)
            .is_ok_and(|service| service["backlog"] == 4 * 128)
    });
    let before = counter(&guard, &lab, "cookies_validated");
    let four = names(&lab, "four", 100);
    assert_eq!(four.len(), 4, "{four:?}");
    assert!(counter(&guard, &lab, "cookies_validated") >= before + 150);
    drop(servers.remove(1));
    let three = names(&lab, "one left", 100);
    assert!(three.len() == 3 && !three.contains_key("b"), "{three:?}");
    servers.push(Server::start(listen(&lab, &shared), "e"));
    let again = names(&lab, "one came", 100);
    assert_eq!(again.len(), 4, "{again:?}");
    assert!(guard.stop_at_once().unwrap().success());
}

/// A client that connects, asks and waits, on a thread of its own.
fn asks(lab: &Lab, target: SocketAddr) -> JoinHandle<anyhow::Result<String>> {
    lab.client().start(move || {
        let mut stream = TcpStream::connect_timeout(&target, 2 * PATIENCE)?;
        stream.set_read_timeout(Some(2 * PATIENCE))?;
        stream.write_all(REQUEST)?;
        let mut name = String::new();
        stream.read_to_string(&mut name)?;
        Ok(name)
    })
}

#[test]
fn a_full_accept_queue_makes_clients_wait() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let small = How {
        backlog: 3,
        ..How::default()
    };
    for guarded in [false, true] {
        for target in targets() {
            let listener = listen(&lab, &small);
            let guard = guarded.then(|| Guard::start(&lab, &PROTECT).unwrap());
            // Nobody accepts: four get into the queue, the others find it full,
            // some before the guard can know.
            let mut clients: Vec<_> = (0..8).map(|_| asks(&lab, target)).collect();
            for _ in 0..22 {
                std::thread::sleep(Duration::from_millis(20));
                clients.push(asks(&lab, target));
            }
            std::thread::sleep(Duration::from_millis(1500));
            if let Some(guard) = &guard {
                wait_until("it sees that the queue is full", SOON, || {
                    verdict(guard, &lab, "accept_queue_full") >= 10
                });
            }
            let early = clients.iter().filter(|client| client.is_finished()).count();
            assert_eq!(early, 0, "nobody accepted them");
            let begun = Instant::now();
            let server = Server::start(listener, "at last");
            let tried = clients.len();
            let answers: Vec<_> = clients
                .into_iter()
                .map(|client| client.join().unwrap())
                .collect();
            let failed: Vec<_> = answers
                .iter()
                .filter(|answer| answer.as_ref().ok().is_none_or(|name| name != "at last"))
                .collect();
            println!(
                "guard: {guarded}, {target}: {tried} tried, {} failed, {:?} after there was room",
                failed.len(),
                begun.elapsed()
            );
            assert!(failed.is_empty(), "guard: {guarded}: {failed:?}");
            drop(server);
            if let Some(guard) = guard {
                assert!(guard.stop_at_once().unwrap().success());
            }
        }
    }
}

#[test]
fn one_full_queue_of_four_lets_no_flood_in() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let shared = How {
        reuse_port: true,
        ..How::default()
    };
    // Of one that accepts nothing the queue is full after two connections.
    let stuck = listen(
        &lab,
        &How {
            backlog: 1,
            ..shared
        },
    );
    let _fill: Vec<_> = (0..2)
        .map(|_| {
            let connected = lab.client().run(|| TcpStream::connect((SERVER_IPV4, PORT)));
            connected.unwrap().unwrap()
        })
        .collect();
    let _servers = ["b", "c", "d"].map(|name| Server::start(listen(&lab, &shared), name));
    let guard = Guard::start(&lab, &PROTECT).unwrap();
    let mut hand_made = HandMade::new(&lab).unwrap();
    const SYNS: u16 = 600;
    for index in 0..SYNS {
        let source = (spoofed(false, index), 10_000).into();
        let service = (SERVER_IPV4, PORT).into();
        hand_made.syn(source, service, TcpOptions::FULL).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    wait_until("all were seen", SOON, || {
        counter(&guard, &lab, "syns") >= u64::from(SYNS)
    });
    let (sent, full) = (
        counter(&guard, &lab, "cookies_sent"),
        verdict(&guard, &lab, "accept_queue_full"),
    );
    println!("{SYNS} SYNs: {sent} cookies, {full} passed for a full queue");
    // Now and then one that the full listener would get, which drops it; with
    // the kernel's cookies each of them, a quarter.
    assert!(sent >= u64::from(SYNS) / 2, "{sent}");
    let half_open = common::half_open_of_ss(&lab).len();
    assert!(half_open < 10, "{half_open}");
    drop(stuck);
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn a_listener_of_one_address_is_no_listener_of_another() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let script = "ip address add 198.18.0.3/24 dev sg-server &&
        ip address add 2001:db8:0:1::3/64 dev sg-server nodad";
    lab.server().output("sh", &["-c", script]).unwrap();
    let pairs = [
        ["198.18.0.1:8080", "198.18.0.3:8080"],
        ["[2001:db8:0:1::1]:8080", "[2001:db8:0:1::3]:8080"],
    ];
    for [own, other] in pairs {
        let how = How {
            address: own,
            ..How::default()
        };
        let server = Server::start(listen(&lab, &how), "own");
        let guard = Guard::start(&lab, &PROTECT).unwrap();
        for _ in 0..10 {
            assert_eq!(ask(&lab, own.parse().unwrap()).unwrap(), "own");
            let refused = ask(&lab, other.parse().unwrap()).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        }
        assert_eq!(counter(&guard, &lab, "cookies_validated"), 10);
        assert_eq!(verdict(&guard, &lab, "no_listener"), 10);
        // Another server, on the other address: each gets its own.
        let how = How {
            address: other,
            ..How::default()
        };
        let second = Server::start(listen(&lab, &how), "other");
        for _ in 0..10 {
            assert_eq!(ask(&lab, own.parse().unwrap()).unwrap(), "own");
            assert_eq!(ask(&lab, other.parse().unwrap()).unwrap(), "other");
        }
        println!("{own}: 30 tried, 0 failed");
        drop((server, second));
        assert!(guard.stop_at_once().unwrap().success());
    }
}

#[test]
fn a_wildcard_of_ipv6_serves_ipv4_and_one_of_ipv6_only_does_not() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let server = Server::start(listen(&lab, &How::default()), "both");
    let guard = Guard::start(&lab, &PROTECT).unwrap();
    names(&lab, "an IPv6 socket for both", 50);
    assert!(counter(&guard, &lab, "cookies_validated") >= 95);
    drop(server);
    let only = How {
        v6_only: true,
        ..How::default()
    };
    let server = Server::start(listen(&lab, &only), "six");
    let [ipv4, ipv6] = targets();
    // At once, when the guard still knows the other listener, and later.
    for _ in 0..2 {
        assert_eq!(ask(&lab, ipv6).unwrap(), "six");
        let refused = ask(&lab, ipv4).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        std::thread::sleep(Duration::from_millis(1500));
    }
    let refused = ask(&lab, ipv4).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    // An IPv4 socket beside it: the kernel takes the one that fits better.
    let four = How {
        address: "0.0.0.0:8080",
        ..How::default()
    };
    let other = Server::start(listen(&lab, &four), "four");
    let both = names(&lab, "two sockets", 20);
    assert_eq!(
        both,
        BTreeMap::from([("four".into(), 20), ("six".into(), 20)])
    );
    drop((server, other));
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn another_backlog_is_followed() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let listener = listen(&lab, &How::default());
    let again = listener.try_clone().unwrap();
    let _server = Server::start(listener, "it");
    let guard = Guard::start(&lab, &["--mode", "auto"]).unwrap();
    for backlog in [128, 1000, 10, 600] {
        again.listen(backlog).unwrap();
        wait_until("the backlog is followed", SOON, || {
            guard.service(&lab, PORT).unwrap()["backlog"] == backlog
        });
        let service = guard.service(&lab, PORT).unwrap();
        assert_eq!(service["limit"], (backlog / 2).max(16), "{service}");
        names(&lab, &format!("a backlog of {backlog}"), 10);
    }
    assert!(guard.stop_at_once().unwrap().success());
    // The same while it protects.
    let guard = Guard::start(&lab, &PROTECT).unwrap();
    for backlog in [5, 500] {
        again.listen(backlog).unwrap();
        names(&lab, &format!("protected, a backlog of {backlog}"), 10);
        wait_until("the backlog is followed", SOON, || {
            guard.service(&lab, PORT).unwrap()["backlog"] == backlog
        });
        names(&lab, &format!("protected, a backlog of {backlog}"), 10);
    }
    assert!(guard.stop_at_once().unwrap().success());
}
