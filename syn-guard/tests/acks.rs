//! ACKs of no connection, forged ones and replayed ones. Needs root; without it
//! the tests say so and pass, except where `CI=true`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use common::{
    REQUEST, SOON, mptcp_listener, page, rejected, settle, spoofed, validated, verdict, wait_until,
};
use nix::sys::signal::Signal;
use xtask::lab::{
    Flood, Flow, Guard, HandMade, HonestClients, Lab, Nginx, NginxSetup, PAGE, SERVER_IPV4,
    SERVER_IPV6, TcpOptions, patience,
};

/// ACKs a second of the flood.
const RATE: u64 = 200_000;
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

/// A number of the server's stack, from a table of `/proc/net`.
fn of_the_stack(lab: &Lab, file: &str, table: &str, name: &str) -> u64 {
    let path = format!("/proc/net/{file}");
    let text = lab.server().output("cat", &[&path]).unwrap();
    let mut rows = text.lines().filter(|line| line.starts_with(table));
    let (names, values) = (rows.next().unwrap(), rows.next().unwrap());
    let at = names.split(' ').position(|it| it == name).unwrap();
    values.split(' ').nth(at).unwrap().parse().unwrap()
}

/// RSTs that the server's stack sent.
fn resets(lab: &Lab) -> u64 {
    of_the_stack(lab, "snmp", "Tcp: ", "OutRsts")
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
                .duration(Duration::from_secs(20))
                .start(&lab)
                .unwrap();
            std::thread::sleep(Duration::from_secs(3));
            flood
        });
        let resets_before = resets(&lab);
        let begun = Instant::now();
        let flood = Flood::new(target)
            .acks()
            .rate(RATE)
            .duration(Duration::from_secs(12))
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
        let rate = flood.sent().unwrap() as f64 / flood.elapsed().as_secs_f64();
        let sent = flood.stop().unwrap();
        let seconds = begun.elapsed().as_secs_f64();
        let syns = syns.map(|flood| flood.stop().unwrap());
        silent.iter_mut().for_each(|it| it.ask().unwrap());
        let resets = resets(&lab) - resets_before;
        let dropped = verdict(&guard, &lab, "ack_flood");
        let forged = verdict(&guard, &lab, "no_cookie");
        println!(
            "IPv6 {ipv6}: {rate:.0} ACK/s, {sent} sent in {seconds:.1} s, {syns:?} SYNs: \
             {dropped} dropped, {resets} RSTs, {forged} no_cookie; honest: {:.1} % of {}, p99 \
             {:?}; {asked} requests on {} connections",
            report.share() * 100.0,
            report.tried,
            report.p99,
            talking.len(),
        );
        assert!(
            rate > RATE as f64 * 0.5 / f64::from(patience()),
            "{rate:.0}/s"
        );
        assert!(report.share() >= 0.99, "{report:?}");
        // In each second of the clock, of which one more has begun, and on each
        // CPU that packets come to.
        let cpus = std::thread::available_parallelism().unwrap().get() as f64;
        let most = STRAYS as f64 * (seconds + 2.0) * cpus;
        assert!(resets > STRAYS && (resets as f64) < most, "{resets} RSTs");
        assert!(
            dropped + forged > sent / 2,
            "{dropped} and {forged} of {sent}"
        );
        if syns.is_some() {
            let sent = verdict(&guard, &lab, "cookie_sent");
            let least = 20_000 / u64::from(patience());
            assert!(
                sent > least && forged > least,
                "{sent} cookies, {forged} no_cookie"
            );
        }
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
        let before = of_the_stack(&lab, "netstat", "TcpExt: ", "SyncookiesRecv");
        let (passed, dropped) = (
            verdict(&guard, &lab, reason),
            verdict(&guard, &lab, "ack_flood"),
        );
        let flood = Flood::new(target)
            .acks()
            .rate(RATE)
            .duration(Duration::from_secs(12))
            .start(&lab)
            .unwrap();
        wait_until("too many come", SOON, || {
            verdict(&guard, &lab, "ack_flood") > dropped + RATE / 10
        });
        let report = HonestClients::new(target).run(&lab).unwrap();
        flood.stop().unwrap();
        let taken = of_the_stack(&lab, "netstat", "TcpExt: ", "SyncookiesRecv") - before;
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

#[test]
fn strays_are_reset_as_without_a_guard_until_they_are_too_many() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let file = lab.path("config.toml");
    let config = file.to_str().unwrap();
    std::fs::write(&file, "").unwrap();
    let arguments = ["--mode", "protect", "--config", config];
    let mut guard = Guard::start(&lab, &arguments).unwrap();
    let mut hand_made = HandMade::new(&lab).unwrap();
    // A client of a host that was started anew learns it at once.
    for target in [nginx.ipv4(), nginx.ipv6()] {
        let flow = Flow {
            source: (spoofed(target.is_ipv6(), 1), 10_000).into(),
            service: target,
            isn: 1000,
            next: 1001,
            expected: 5001,
            options: TcpOptions::NONE,
            syn_ack: None,
        };
        hand_made.ack(&flow).unwrap();
        let answer = hand_made.receive(&flow, SOON).unwrap().unwrap();
        assert!(answer.flags.rst && answer.seq == 5001, "{answer:?}");
    }
    drop(hand_made);
    assert_eq!(verdict(&guard, &lab, "stray_ack"), 2);

    let flood = |seconds: u64| {
        let before = lab.answers_received().unwrap();
        let flood = Flood::new(nginx.ipv4())
            .acks()
            .rate(300)
            .duration(Duration::from_secs(seconds));
        let sent = flood.start(&lab).unwrap().join().unwrap();
        std::thread::sleep(Duration::from_millis(100));
        (sent, lab.answers_received().unwrap() - before)
    };
    // Within the rate, which is 1,000 a second.
    let (sent, answered) = flood(2);
    assert!(sent > 300 && answered == sent, "{answered} of {sent}");
    assert_eq!(verdict(&guard, &lab, "ack_flood"), 0);

    std::fs::write(&file, "[limits]\nstray_rate = 10\n").unwrap();
    guard.child().signal(Signal::SIGHUP).unwrap();
    guard.child().wait_for_line("stray_rate", SOON).unwrap();
    let (sent, answered) = flood(2);
    let cpus = std::thread::available_parallelism().unwrap().get() as u64;
    assert!(
        answered >= 10 && answered <= 4 * 10 * cpus,
        "{answered} of {sent}"
    );
    assert_eq!(verdict(&guard, &lab, "ack_flood"), sent - answered);
    let metrics = guard.metrics(&lab).unwrap();
    let line = format!(
        "{{action=\"drop\",reason=\"ack_flood\"}} {}",
        sent - answered
    );
    assert!(metrics.contains(&line), "{metrics}");

    // It holds for as long as cookies are validated.
    lab.syn_guard_output(&["protect", "80", "off"]).unwrap();
    wait_until("it observes", SOON, || {
        guard.service(&lab, 80).unwrap()["state"] == "observing"
    });
    let before = verdict(&guard, &lab, "ack_flood");
    let (sent, answered) = flood(2);
    assert!(
        answered >= 10 && answered <= 4 * 10 * cpus,
        "{answered} of {sent}"
    );
    assert_eq!(verdict(&guard, &lab, "ack_flood"), before + sent - answered);
    assert!(guard.stop_at_once().unwrap().success());
}

/// Sends a segment of the flow that acknowledges something else.
fn forge(hand_made: &mut HandMade, flow: &Flow, number: u32) {
    let mut segment = hand_made.segment(flow);
    segment.ack = segment.ack.wrapping_add(1000 + number);
    hand_made.send(&segment).unwrap();
}

#[test]
fn a_cookie_does_not_open_the_way_for_many_tries() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let arguments = ["--mode", "protect", "--set", "limits.stray_rate=5"];
    let guard = Guard::start(&lab, &arguments).unwrap();
    let mut hand_made = HandMade::new(&lab).unwrap();
    for (index, target) in [nginx.ipv4(), nginx.ipv6()].into_iter().enumerate() {
        let dropped = verdict(&guard, &lab, "ack_flood");
        let source = (spoofed(target.is_ipv6(), 1), 10_000).into();
        let mut flow = hand_made.syn(source, target, TcpOptions::FULL).unwrap();
        assert!(hand_made.syn_ack(&mut flow, SOON).unwrap());
        for number in 0..200 {
            forge(&mut hand_made, &flow, number);
        }
        wait_until("the rest is dropped unseen", SOON, || {
            verdict(&guard, &lab, "ack_flood") >= dropped + 100
        });
        // Some data may have overtaken its handshake: nobody is reset.
        let none = hand_made.receive(&flow, Duration::from_millis(300));
        assert_eq!(none.unwrap(), None);
        // And the handshake is finished when it is the honest client's turn.
        std::thread::sleep(Duration::from_millis(1100));
        hand_made.ack(&flow).unwrap();
        assert!(page(&mut hand_made, &mut flow).is_some(), "{target}");
        assert_eq!(validated(&guard, &lab), index as u64 + 1);
    }
    assert!(guard.stop_at_once().unwrap().success());
}

/// What the server's stack has of a client, as `ss` lists it.
fn sockets(lab: &Lab, flow: &Flow) -> String {
    let filter = format!("dport = :{}", flow.source.port());
    lab.server().output("ss", &["-Htan", &filter]).unwrap()
}

#[test]
fn what_is_replayed_gains_nothing() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &["--mode", "protect"]).unwrap();
    let mut hand_made = HandMade::new(&lab).unwrap();
    for (index, target) in [nginx.ipv4(), nginx.ipv6()].into_iter().enumerate() {
        let port = 20_000 + index as u16;
        let source = (spoofed(target.is_ipv6(), 1), port).into();
        let mut flow = hand_made.syn(source, target, TcpOptions::FULL).unwrap();
        assert!(hand_made.syn_ack(&mut flow, SOON).unwrap());
        // A SYN once more: one answer, and nothing is stored.
        let first = flow.clone();
        hand_made.resend_syn(&flow).unwrap();
        assert!(hand_made.syn_ack(&mut flow, SOON).unwrap());
        let more = hand_made.receive(&flow, Duration::from_millis(300));
        assert_eq!(more.unwrap(), None);
        assert_eq!(sockets(&lab, &flow), "");
        let again = flow.syn_ack.as_ref().unwrap();
        if again.seq & 8 == first.expected.wrapping_sub(1) & 8 {
            assert_eq!(again.seq, first.expected.wrapping_sub(1), "in one epoch");
        }

        // The client closes first, so that the server remembers nothing.
        let ack = hand_made.segment(&flow);
        hand_made.send(&ack).unwrap();
        wait_until("it is there", SOON, || {
            sockets(&lab, &flow).contains("ESTAB")
        });
        hand_made.fin(&mut flow).unwrap();
        while let Some(segment) = hand_made.receive(&flow, SOON).unwrap() {
            if segment.flags.fin {
                flow.expected = segment.seq.wrapping_add(1);
                hand_made.ack(&flow).unwrap();
                break;
            }
        }
        wait_until("it is over", SOON, || sockets(&lab, &flow).is_empty());
        settle(&mut hand_made);
        let made = validated(&guard, &lab);
        // While the flow is remembered as established the stack says that it is
        // over.
        let before = verdict(&guard, &lab, "replayed_ack");
        wait_until("it is dropped", Duration::from_secs(30), || {
            hand_made.send(&ack).unwrap();
            std::thread::sleep(Duration::from_millis(200));
            verdict(&guard, &lab, "replayed_ack") > before
        });
        settle(&mut hand_made);
        let before = verdict(&guard, &lab, "replayed_ack");
        let rejected_before = rejected(&guard, &lab);
        for _ in 0..3 {
            hand_made.send(&ack).unwrap();
        }
        let none = hand_made.receive(&flow, Duration::from_millis(300));
        assert_eq!(none.unwrap(), None);
        assert_eq!(verdict(&guard, &lab, "replayed_ack"), before + 3);
        assert_eq!(rejected(&guard, &lab), rejected_before + 3);
        assert_eq!(sockets(&lab, &flow), "");
        assert_eq!(validated(&guard, &lab), made);
        // The client may come back.
        let mut flow = hand_made.syn(source, target, TcpOptions::FULL).unwrap();
        assert!(hand_made.syn_ack(&mut flow, SOON).unwrap());
        hand_made.ack(&flow).unwrap();
        assert!(page(&mut hand_made, &mut flow).is_some(), "{target}");
    }
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn an_ack_that_found_the_queue_full_works_when_it_comes_again() {
    const PORT: u16 = 8080;
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let listener = lab.server().run(|| {
        let address: SocketAddr = ([0; 8], PORT).into();
        let socket = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(1)?;
        Ok::<_, std::io::Error>(TcpListener::from(socket))
    });
    let listener = listener.unwrap().unwrap();
    let guard = Guard::start(&lab, &["--mode", "protect"]).unwrap();
    let mut hand_made = HandMade::new(&lab).unwrap();
    for (target, port) in [(SERVER_IPV4.into(), 10_000), (SERVER_IPV6.into(), 10_001)] {
        let target = SocketAddr::new(target, PORT);
        let source: SocketAddr = (spoofed(target.is_ipv6(), 1), port).into();
        let mut flow = hand_made.syn(source, target, TcpOptions::FULL).unwrap();
        assert!(hand_made.syn_ack(&mut flow, SOON).unwrap());
        // A backlog of 1 holds two.
        let filled: Vec<_> = (0..2)
            .map(|_| lab.client().run(|| TcpStream::connect(target)))
            .collect();
        assert!(filled.iter().all(|it| it.as_ref().unwrap().is_ok()));
        wait_until("the queue is full", SOON, || {
            let text = lab
                .server()
                .output("ss", &["-Htan", "state", "established"]);
            text.unwrap().matches(&format!("]:{PORT} ")).count() == 2
        });
        for _ in 0..3 {
            hand_made.ack(&flow).unwrap();
            std::thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(sockets(&lab, &flow), "", "there is no room for it");
        for _ in 0..2 {
            listener.accept().unwrap();
        }
        // Its first data carries the cookie as well, and comes again until it is
        // acknowledged.
        let mut data = hand_made.segment(&flow);
        data.payload = REQUEST.to_vec();
        let deadline = Instant::now() + SOON * 3 * patience();
        while !sockets(&lab, &flow).contains("ESTAB") {
            assert!(Instant::now() < deadline, "{target}");
            hand_made.send(&data).unwrap();
            std::thread::sleep(Duration::from_millis(200));
        }
        let (mut stream, from) = listener.accept().unwrap();
        assert_eq!(from.port(), port);
        let mut got = vec![0; REQUEST.len()];
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        // The guard may have handed the connection over without its data.
        hand_made.send(&data).unwrap();
        stream.read_exact(&mut got).unwrap();
        assert_eq!(got, REQUEST);
        // Duplicates of the ACK belong to the connection.
        hand_made.ack(&flow).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(verdict(&guard, &lab, "replayed_ack"), 0);
        drop(filled);
    }
    assert!(guard.stop_at_once().unwrap().success());
}
