//! Over a wire that loses, delays, doubles and reorders, every connection that
//! works without a guard works with it. Needs root; without it the tests say so
//! and pass, except where `CI=true`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

mod common;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher as _};
use std::io::{Error, Read as _, Result, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use xtask::lab::{Guard, Lab, Nginx, Plan, SERVER_IPV4, SERVER_IPV6, Trick, Wire};

/// How long one connection may take, retransmissions included.
const PATIENCE: Duration = Duration::from_secs(45);
/// Failed connections after which no more are tried.
const ENOUGH: usize = 10;
/// Connections at a time.
const THREADS: usize = 48;
/// The port of the service that speaks first.
const GREETER: u16 = 25;
const GREETING: &[u8] = b"220 the server speaks first\r\n";

/// What crosses the wire, both ways: 64 KiB, no two segments alike.
static DATA: LazyLock<Vec<u8>> = LazyLock::new(|| {
    (0..8192_u64)
        .flat_map(|i| (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes())
        .collect()
});

fn hash(bytes: &[u8]) -> [u8; 8] {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish().to_be_bytes()
}

/// Greets, takes what the client sends, and answers with its hash.
fn start_greeter(lab: &Lab) {
    // Of both families.
    let listener = lab.server().run(|| TcpListener::bind(("::", GREETER)));
    let listener = listener.unwrap().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || greet(client));
        }
    });
}

fn greet(mut client: TcpStream) -> Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    client.write_all(GREETING)?;
    let mut taken = Vec::new();
    client.read_to_end(&mut taken)?;
    client.write_all(&hash(&taken))
}

fn connect(target: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&target, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A page of nginx, asked for in two segments.
fn download(target: SocketAddr) -> Result<()> {
    let mut stream = connect(target)?;
    stream.write_all(b"GET /data HTTP/1.0\r\n")?;
    stream.write_all(b"Host: lab\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    match end {
        Some(end) if hash(&answer[end + 4..]) == hash(&DATA) => Ok(()),
        _ => Err(Error::other(format!("{} other bytes", answer.len()))),
    }
}

/// Data to a service that speaks first, sent without waiting for that, as ssh
/// sends its version.
fn upload(target: SocketAddr) -> Result<()> {
    let mut stream = connect(target)?;
    stream.write_all(&DATA)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    if answer == [GREETING, &hash(&DATA)].concat() {
        return Ok(());
    }
    Err(Error::other(format!("{} other bytes", answer.len())))
}

/// What became of connections.
#[derive(Debug, Default)]
struct Tally {
    tried: usize,
    failed: BTreeMap<String, usize>,
}

/// `count` connections to both services, over both families.
fn connections(lab: &Lab, count: usize) -> Tally {
    let next = AtomicUsize::new(0);
    let failed: Mutex<BTreeMap<String, usize>> = Mutex::default();
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count || failed.lock().unwrap().values().sum::<usize>() >= ENOUGH {
                return;
            }
            let result = match number % 4 {
                0 => download((SERVER_IPV4, 80).into()),
                1 => download((SERVER_IPV6, 80).into()),
                2 => upload((SERVER_IPV4, GREETER).into()),
                _ => upload((SERVER_IPV6, GREETER).into()),
            };
            if let Err(error) = result {
                let kind = ["IPv4 page", "IPv6 page", "IPv4 data", "IPv6 data"][number % 4];
                let what = format!("{kind}: {error}");
                *failed.lock().unwrap().entry(what).or_default() += 1;
            }
        }
    };
    let all = lab.client().run(|| {
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(work);
            }
        });
    });
    all.unwrap();
    Tally {
        tried: count,
        failed: failed.into_inner().unwrap(),
    }
}

fn counter(guard: &Guard, lab: &Lab, port: u16, name: &str) -> u64 {
    guard.service(lab, port).unwrap()["counters"][name]
        .as_u64()
        .unwrap()
}

fn counters(guard: &Guard, lab: &Lab, name: &str) -> u64 {
    counter(guard, lab, 80, name) + counter(guard, lab, GREETER, name)
}

/// The same connections over the same wire without a guard and with one that
/// answers every SYN: none may fail.
fn no_worse_with_a_guard(plan: &Plan, count: usize) {
    let Some(lab) = Lab::with_wire_for_test().unwrap() else {
        return;
    };
    let _nginx = Nginx::start(&lab).unwrap();
    std::fs::write(lab.path("nginx-80/www/data"), &*DATA).unwrap();
    start_greeter(&lab);
    println!("{plan:?}");
    for guarded in [false, true] {
        let guard = guarded.then(|| Guard::start(&lab, &["--mode", "protect"]).unwrap());
        let wire = Wire::start(&lab, plan).unwrap();
        let begun = Instant::now();
        let tally = connections(&lab, count);
        let took = begun.elapsed();
        let report = wire.stop().unwrap();
        println!(
            "guard: {guarded}, {} tried, {:?} failed, in {took:?}, {report:?}",
            tally.tried, tally.failed
        );
        assert!(tally.failed.is_empty(), "guard: {guarded}: {tally:?}");
        assert_eq!(report.lost > 0, plan.loss > 0.0);
        assert_eq!(report.held_back > 0, plan.reordering > 0.0);
        if plan.trick.is_some() {
            // Some ACKs are late on a loaded machine.
            assert!(report.tricked >= count as u64 / 2, "{report:?}");
        }
        if let Some(guard) = guard {
            let validated = counters(&guard, &lab, "cookies_validated");
            println!(
                "{validated} cookies validated of {}, {} refused",
                counters(&guard, &lab, "cookies_sent"),
                counters(&guard, &lab, "cookies_failed")
            );
            // A SYN into TIME_WAIT of the round before is the stack's.
            assert!(validated >= tally.tried as u64 * 8 / 10, "{validated}");
            assert!(guard.stop_at_once().unwrap().success());
        }
    }
}

const DELAY: Plan = Plan {
    seed: 1,
    to_server: Duration::from_millis(50),
    to_client: Duration::from_millis(50),
    loss: 0.0,
    reordering: 0.0,
    held_back: Duration::ZERO,
    doubled: false,
    trick: None,
};

#[test]
fn one_percent_loss_and_100_ms_delay() {
    let plan = Plan {
        loss: 0.01,
        ..DELAY
    };
    no_worse_with_a_guard(&plan, 400);
}

#[test]
fn everything_twice() {
    let plan = Plan {
        doubled: true,
        ..Plan::default()
    };
    no_worse_with_a_guard(&plan, 400);
}

#[test]
fn everything_twice_100_ms_late_all_on_one_way() {
    let plan = Plan {
        doubled: true,
        to_server: Duration::from_millis(100),
        ..Plan::default()
    };
    no_worse_with_a_guard(&plan, 200);
}

#[test]
fn one_frame_in_ten_is_overtaken() {
    let plan = Plan {
        reordering: 0.1,
        held_back: Duration::from_millis(15),
        ..DELAY
    };
    no_worse_with_a_guard(&plan, 400);
}

fn trick(trick: Trick) {
    let plan = Plan {
        trick: Some(trick),
        ..Plan::default()
    };
    no_worse_with_a_guard(&plan, 200);
}

#[test]
fn lost_syn_acks() {
    trick(Trick::LoseSynAck);
}

#[test]
fn lost_acks() {
    trick(Trick::LoseAck);
}

#[test]
fn data_overtakes_its_handshake() {
    trick(Trick::DataOvertakesAck);
}

#[test]
fn later_data_overtakes_its_handshake() {
    trick(Trick::LaterDataOvertakesAck);
}

#[test]
fn who_only_listens_and_lost_its_ack_is_served_once_it_sends() {
    let Some(lab) = Lab::with_wire_for_test().unwrap() else {
        return;
    };
    start_greeter(&lab);
    let plan = Plan {
        trick: Some(Trick::LoseAck),
        ..Plan::default()
    };
    let _wire = Wire::start(&lab, &plan).unwrap();
    for guarded in [false, true] {
        let guard = guarded.then(|| Guard::start(&lab, &["--mode", "protect"]).unwrap());
        for target in [SERVER_IPV4.into(), SERVER_IPV6.into()] {
            let target = SocketAddr::new(target, GREETER);
            let mut stream = lab.client().run(|| connect(target)).unwrap().unwrap();
            let mut greeting = [0; GREETING.len()];
            stream
                .set_read_timeout(Some(Duration::from_secs(3)))
                .unwrap();
            let greeted = stream.read_exact(&mut greeting).is_ok();
            println!("guard: {guarded}, {target}: greeted before it sends: {greeted}");
            // The kernel sends its SYN-ACK again; a SYN cookie is sent once.
            assert!(greeted || guarded);
            stream.write_all(&DATA).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            let begin: &[u8] = if greeted { b"" } else { GREETING };
            assert_eq!(answer, [begin, &hash(&DATA)].concat());
        }
        if let Some(guard) = guard {
            assert_eq!(counter(&guard, &lab, GREETER, "cookies_validated"), 2);
            assert!(guard.stop_at_once().unwrap().success());
        }
    }
}

#[test]
fn loss_reordering_and_everything_twice_at_once() {
    let plan = Plan {
        loss: 0.05,
        reordering: 0.1,
        held_back: Duration::from_millis(15),
        doubled: true,
        to_server: Duration::from_millis(20),
        to_client: Duration::from_millis(20),
        ..Plan::default()
    };
    no_worse_with_a_guard(&plan, 200);
}
