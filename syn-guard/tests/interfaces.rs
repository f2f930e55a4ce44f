//! Two interfaces guarded at once: the same results in native and generic
//! mode, whatever their MTU and offloads, or an error that says what to
//! change. Needs root; without it the tests say so and pass, except where
//! `CI=true`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use aya::maps::{Array, Map, MapData};
use common::{SOON, second_cable, spoofed, wait_until};
use nix::sys::signal::Signal;
use syn_guard::kernel::channels::receive_queues;
use syn_guard::kernel::cpus::online;
use syn_guard_common::abi::Settings;
use xtask::lab::{
    CLIENT_INTERFACE, Guard, HandMade, Lab, Namespace, Offload, Passing, SERVER_INTERFACE,
    SERVER_IPV4, SERVER_IPV6, TcpOptions,
};

/// Where the echo listens.
const PORT: u16 = 7000;
/// Bytes that go there and back: many segments of any MTU.
const BYTES: usize = 300_000;
/// Connections to each address.
const EACH: u64 = 3;
/// The other cable's server side.
const SECOND: [&str; 2] = ["198.18.5.1", "2001:db8:0:5::1"];

/// How interfaces are set.
#[derive(Clone, Copy, Debug)]
struct Setting {
    mode: &'static str,
    mtu: u16,
    server_gro: bool,
    client_gro: bool,
    client_checksum: bool,
    server_checksum: bool,
}

const fn setting(mode: &'static str, mtu: u16, on: [bool; 4]) -> Setting {
    Setting {
        mode,
        mtu,
        server_gro: on[0],
        client_gro: on[1],
        client_checksum: on[2],
        server_checksum: on[3],
    }
}

/// Any two values of any two columns meet in a row.
const SETTINGS: [Setting; 8] = [
    setting("native", 1500, [true, true, true, true]),
    setting("native", 1280, [false, false, false, false]),
    setting("native", 9000, [true, false, false, true]),
    setting("native", 9000, [false, true, true, false]),
    setting("generic", 1500, [false, false, false, false]),
    setting("generic", 1280, [true, true, true, true]),
    setting("generic", 9000, [false, true, false, true]),
    setting("generic", 9000, [true, false, true, false]),
];

impl Setting {
    fn apply(self, lab: &Lab) {
        let side = |host: &Namespace, interface: &str, gro: bool, checksum: bool| {
            let mtu = self.mtu.to_string();
            host.output("ip", &["link", "set", interface, "mtu", &mtu])
                .unwrap();
            host.set_offload(interface, Offload::Gro, gro).unwrap();
            host.set_offload(interface, Offload::TxChecksum, checksum)
                .unwrap();
        };
        for (server, client) in [
            (SERVER_INTERFACE, CLIENT_INTERFACE),
            ("sg-second", "sg-second"),
        ] {
            side(lab.server(), server, self.server_gro, self.server_checksum);
            side(lab.client(), client, self.client_gro, self.client_checksum);
        }
    }
}

/// Sends back what it gets, on all addresses, until the process ends.
fn start_echo(lab: &Lab) {
    let (started, ready) = std::sync::mpsc::channel();
    lab.server().start(move || {
        let listener = TcpListener::bind(("::", PORT))?;
        started.send(())?;
        for stream in listener.incoming() {
            let mut stream = stream?;
            thread::spawn(move || {
                let mut reader = stream.try_clone()?;
                std::io::copy(&mut reader, &mut stream)?;
                stream.shutdown(Shutdown::Write)
            });
        }
        Ok(())
    });
    ready.recv_timeout(SOON).unwrap();
}

/// Whether everything comes back from there.
fn echo(lab: &Lab, target: SocketAddr) -> std::io::Result<()> {
    lab.client()
        .run(|| {
            let mut stream = TcpStream::connect_timeout(&target, Duration::from_secs(10))?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            let sent: Vec<u8> = (0..BYTES).map(|at| (at ^ (at >> 8)) as u8).collect();
            let mut writer = stream.try_clone()?;
            let mut received = Vec::new();
            thread::scope(|scope| {
                let writing = scope.spawn(|| {
                    writer.write_all(&sent)?;
                    writer.shutdown(Shutdown::Write)
                });
                stream.read_to_end(&mut received)?;
                writing.join().unwrap()
            })?;
            assert!(received == sent, "{target}: {} bytes", received.len());
            Ok(())
        })
        .unwrap()
}

fn targets() -> [SocketAddr; 4] {
    [
        (SERVER_IPV4, PORT).into(),
        (SERVER_IPV6, PORT).into(),
        (SECOND[0].parse::<std::net::Ipv4Addr>().unwrap(), PORT).into(),
        (SECOND[1].parse::<std::net::Ipv6Addr>().unwrap(), PORT).into(),
    ]
}

#[test]
fn whatever_mode_mtu_and_offloads_the_results_are_the_same() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    second_cable(&lab, 1);
    start_echo(&lab);
    let _receives = Passing::attach_to(lab.client(), "sg-second").unwrap();
    let mut hand_made = HandMade::new(&lab).unwrap();
    for (index, setting) in SETTINGS.into_iter().enumerate() {
        setting.apply(&lab);
        let arguments = [
            "--iface",
            "sg-second",
            "--mode",
            "protect",
            "--xdp-mode",
            setting.mode,
        ];
        let guard = Guard::start(&lab, &arguments).unwrap();
        let status = guard.status(&lab).unwrap();
        let interfaces = status["interfaces"].as_array().unwrap();
        assert_eq!(interfaces.len(), 2, "{status}");
        for interface in interfaces {
            assert_eq!(interface["mode"], setting.mode, "{status}");
        }
        for target in targets() {
            for _ in 0..EACH {
                if let Err(error) = echo(&lab, target) {
                    let status = guard.status(&lab).unwrap();
                    panic!("{setting:?}: {target}: {error}: {}", status["verdicts"]);
                }
            }
        }
        for (ipv6, service) in [(false, targets()[0]), (true, targets()[1])] {
            let source = (spoofed(ipv6, index as u16), 10_000).into();
            let mut flow = hand_made.syn(source, service, TcpOptions::FULL).unwrap();
            assert!(
                hand_made.syn_ack(&mut flow, SOON).unwrap(),
                "{setting:?}: {service}"
            );
            let options = flow.syn_ack.unwrap().options;
            let headers = if ipv6 { 60 } else { 40 };
            assert_eq!(options.mss, Some(setting.mtu - headers), "{setting:?}");
            assert!(options.sack && options.timestamps.is_some() && options.window_scale.is_some());
        }
        let counters = guard.service(&lab, PORT).unwrap()["counters"].clone();
        assert!(
            counters["cookies_sent"].as_u64().unwrap() >= EACH * 4 + 2,
            "{counters}"
        );
        assert_eq!(
            counters["cookies_validated"],
            EACH * 4,
            "{setting:?} {counters}"
        );
        assert!(guard.stop_at_once().unwrap().success());
    }
}

/// The mode of attachment to an interface.
fn mode(guard: &Guard, lab: &Lab, name: &str) -> String {
    let status = guard.status(lab).unwrap();
    let interfaces = status["interfaces"].as_array().unwrap();
    let found = interfaces.iter().find(|found| found["name"] == name);
    // While it is attached anew it is not there.
    found.map_or_else(String::new, |found| {
        found["mode"].as_str().unwrap().to_owned()
    })
}

/// Runs a guard that does not start; the one line that says why.
fn refused(lab: &Lab, interface: &str, xdp_mode: &str) -> String {
    let arguments = ["run", "--iface", interface, "--xdp-mode", xdp_mode];
    let output = lab.syn_guard(&arguments).unwrap().output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains("panicked"), "{said}");
    let last = said.lines().next_back().unwrap().to_owned();
    assert!(last.starts_with("syn-guard: "), "{said}");
    assert!(!lab.guard_pins().exists() && !lab.guard_state().exists());
    let links = lab.server().output("ip", &["-d", "link"]).unwrap();
    assert!(!links.contains("prog/xdp"), "{links}");
    last
}

#[test]
fn a_veth_whose_peer_runs_no_xdp_gets_its_answers_too() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    second_cable(&lab, 1);
    start_echo(&lab);
    let (ipv4, ipv6) = (targets()[2], targets()[3]);
    let line = refused(&lab, "sg-second", "native");
    for part in ["runs no native XDP program", "--xdp-mode generic"] {
        assert!(line.contains(part), "{line}");
    }

    let arguments = ["--iface", "sg-second", "--mode", "protect"];
    let guard = Guard::start(&lab, &arguments).unwrap();
    assert_eq!(mode(&guard, &lab, "sg-second"), "generic");
    assert_eq!(mode(&guard, &lab, SERVER_INTERFACE), "native");
    let log = guard.log().unwrap();
    assert!(log.contains("runs no native XDP program"), "{log}");
    echo(&lab, ipv4).unwrap();
    echo(&lab, ipv6).unwrap();
    assert!(guard.stop_at_once().unwrap().success());

    // Its program goes away while the guard runs.
    let receives = Passing::attach_to(lab.client(), "sg-second").unwrap();
    let guard = Guard::start(&lab, &arguments).unwrap();
    assert_eq!(mode(&guard, &lab, "sg-second"), "native");
    echo(&lab, ipv4).unwrap();
    drop(receives);
    wait_until("attached in generic mode", SOON * 5, || {
        mode(&guard, &lab, "sg-second") == "generic"
    });
    echo(&lab, ipv4).unwrap();
    echo(&lab, ipv6).unwrap();
    let sent = guard.service(&lab, PORT).unwrap()["counters"]["cookies_validated"].clone();
    assert_eq!(sent, 3);
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn where_native_mode_is_refused_the_error_says_what_to_change() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    second_cable(&lab, 4);
    let receives = Passing::attach_to(lab.client(), "sg-second").unwrap();
    let line = refused(&lab, "sg-second", "native");
    for part in [
        "sg-second takes no XDP program: native mode: ",
        "os error 28",
        "the peer must not have more TX queues than this side has RX queues",
        "or `--xdp-mode generic`",
    ] {
        assert_eq!(line.matches(part).count(), 1, "{part:?} once in: {line}");
    }
    drop(receives);

    // A driver without any.
    let script = "ip link add sg-bridge type bridge; ip link set sg-bridge up";
    lab.server().output("sh", &["-ec", script]).unwrap();
    let line = refused(&lab, "sg-bridge", "native");
    for part in ["the driver cannot", "or `--xdp-mode generic`"] {
        assert_eq!(line.matches(part).count(), 1, "{part:?} once in: {line}");
    }
    for xdp_mode in ["auto", "generic"] {
        let arguments = ["--iface", "sg-bridge", "--xdp-mode", xdp_mode];
        let guard = Guard::start(&lab, &arguments).unwrap();
        assert_eq!(mode(&guard, &lab, "sg-bridge"), "generic");
        let warned = guard.log().unwrap().contains("several times slower");
        assert_eq!(
            warned,
            xdp_mode == "auto",
            "what was asked for is no warning"
        );
        assert!(guard.stop_at_once().unwrap().success());
    }
}

/// What each CPU may answer a prefix in a second.
fn reply_rate_of_a_cpu(lab: &Lab) -> u64 {
    let pinned = MapData::from_pin(lab.guard_pins().join("SETTINGS")).unwrap();
    let settings = Array::<_, Settings>::try_from(Map::Array(pinned)).unwrap();
    settings.get(&0, 0).unwrap().reply_rate
}

#[test]
fn limits_are_shared_out_among_all_cpus_on_a_veth() {
    /// The default of `limits.reply_rate`.
    const REPLY_RATE: u64 = 10_000;
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    // Whichever CPU sends runs the program, and many do at a time.
    for xdp_mode in ["native", "generic"] {
        let guard = Guard::start(&lab, &["--xdp-mode", xdp_mode]).unwrap();
        assert_eq!(reply_rate_of_a_cpu(&lab), REPLY_RATE.div_ceil(online()));
        assert!(guard.stop_at_once().unwrap().success());
    }
}

#[test]
fn the_receive_queues_in_use_are_read() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let script = format!(
        "ip link del {SERVER_INTERFACE}
         ip link add {SERVER_INTERFACE} numrxqueues 4 numtxqueues 1 type veth \
             peer name sg-peer numrxqueues 1 numtxqueues 1
         ip link set sg-peer up
         ip link set {SERVER_INTERFACE} up"
    );
    lab.server().output("sh", &["-ec", &script]).unwrap();
    let used = || {
        lab.server()
            .run(|| receive_queues(SERVER_INTERFACE))
            .unwrap()
    };
    for queues in [4, 3, 1] {
        lab.server()
            .set_receive_queues(SERVER_INTERFACE, queues)
            .unwrap();
        assert_eq!(used(), Some(queues));
    }
}

#[test]
fn another_mode_is_taken_at_the_next_start() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    start_echo(&lab);
    let mut last = Guard::start(&lab, &["--mode", "protect"]).unwrap();
    for xdp_mode in ["native", "generic", "generic", "auto", "native"] {
        last.child().signal(Signal::SIGKILL).unwrap();
        last.child().wait(SOON).unwrap();
        let before = lab.server().output("ip", &["-d", "link"]).unwrap();
        assert!(before.contains("prog/xdp"), "{before}");
        let arguments = ["--mode", "protect", "--xdp-mode", xdp_mode];
        last = Guard::start(&lab, &arguments).unwrap();
        let found = mode(&last, &lab, SERVER_INTERFACE);
        // What is there is good enough for `auto`.
        let expected = if xdp_mode == "auto" {
            "generic"
        } else {
            xdp_mode
        };
        assert_eq!(found, expected);
        echo(&lab, targets()[0]).unwrap();
    }
    assert!(last.stop_at_once().unwrap().success());
}
