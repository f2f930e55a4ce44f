//! Floods of ACKs, and who gets in meanwhile.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use xtask::lab::{Flood, Guard, HonestClients, Lab, Nginx, NginxSetup, PAGE, SERVER_IPV4};

use crate::common::{SOON, came, mptcp_listener, of_the_stack, verdict, wait_until};
use crate::resets;

/// ACKs a second of the flood.
const RATE: u64 = 200_000;
/// Floods are stopped before.
const LONGEST: Duration = Duration::from_secs(100);
/// Packets that a flood has at least.
const MANY: u64 = 20_000;
/// Stray ACKs a second that the stack may answer.
const STRAYS: u64 = 500;

/// A connection to nginx, used or silent.
struct Open(TcpStream);

impl Open {
    fn to(lab: &Lab, target: SocketAddr) -> Self {
        let stream = lab.client().run(|| TcpStream::connect(target));
        let stream = stream.unwrap().unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        Self(stream)
    }

    fn ask(&mut self) -> std::io::Result<()> {
        self.0.write_all(b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n")?;
        let mut text = Vec::new();
        let mut part = [0; 4096];
        while !String::from_utf8_lossy(&text).contains(PAGE) {
            match self.0.read(&mut part)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                length => text.extend(&part[..length]),
            }
        }
        Ok(())
    }
}

#[test]
fn a_flood_of_acks_touches_no_connection() {
    touches_no_connection(None);
}

#[test]
fn a_flood_of_syns_and_acks_touches_no_connection() {
    // Soon a cookie went to some flow of nearly every cell of the filter.
    touches_no_connection(Some(20_000));
}

/// Packets that any reason decided about.
fn all_verdicts(guard: &Guard, lab: &Lab) -> u64 {
    let status = guard.status(lab).unwrap();
    let verdicts = status["verdicts"].as_array().unwrap().iter();
    verdicts.filter_map(|it| it["packets"].as_u64()).sum()
}

/// Floods with ACKs, and with so many SYNs a second as well.
fn touches_no_connection(syns: Option<u64>) {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    lab.separate_cores().unwrap();
    let setup = NginxSetup {
        keep_alive: true,
        ..NginxSetup::default()
    };
    for ipv6 in [false, true] {
        let nginx = Nginx::start_with(&lab, &setup).unwrap();
        let target = if ipv6 { nginx.ipv6() } else { nginx.ipv4() };
        let open = |_| Open::to(&lab, target);
        // Older than the guard.
        let mut talking: Vec<_> = (0..5).map(open).collect();
        let mut silent: Vec<_> = (0..5).map(open).collect();
        talking.iter_mut().for_each(|it| it.ask().unwrap());
        let strays = format!("limits.stray_rate={STRAYS}");
        let arguments = ["--mode", "protect", "--set", &strays];
        let guard = Guard::start(&lab, &arguments).unwrap();
        // Made with cookies.
        talking.extend((0..5).map(open));
        silent.extend((0..5).map(open));

        let syns = syns.map(|rate| {
            let flood = Flood::new(target)
                .rate(rate)
                .duration(LONGEST)
                .start(&lab)
                .unwrap();
            wait_until("cookies go out", 4 * SOON, || {
                verdict(&guard, &lab, "cookie_sent") > 2 * MANY
            });
            flood
        });
        let resets_before = resets(&lab);
        let (all_before, syns_before) = (all_verdicts(&guard, &lab), came(&guard, &lab));
        let begun = Instant::now();
        let flood = Flood::new(target)
            .acks()
            .rate(RATE)
            .duration(LONGEST)
            .start(&lab)
            .unwrap();
        wait_until("the flood runs", SOON, || flood.sent().unwrap() > RATE / 10);
        let clients = HonestClients {
            duration: Duration::from_secs(3),
            ..HonestClients::new(target)
        }
        .start(&lab);
        let mut asked = 0;
        while flood.elapsed() < Duration::from_secs(4) {
            for connection in &mut talking {
                connection.ask().unwrap();
                asked += 1;
            }
            std::thread::sleep(Duration::from_millis(300));
        }
        let report = clients.join().unwrap();
        // In the middle of it some speak that were silent since before the guard came.
        silent[..3].iter_mut().for_each(|it| it.ask().unwrap());
        wait_until("the flood is one", SOON, || {
            resets(&lab) - resets_before > STRAYS
                && verdict(&guard, &lab, "ack_flood") > MANY
                && (syns.is_none() || verdict(&guard, &lab, "no_cookie") > MANY)
        });
        assert!(flood.elapsed() < LONGEST, "the clients took longer");
        let sent = flood.stop().unwrap();
        let seconds = begun.elapsed().as_secs_f64();
        let syns = syns.map(|flood| flood.stop().unwrap());
        silent.iter_mut().for_each(|it| it.ask().unwrap());
        let resets = resets(&lab) - resets_before;
        let dropped = verdict(&guard, &lab, "ack_flood");
        let forged = verdict(&guard, &lab, "no_cookie");
        let (all_after, syns_after) = (all_verdicts(&guard, &lab), came(&guard, &lab));
        println!(
            "IPv6 {ipv6}: {sent} ACKs sent in {seconds:.1} s, {syns:?} SYNs: {dropped} dropped, {resets} RSTs, {forged} no_cookie; honest: {:.1} % of {}, p99 \
             {:?}; {asked} requests on {} connections",
            report.share() * 100.0,
            report.tried,
            report.p99,
            talking.len(),
        );
        assert!(report.share() >= 0.99, "{report:?}");
        // In each second of the clock, of which one more has begun, and on each
        // CPU that packets come to.
        let cpus = std::thread::available_parallelism().unwrap().get() as f64;
        let most = STRAYS as f64 * (seconds + 2.0) * cpus;
        assert!((resets as f64) < most, "{resets} RSTs");
        // Of those that came: others were lost in a full ring.
        let acks = (all_after - all_before) - (syns_after - syns_before);
        assert!(
            dropped + forged > acks / 2,
            "{dropped} and {forged} of {acks}"
        );
        let service = guard.service(&lab, 80).unwrap();
        assert_eq!(service["state"], "protecting");
        assert!(guard.stop_at_once().unwrap().success());
        nginx.stop().unwrap();
    }
}

/// Answers every request with the lab's page, and closes.
fn serve(listener: TcpListener) {
    let answer = |mut stream: TcpStream| {
        let mut request = Vec::new();
        let mut part = [0; 512];
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read(&mut part)? {
                0 => return Ok(()),
                length => request.extend(&part[..length]),
            }
        }
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{PAGE}",
            PAGE.len()
        )
    };
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that went away is its own affair.
            let _: std::io::Result<()> = answer(stream);
        }
    });
}

#[test]
fn what_the_stack_answers_itself_gets_in_during_a_flood_of_acks() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    lab.separate_cores().unwrap();
    // As where its queue is full: every SYN that it gets it answers with a cookie.
    lab.server()
        .set_sysctl("net.ipv4.tcp_syncookies", "2")
        .unwrap();
    let nginx = Nginx::start(&lab).unwrap();
    let mptcp = SocketAddr::new(SERVER_IPV4.into(), 8081);
    let mut targets = vec![nginx.ipv4(), nginx.ipv6()];
    match mptcp_listener(&lab, mptcp) {
        Some(listener) => {
            serve(listener);
            targets.insert(0, mptcp);
        }
        None => eprintln!("without MPTCP, which this kernel has not"),
    }
    let strays = format!("limits.stray_rate={STRAYS}");
    let guard = Guard::start(&lab, &["--mode", "protect", "--set", &strays]).unwrap();
    for target in targets {
        let reason = if target == mptcp {
            "unanswerable"
        } else {
            let prefix = match target {
                SocketAddr::V4(_) => "198.19.0.0/16",
                SocketAddr::V6(_) => "2001:db8:1000::/36",
            };
            lab.syn_guard_output(&["allow", "add", prefix]).unwrap();
            "allowed"
        };
        let before = of_the_stack(lab.server(), "netstat", "TcpExt: ", "SyncookiesRecv");
        let (passed, dropped) = (
            verdict(&guard, &lab, reason),
            verdict(&guard, &lab, "ack_flood"),
        );
        let flood = Flood::new(target)
            .acks()
            .rate(RATE)
            .duration(LONGEST)
            .start(&lab)
            .unwrap();
        wait_until("too many come", 2 * SOON, || {
            verdict(&guard, &lab, "ack_flood") > dropped + RATE / 10
        });
        let report = HonestClients::new(target).run(&lab).unwrap();
        let lasted = flood.elapsed();
        flood.stop().unwrap();
        assert!(lasted < LONGEST, "the clients took longer than the flood");
        let taken = of_the_stack(lab.server(), "netstat", "TcpExt: ", "SyncookiesRecv") - before;
        println!(
            "{target}: honest {:.1} % of {}, {taken} with cookies of the stack",
            report.share() * 100.0,
            report.tried
        );
        assert!(report.share() >= 0.99, "{target}: {report:?}");
        let tried = report.tried as u64;
        assert!(taken >= tried * 9 / 10, "{target}: {taken} of {tried}");
        let passed = verdict(&guard, &lab, reason) - passed;
        assert!(passed >= tried, "{target}: {passed} of {tried}");
    }
    assert!(guard.stop_at_once().unwrap().success());
}
