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

use common::{REQUEST, SOON, settle, spoofed, verdict, wait_until};
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

fn counter(guard: &Guard, lab: &Lab, name: &str) -> u64 {
    guard.service(lab, PORT).unwrap()["counters"][name]
        .as_u64()
        .unwrap()
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
