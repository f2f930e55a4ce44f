//! Who gets no answer from the stack gets none from the guard: the same SYNs, without a
//! guard and with one that answers all it may. Needs root; without it the tests say so and
//! pass, except where `CI=true`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

mod common;

use std::mem::size_of;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use etherparse::{Ethernet2Header, Ipv4Header, Ipv4Options};
use socket2::{Domain, Socket, Type};
use xtask::lab::{CLIENT_MAC, Flags, Guard, HandMade, Lab, Nginx, SERVER_MAC, Segment, TcpOptions};

use common::SOON;

/// Longer than a SYN-ACK takes, and shorter than until it is sent again.
const SILENT: Duration = Duration::from_millis(300);
/// Ports of listeners that answer only some.
const LEAST_TTL: u16 = 8081;
const FILTER: u16 = 8082;
const SIGNED: u16 = 8083;

/// linux/in.h, linux/in6.h
const IP_MINTTL: i32 = 21;
const IPV6_MINHOPCOUNT: i32 = 73;

/// What there is around the server; `rp_filter` as systemd sets it.
const SURROUNDINGS: &str = "
    ip addr add 198.18.0.77/32 dev sg-server
    ip addr add 2001:db8::77/128 dev sg-server nodad
    ip route add blackhole 10.66.0.0/16
    ip route add unreachable 10.67.0.0/16
    ip route add prohibit 10.68.0.0/16
    ip -6 route add blackhole 2001:db8:2f00::/48
    ip -6 route add unreachable 2001:db8:2f01::/48
    sysctl -qw net.ipv4.conf.all.accept_source_route=0
    sysctl -qw net.ipv4.conf.all.rp_filter=2";

/// A SYN of a source to a port, with IPv4 options.
struct Case {
    name: &'static str,
    source: &'static str,
    port: u16,
    options: &'static [u8],
    answered: bool,
}

const fn case(name: &'static str, source: &'static str, port: u16, answered: bool) -> Case {
    Case {
        name,
        source,
        port,
        options: &[],
        answered,
    }
}

const CASES: &[Case] = &[
    case("a client", "10.7.0.1", 80, true),
    case("a client, IPv6", "2001:db8:2000::1", 80, true),
    case("a source of 0.0.0.0/8", "0.7.7.7", 80, true),
    case("the host itself", "198.18.0.77", 80, false),
    case("the link's broadcast address", "198.18.0.255", 80, false),
    case("blackhole", "10.66.0.1", 80, false),
    case("unreachable", "10.67.0.1", 80, false),
    case("prohibit", "10.68.0.1", 80, false),
    case("blackhole, IPv6", "2001:db8:2f00::1", 80, false),
    case("unreachable, IPv6", "2001:db8:2f01::1", 80, false),
    case("IP_MINTTL", "10.7.0.2", LEAST_TTL, false),
    case("IPV6_MINHOPCOUNT", "2001:db8:2000::2", LEAST_TTL, false),
    case("a socket filter", "10.7.0.3", FILTER, false),
    case("a socket filter, IPv6", "2001:db8:2000::3", FILTER, false),
    case("TCP_MD5SIG, unsigned", "10.9.9.9", SIGNED, false),
    case("TCP_MD5SIG, others", "10.9.9.10", SIGNED, true),
    case("TCP_MD5SIG, IPv6", "2001:db8:2999::9", SIGNED, false),
    case("TCP_MD5SIG, IPv6, others", "2001:db8:2999::a", SIGNED, true),
    Case {
        name: "a loose source route",
        source: "10.7.0.4",
        port: 80,
        // Its last address was reached (RFC 791).
        options: &[131, 7, 8, 10, 7, 0, 99, 0],
        answered: false,
    },
    Case {
        name: "a strict source route",
        source: "10.7.0.5",
        port: 80,
        options: &[137, 7, 8, 10, 7, 0, 99, 0],
        answered: false,
    },
    Case {
        name: "a recorded route",
        source: "10.7.0.6",
        port: 80,
        options: &[7, 7, 4, 0, 0, 0, 0, 0],
        answered: true,
    },
];

#[test]
fn nobody_is_answered_whom_the_stack_does_not_answer() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let _nginx = Nginx::start(&lab).unwrap();
    lab.server().output("sh", &["-ec", SURROUNDINGS]).unwrap();
    let _listeners = lab.server().run(listeners).unwrap();
    let mut port = 10_000;
    let mut answers = |who: &str| {
        for case in CASES {
            port += 1;
            let answered = ask(&lab, case, port);
            assert_eq!(answered, case.answered, "{who}: {}", case.name);
        }
    };
    answers("the stack");
    for engine in ["auto", "kernel"] {
        for mode in ["native", "generic"] {
            let arguments = ["--mode", "protect", "--engine", engine, "--xdp-mode", mode];
            let guard = Guard::start(&lab, &arguments).unwrap();
            answers(&format!("{engine}, {mode}"));
            assert!(cookies(&guard, &lab) >= 2, "no cookies");
            assert!(guard.stop_at_once().unwrap().success());
        }
    }
}

#[test]
fn without_a_way_back_there_is_no_answer() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let _nginx = Nginx::start(&lab).unwrap();
    let routes = "ip -4 route del default; ip -6 route del default
                  ip route add 10.7.0.0/16 via 198.18.0.2
                  ip route add 2001:db8:2000::/48 via 2001:db8:0:1::2";
    lab.server().output("sh", &["-ec", routes]).unwrap();
    let cases = [
        case("known", "10.7.0.1", 80, true),
        case("known, IPv6", "2001:db8:2000::1", 80, true),
        case("unknown", "10.8.0.1", 80, false),
        case("unknown, IPv6", "2001:db8:2fff::1", 80, false),
    ];
    let mut port = 10_000;
    let mut answers = |who: &str, all: bool| {
        for case in &cases {
            port += 1;
            let answered = ask(&lab, case, port);
            assert_eq!(answered, case.answered || all, "{who}: {}", case.name);
        }
    };
    answers("the stack", false);
    for engine in ["auto", "kernel"] {
        let guard = Guard::start(&lab, &["--mode", "protect", "--engine", engine]).unwrap();
        answers(engine, false);
        assert_eq!(cookies(&guard, &lab), 2, "cookies for the known");
        // Another table may have the routes that the main one has not.
        let policy = "ip route add default via 198.18.0.2 table 77
                      ip -6 route add default via 2001:db8:0:1::2 table 77
                      ip rule add from 198.18.0.1 table 77
                      ip -6 rule add from 2001:db8:0:1::1 table 77";
        lab.server().output("sh", &["-ec", policy]).unwrap();
        common::wait_until("the routes are followed", SOON, || {
            answers(engine, true);
            cookies(&guard, &lab) >= 6
        });
        let policy = "ip rule del table 77; ip -6 rule del table 77
                      ip route flush table 77; ip -6 route flush table 77";
        lab.server().output("sh", &["-ec", policy]).unwrap();
        assert!(guard.stop_at_once().unwrap().success());
    }
}

/// Cookies sent to clients of port 80.
fn cookies(guard: &Guard, lab: &Lab) -> u64 {
    guard.service(lab, 80).unwrap()["counters"]["cookies_sent"]
        .as_u64()
        .unwrap()
}

/// Whether a SYN is answered.
fn ask(lab: &Lab, case: &Case, port: u16) -> bool {
    let source = SocketAddr::new(case.source.parse().unwrap(), port);
    let service: IpAddr = if source.is_ipv6() {
        xtask::lab::SERVER_IPV6.into()
    } else {
        xtask::lab::SERVER_IPV4.into()
    };
    let service = SocketAddr::new(service, case.port);
    let syn = Segment {
        source,
        destination: service,
        seq: u32::from(port) << 8,
        ack: 0,
        flags: Flags {
            syn: true,
            ..Flags::default()
        },
        window: 64_240,
        options: TcpOptions::FULL,
        ttl: 64,
        payload: Vec::new(),
    };
    let mut frame = syn.frame(CLIENT_MAC, SERVER_MAC).unwrap();
    if !case.options.is_empty() {
        frame = with_options(&frame, case.options);
    }
    let mut hand_made = HandMade::new(lab).unwrap();
    let mut flow = xtask::lab::Flow {
        source,
        service,
        isn: syn.seq,
        next: syn.seq + 1,
        expected: 0,
        options: syn.options,
        syn_ack: None,
    };
    hand_made.send_frame(&frame).unwrap();
    let within = if case.answered { SOON } else { SILENT };
    hand_made.syn_ack(&mut flow, within).unwrap()
}

/// The frame with these IPv4 options.
fn with_options(frame: &[u8], options: &[u8]) -> Vec<u8> {
    let (ethernet, rest) = Ethernet2Header::from_slice(frame).unwrap();
    let (mut ip, tcp) = Ipv4Header::from_slice(rest).unwrap();
    ip.options = Ipv4Options::try_from(options).unwrap();
    ip.set_payload_len(tcp.len()).unwrap();
    ip.header_checksum = ip.calc_header_checksum();
    let mut changed = Vec::new();
    ethernet.write(&mut changed).unwrap();
    ip.write(&mut changed).unwrap();
    changed.extend_from_slice(tcp);
    changed
}

/// Listeners that answer only some.
fn listeners() -> Vec<TcpListener> {
    let listener = |port: u16, set_up: &dyn Fn(&Socket)| {
        let socket = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        set_up(&socket);
        let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        socket.bind(&address.into()).unwrap();
        socket.listen(511).unwrap();
        TcpListener::from(socket)
    };
    vec![
        listener(LEAST_TTL, &|socket| {
            set(socket, libc::IPPROTO_IP, IP_MINTTL, &255_i32);
            set(socket, libc::IPPROTO_IPV6, IPV6_MINHOPCOUNT, &255_i32);
        }),
        listener(FILTER, &|socket| {
            // return 0: nothing of any segment.
            let nothing = socket2::SockFilter::new(0x06, 0, 0, 0);
            socket.attach_filter(&[nothing]).unwrap();
        }),
        listener(SIGNED, &|socket| {
            for peer in ["[::ffff:10.9.9.9]:0", "[2001:db8:2999::9]:0"] {
                sign(socket, peer.parse().unwrap());
            }
        }),
    ]
}

/// `struct tcp_md5sig` of linux/tcp.h.
#[repr(C)]
struct Md5Key {
    peer: libc::sockaddr_storage,
    flags: u8,
    prefix_length: u8,
    key_length: u16,
    interface: i32,
    key: [u8; 80],
}

/// Has all segments of a peer be signed (`TCP_MD5SIG`).
fn sign(socket: &Socket, peer: SocketAddr) {
    let address = socket2::SockAddr::from(peer);
    let mut key = Md5Key {
        // SAFETY: plain numbers.
        peer: unsafe { std::mem::zeroed() },
        flags: 0,
        prefix_length: 0,
        key_length: 6,
        interface: 0,
        key: [0; 80],
    };
    key.key[..6].copy_from_slice(b"secret");
    // SAFETY: an address is no larger than the storage of any.
    unsafe {
        std::ptr::copy_nonoverlapping(
            address.as_ptr().cast::<u8>(),
            (&raw mut key.peer).cast::<u8>(),
            address.len() as usize,
        );
    }
    set(socket, libc::IPPROTO_TCP, libc::TCP_MD5SIG, &key);
}

fn set<T>(socket: &Socket, level: i32, name: i32, value: &T) {
    // SAFETY: the kernel reads so many bytes of the value.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}
