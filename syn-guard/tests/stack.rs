//! What the kernel's stack must see, it sees, also while a service protects.
//! Needs root; without it the tests say so and pass, except where `CI=true`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use common::{SOON, kernel_engine, mptcp_listener, page, spoofed, validated, verdict, wait_until};
use nix::sys::signal::Signal;
use xtask::lab::{Flood, Guard, HandMade, Lab, Nginx, TcpOptions, fetch};

#[test]
fn a_handshake_begun_before_the_switch_is_finished_after_it() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &["--mode", "auto"]).unwrap();
    let mut hand_made = HandMade::new(&lab).unwrap();
    let source = (spoofed(false, 1), 10_000).into();
    let mut flow = hand_made
        .syn(source, nginx.ipv4(), TcpOptions::FULL)
        .unwrap();
    assert!(hand_made.syn_ack(&mut flow, SOON).unwrap());
    let first = flow.syn_ack.clone().unwrap();

    let flood = Flood::new(nginx.ipv4())
        .rate(5000)
        .duration(Duration::from_secs(60))
        .start(&lab)
        .unwrap();
    wait_until("it protects", SOON, || {
        guard.service(&lab, 80).unwrap()["state"] == "protecting"
    });
    // The SYN-ACK was lost on the way, so the client asks again: the stack
    // must answer, which has the connection.
    hand_made.resend_syn(&flow).unwrap();
    assert!(hand_made.syn_ack(&mut flow, SOON).unwrap());
    assert_eq!(flow.syn_ack.as_ref().unwrap().seq, first.seq);
    hand_made.ack(&flow).unwrap();
    assert!(page(&mut hand_made, &mut flow).is_some());
    flood.stop().unwrap();
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn a_syn_into_a_leftover_connection_gets_a_challenge_ack() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let mut hand_made = HandMade::new(&lab).unwrap();
    let source = (spoofed(false, 1), 10_000).into();
    // The client's host crashed; the server does not know, and the guard
    // began later.
    let old = hand_made
        .connect(source, nginx.ipv4(), TcpOptions::FULL, SOON)
        .unwrap()
        .unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let guard = Guard::start(&lab, &["--mode", "protect"]).unwrap();
    let flow = hand_made
        .syn(source, nginx.ipv4(), TcpOptions::FULL)
        .unwrap();
    let answer = hand_made.receive(&flow, SOON).unwrap().unwrap();
    assert!(answer.flags.ack && !answer.flags.syn, "{answer:?}");
    assert_eq!(
        (answer.seq, answer.ack),
        (old.expected, old.next),
        "of the old connection"
    );
    // As RFC 9293 section 3.10.7.4 has it, the client resets that and asks
    // again.
    let mut reset = hand_made.segment(&old);
    reset.seq = answer.ack;
    reset.flags = xtask::lab::Flags {
        rst: true,
        ..Default::default()
    };
    hand_made.send(&reset).unwrap();
    let mut flow = flow;
    hand_made.resend_syn(&flow).unwrap();
    assert!(hand_made.syn_ack(&mut flow, SOON).unwrap());
    hand_made.ack(&flow).unwrap();
    assert!(page(&mut hand_made, &mut flow).is_some());
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn when_the_listener_is_gone_syns_reach_the_stack() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    // A port that is named stays a service without a listener.
    let arguments = ["--mode", "protect", "--ports", "80", "--ebpf-log", "debug"];
    let mut guard = Guard::start(&lab, &arguments).unwrap();
    let mut hand_made = HandMade::new(&lab).unwrap();
    let service = nginx.ipv4();
    let mut answer = |index| {
        let source = (spoofed(false, index), 10_000).into();
        let flow = hand_made.syn(source, service, TcpOptions::FULL).unwrap();
        hand_made.receive(&flow, SOON).unwrap().unwrap()
    };
    assert!(answer(0).flags.is_syn_ack());
    // The data path looks the listener up ten times a second and more, and
    // needs no controller for it.
    guard.child().signal(Signal::SIGSTOP).unwrap();
    nginx.stop().unwrap();
    std::thread::sleep(Duration::from_millis(150));
    assert!(answer(1).flags.rst);
    guard.child().signal(Signal::SIGCONT).unwrap();
    let log = || guard.log().unwrap();
    wait_until("the program says so itself", SOON, || {
        log().contains("no listener on port 80")
    });
    std::thread::sleep(Duration::from_millis(1500));
    assert!(answer(2).flags.rst);
    let nginx = Nginx::start(&lab).unwrap();
    wait_until("cookies are sent again", SOON, || {
        fetch(lab.client(), None, nginx.ipv4(), "/").unwrap();
        validated(&guard, &lab) > 0
    });
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn what_is_for_another_host_is_left_alone() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let _nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &["--mode", "protect"]).unwrap();
    let mut hand_made = HandMade::new(&lab).unwrap();
    // Packets that this host forwards have its hardware address, not its IP
    // address. The listener's wildcard is not theirs.
    let container: SocketAddr = "198.18.0.77:80".parse().unwrap();
    let source = (spoofed(false, 1), 10_000).into();
    let flow = hand_made.syn(source, container, TcpOptions::FULL).unwrap();
    hand_made.ack(&flow).unwrap();
    wait_until("both were seen", SOON, || {
        verdict(&guard, &lab, "no_listener") == 1 && verdict(&guard, &lab, "segment") == 1
    });
    assert_eq!(verdict(&guard, &lab, "no_cookie"), 0);
    assert_eq!(verdict(&guard, &lab, "cookie_sent"), 0);
    // The same ACK to the host itself is a stray one, which the stack resets.
    let own: SocketAddr = "198.18.0.1:80".parse().unwrap();
    let mut forged = flow;
    forged.service = own;
    hand_made.ack(&forged).unwrap();
    assert!(hand_made.receive(&forged, SOON).unwrap().unwrap().flags.rst);
    assert_eq!(verdict(&guard, &lab, "stray_ack"), 1);
    assert_eq!(verdict(&guard, &lab, "no_cookie"), 0);
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn cookies_of_the_kernel_are_the_kernels() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    // Without exception, as some administrators have it.
    lab.server()
        .set_sysctl("net.ipv4.tcp_syncookies", "2")
        .unwrap();
    let nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &["--mode", "auto", "--max-half-open", "50"]).unwrap();
    let mut hand_made = HandMade::new(&lab).unwrap();
    let source = (spoofed(false, 1), 10_000).into();
    let mut flow = hand_made
        .syn(source, nginx.ipv4(), TcpOptions::SHORT)
        .unwrap();
    assert!(hand_made.syn_ack(&mut flow, SOON).unwrap());
    let flood = Flood::new(nginx.ipv4())
        .rate(5000)
        .duration(Duration::from_secs(60))
        .start(&lab)
        .unwrap();
    wait_until("it protects", SOON, || {
        guard.service(&lab, 80).unwrap()["state"] == "protecting"
    });
    flood.stop().unwrap();
    hand_made.ack(&flow).unwrap();
    assert!(page(&mut hand_made, &mut flow).is_some());
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn a_listener_of_mptcp_keeps_its_clients() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let address: SocketAddr = "198.18.0.1:8081".parse().unwrap();
    let Some(listener) = mptcp_listener(&lab, address) else {
        eprintln!("skipped: this kernel has no MPTCP");
        return;
    };
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let _ = client.write_all(b"hello");
        }
    });
    let guard = Guard::start(&lab, &["--mode", "protect"]).unwrap();
    for _ in 0..5 {
        let text = lab
            .client()
            .run(|| {
                let mut stream = TcpStream::connect_timeout(&address, SOON)?;
                stream.set_read_timeout(Some(SOON))?;
                let mut text = [0; 5];
                stream.read_exact(&mut text)?;
                Ok::<_, std::io::Error>(text)
            })
            .unwrap();
        assert_eq!(&text.unwrap(), b"hello");
    }
    assert_eq!(verdict(&guard, &lab, "unanswerable"), 5);
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn acknowledgements_that_are_forged_as_well_do_not_hide_a_flood() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &["--mode", "auto"]).unwrap();
    let mut hand_made = HandMade::new(&lab).unwrap();
    for index in 0..400 {
        let source = (spoofed(false, index), 10_000).into();
        let flow = hand_made
            .syn(source, nginx.ipv4(), TcpOptions::SHORT)
            .unwrap();
        // Of a handshake whose SYN-ACK was never seen: the kernel keeps its
        // half-open connection, XDP cannot know.
        hand_made.ack(&flow).unwrap();
    }
    wait_until("it protects all the same", SOON, || {
        guard.service(&lab, 80).unwrap()["state"] == "protecting"
    });
    let log = guard.log().unwrap();
    assert!(log.contains("in the kernel"), "{log}");
    assert!(guard.stop_at_once().unwrap().success());
}

/// Runs `work` on the core of the server's packet thread, before that thread:
/// what it sends arrives in one batch.
fn before_the_packet_thread(work: impl FnOnce()) {
    let thread = nix::unistd::gettid().to_string();
    let set = |program: &str, arguments: &[&str]| {
        let status = std::process::Command::new(program)
            .args(arguments)
            .arg(&thread)
            .stdout(std::process::Stdio::null())
            .status();
        assert!(status.unwrap().success(), "{program} {arguments:?}");
    };
    set("taskset", &["-cp", "0"]);
    set("chrt", &["-f", "-p", "10"]);
    work();
    set("chrt", &["-o", "-p", "0"]);
}

#[test]
fn data_in_one_batch_with_its_handshake_is_not_lost() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    lab.separate_cores().unwrap();
    let nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &["--mode", "protect"]).unwrap();
    let mut hand_made = HandMade::new(&lab).unwrap();
    for index in 0..10 {
        let source = (spoofed(false, index), 10_000).into();
        let mut flow = hand_made
            .syn(source, nginx.ipv4(), TcpOptions::FULL)
            .unwrap();
        assert!(hand_made.syn_ack(&mut flow, SOON).unwrap());
        let mut answered = None;
        before_the_packet_thread(|| {
            hand_made.ack(&flow).unwrap();
            hand_made.data(&mut flow, common::REQUEST).unwrap();
        });
        // Nobody sends the data again.
        while let Some(segment) = hand_made.receive(&flow, SOON).unwrap() {
            if !segment.payload.is_empty() {
                answered = Some(segment);
                break;
            }
        }
        assert!(answered.is_some(), "connection {index}");
    }
    assert_eq!(validated(&guard, &lab), 10);
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn a_cookie_that_the_stack_refuses_costs_that_connection_only() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &["--mode", "protect"]).unwrap();
    if kernel_engine(&guard, &lab) {
        // There the stack decides, and no word of it comes back.
        assert!(guard.stop_at_once().unwrap().success());
        return;
    }
    let mut hand_made = HandMade::new(&lab).unwrap();
    let service = nginx.ipv4();
    let source = (spoofed(false, 1), 10_000).into();
    let mut flow = hand_made.syn(source, service, TcpOptions::FULL).unwrap();
    assert!(hand_made.syn_ack(&mut flow, SOON).unwrap());
    // What the cookie granted is not allowed any more when its ACK comes.
    lab.server().set_sysctl("net.ipv4.tcp_sack", "0").unwrap();
    hand_made.ack(&flow).unwrap();
    wait_until("the stack refuses", SOON, || {
        verdict(&guard, &lab, "cookie_failed") == 1
    });
    lab.server().set_sysctl("net.ipv4.tcp_sack", "1").unwrap();
    for index in 2..12 {
        let source = (spoofed(false, index), 10_000).into();
        let connected = hand_made.connect(source, service, TcpOptions::FULL, SOON);
        let mut flow = connected.unwrap().unwrap();
        assert!(page(&mut hand_made, &mut flow).is_some());
    }
    assert_eq!(validated(&guard, &lab), 10);
    assert_eq!(verdict(&guard, &lab, "unanswerable"), 0);
    assert!(guard.stop_at_once().unwrap().success());
}
