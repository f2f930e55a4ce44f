//! Interfaces of a VRF: they are refused or let go of, their clients are the stack's, and
//! the other interfaces are guarded meanwhile. Needs root, and VRFs in the kernel: without,
//! the tests say so and pass, except that root is a must where `CI=true`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

mod common;

use std::io::{Error, Read as _, Result, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;

use common::{SOON, second_cable, wait_until};
use xtask::lab::{Guard, Lab, SERVER_INTERFACE, patiently};

const PORT: u16 = 7000;
/// The same server, on a socket that is bound to the VRF.
const BOUND_PORT: u16 = 7001;
/// Connections of each kind.
const EACH: usize = 20;
const PAGE: &[u8] = b"a page\n";
/// Bytes of an upload.
const UPLOAD: usize = 2 << 20;
/// The guarded cable's server side, and that of the VRF's.
const GUARDED: [&str; 2] = ["198.18.0.1", "2001:db8:0:1::1"];
const SECOND: [&str; 2] = ["198.18.5.1", "2001:db8:0:5::1"];

fn at(addresses: [&str; 2], port: u16) -> [SocketAddr; 2] {
    addresses.map(|address| (address.parse::<std::net::IpAddr>().unwrap(), port).into())
}

/// Makes the VRF; false where the kernel has none.
fn make_vrf(lab: &Lab) -> bool {
    let script = "ip link add vrf-blue type vrf table 10
        ip link set vrf-blue up";
    if let Err(error) = lab.server().output("sh", &["-ec", script]) {
        println!("skipped: this kernel has no VRF (CONFIG_NET_VRF, module vrf): {error:#}");
        return false;
    }
    // What is bound to no VRF serves them all.
    lab.server()
        .set_sysctl("net.ipv4.tcp_l3mdev_accept", "1")
        .unwrap();
    true
}

/// Has an interface of the server become a port of the VRF, which takes its IPv6 addresses.
fn enslave(lab: &Lab, interface: &str, [_, ipv6]: [&str; 2]) {
    let script = format!(
        "ip link set {interface} master vrf-blue
         ip address replace {ipv6}/64 dev {interface} nodad"
    );
    lab.server().output("sh", &["-ec", &script]).unwrap();
}

/// A server of pages and uploads on all addresses; on a socket bound to the VRF, if so.
fn serve(lab: &Lab, port: u16, vrf: Option<&'static str>) {
    let (started, ready) = std::sync::mpsc::channel();
    lab.server().start(move || {
        let domain = socket2::Domain::IPV6;
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
        socket.set_only_v6(false)?;
        socket.bind_device(vrf.map(str::as_bytes))?;
        socket.bind(&SocketAddr::from(([0_u16; 8], port)).into())?;
        socket.listen(128)?;
        started.send(()).map_err(Error::other)?;
        for stream in TcpListener::from(socket).incoming() {
            let stream = stream?;
            thread::spawn(move || answer(stream));
        }
        Ok(())
    });
    ready.recv_timeout(SOON).unwrap();
}

/// A page to whoever asks with one byte; how many bytes came, to others.
fn answer(mut stream: TcpStream) -> Result<()> {
    let mut received = Vec::new();
    stream.read_to_end(&mut received)?;
    if received.len() == 1 {
        stream.write_all(PAGE)
    } else {
        write!(stream, "{}", received.len())
    }
}

fn ask(target: SocketAddr, request: &[u8]) -> Result<Vec<u8>> {
    let within = patiently(SOON);
    let mut stream = TcpStream::connect_timeout(&target, within)?;
    stream.set_read_timeout(Some(within))?;
    stream.set_write_timeout(Some(within))?;
    stream.write_all(request)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Everybody gets the page, 20 times each, and gets rid of an upload.
#[track_caller]
fn all_are_served(lab: &Lab, what: &str, targets: [SocketAddr; 2]) {
    for target in targets {
        let served = lab.client().run(|| {
            let pages = (0..EACH).filter(|_| match ask(target, b"?") {
                Ok(page) => page == PAGE,
                Err(error) => {
                    println!("{what}: {target}: {error}");
                    false
                }
            });
            (pages.count(), ask(target, &vec![b'u'; UPLOAD]))
        });
        let (pages, upload) = served.unwrap();
        println!("{what}: {target}: {pages} of {EACH} pages, the upload: {upload:?}");
        assert_eq!(pages, EACH, "{what}: {target}");
        assert_eq!(
            upload.unwrap(),
            UPLOAD.to_string().as_bytes(),
            "{what}: {target}"
        );
    }
}

fn validated(guard: &Guard, lab: &Lab, port: u16) -> u64 {
    let service = guard.service(lab, port).unwrap();
    service["counters"]["cookies_validated"].as_u64().unwrap()
}

fn protect(lab: &Lab, interfaces: &[&str]) -> Guard {
    let mut arguments = vec!["--mode", "protect"];
    for interface in interfaces {
        arguments.extend(["--iface", interface]);
    }
    Guard::start(lab, &arguments).unwrap()
}

fn stop(guard: Guard) {
    assert!(guard.stop_at_once().unwrap().success());
}

/// A guard of the interfaces that the arguments name, or that it chooses.
fn run(lab: &Lab, arguments: &[&str]) -> Command {
    // The machine's own configuration is not the lab's.
    let config = lab.path("no-config.toml");
    std::fs::write(&config, "").unwrap();
    let mut all = vec!["run", "--config", config.to_str().unwrap()];
    all.extend(arguments);
    lab.syn_guard(&all).unwrap()
}

/// The complaint of a guard that does not start.
fn refused(lab: &Lab, arguments: &[&str]) -> String {
    let output = run(lab, arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_vrf_and_its_ports_are_refused_and_another_interface_is_taken() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    if !make_vrf(&lab) {
        return;
    }
    second_cable(&lab, 1);
    enslave(&lab, "sg-second", SECOND);
    let said = refused(&lab, &["--iface", "sg-second"]);
    let lines: Vec<_> = said.lines().filter(|it| it.contains("sg-second")).collect();
    assert_eq!(lines.len(), 1, "{said}");
    assert!(lines[0].contains("sg-second is a port of a VRF"), "{said}");

    let said = refused(&lab, &["--iface", "vrf-blue"]);
    assert!(said.contains("vrf-blue is a VRF"), "{said}");

    // By the default routes: of two the one that can be guarded, of one none.
    let route = "ip -4 route del default
        ip -6 route del default
        ip route add default via 198.18.5.2 dev sg-second onlink metric 1";
    lab.server().output("sh", &["-ec", route]).unwrap();
    let said = refused(&lab, &[]);
    assert!(said.contains("sg-second is a port of a VRF"), "{said}");
    let route = "ip route add default via 198.18.0.2 metric 2";
    lab.server().output("sh", &["-ec", route]).unwrap();
    serve(&lab, PORT, None);
    let mut run = run(&lab, &["--mode", "protect"]);
    let mut guard = lab.server().spawn(&mut run).unwrap();
    guard.wait_for_line("is guarding", patiently(SOON)).unwrap();
    let log = guard.stderr().unwrap();
    let skipped = "not guarded: sg-second is a port of a VRF";
    assert!(log.contains(skipped), "{log}");
    all_are_served(&lab, "guarded", at(GUARDED, PORT));
    all_are_served(&lab, "a port of the VRF", at(SECOND, PORT));
}

#[test]
fn an_interface_that_becomes_a_port_of_a_vrf_is_let_go_of() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    if !make_vrf(&lab) {
        return;
    }
    second_cable(&lab, 1);
    serve(&lab, PORT, None);
    serve(&lab, BOUND_PORT, Some("vrf-blue"));
    let guard = protect(&lab, &[SERVER_INTERFACE, "sg-second"]);
    all_are_served(&lab, "not yet a port", at(SECOND, PORT));
    enslave(&lab, "sg-second", SECOND);
    wait_until("it lets go of the port", SOON, || {
        guard.log().unwrap().contains("no longer guarded")
    });
    for round in 0..2 {
        all_are_served(&lab, "the port", at(SECOND, PORT));
        all_are_served(&lab, "the port, bound to the VRF", at(SECOND, BOUND_PORT));
        let before = validated(&guard, &lab, PORT);
        all_are_served(&lab, "guarded meanwhile", at(GUARDED, PORT));
        assert!(
            validated(&guard, &lab, PORT) >= before + 30,
            "round {round}"
        );
    }
    let said = guard.log().unwrap();
    assert_eq!(
        said.matches("sg-second is a port of a VRF").count(),
        1,
        "{said}"
    );

    // No port any more: guarded again.
    let script = format!(
        "ip link set sg-second nomaster
         ip address replace {}/64 dev sg-second nodad",
        SECOND[1]
    );
    lab.server().output("sh", &["-ec", &script]).unwrap();
    let before = validated(&guard, &lab, PORT);
    wait_until("it is guarded again", SOON, || {
        lab.client()
            .run(|| ask(at(SECOND, PORT)[0], b"?").unwrap())
            .unwrap();
        validated(&guard, &lab, PORT) > before
    });
    all_are_served(&lab, "guarded again", at(SECOND, PORT));
    stop(guard);
}

#[test]
fn clients_of_a_vrf_are_served_behind_a_guarded_interface() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    if !make_vrf(&lab) {
        return;
    }
    second_cable(&lab, 1);
    // The bridge is the VRF's, and its port is guarded.
    let script = "ip address flush dev sg-second
        ip link add sg-bridge type bridge
        ip link set sg-bridge up
        ip link set sg-second master sg-bridge
        ip address add 198.18.5.1/24 dev sg-bridge";
    lab.server().output("sh", &["-ec", script]).unwrap();
    enslave(&lab, "sg-bridge", SECOND);
    serve(&lab, PORT, None);
    serve(&lab, BOUND_PORT, Some("vrf-blue"));
    for port in [PORT, BOUND_PORT] {
        all_are_served(&lab, "no guard", at(SECOND, port));
    }
    let guard = protect(&lab, &[SERVER_INTERFACE, "sg-second"]);
    for port in [PORT, BOUND_PORT] {
        all_are_served(&lab, "a bridge of the VRF", at(SECOND, port));
    }
    all_are_served(&lab, "guarded meanwhile", at(GUARDED, PORT));
    stop(guard);
}
