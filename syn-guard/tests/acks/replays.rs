//! Cookies that come again.

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use xtask::lab::{
    Flow, Guard, HandMade, Lab, Nginx, SERVER_IPV4, SERVER_IPV6, TcpOptions, patience,
};

use crate::common::{
    REQUEST, SOON, page, rejected, settle, spoofed, validated, verdict, wait_until,
};

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
