//! What the integration tests share.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]
#![allow(dead_code, reason = "not every test file uses all of it")]

pub mod for_all;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use syn_guard::report::SourceReport;
use xtask::lab::{Flow, Guard, HandMade, Lab, Namespace, patiently};

/// Long enough for anything that is to happen at once, on a machine that others keep busy too.
pub const SOON: Duration = Duration::from_secs(10);

/// Polls until it holds.
pub fn wait_until(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + patiently(within);
    while !holds() {
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A source that no stack owns: number `index` of either family, each IPv6 one
/// in a /64 of its own.
pub fn spoofed(ipv6: bool, index: u16) -> IpAddr {
    let [high, low] = index.to_be_bytes();
    if ipv6 {
        Ipv6Addr::new(0x2001, 0xdb8, 0x2000, index, 0, 0, 0, 1).into()
    } else {
        Ipv4Addr::new(10, 7, high, low).into()
    }
}

/// All sources that the guard counts.
pub fn sources(lab: &Lab) -> Vec<SourceReport> {
    let socket = lab.guard_state().join("control.sock");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime
        .block_on(syn_guard::client::sources(&socket))
        .unwrap()
}

/// Half-open connections by source, as `ss` lists them.
pub fn half_open_of_ss(lab: &Lab) -> BTreeMap<String, u64> {
    let mut by_source = BTreeMap::new();
    let lines = lab
        .server()
        .output("ss", &["-Htn", "state", "syn-recv"])
        .unwrap();
    for line in lines.lines() {
        let remote = line.split_whitespace().nth(3).unwrap();
        let remote: SocketAddr = remote.parse().unwrap();
        *by_source.entry(remote.ip().to_string()).or_default() += 1;
    }
    by_source
}

/// Half-open connections by source, as the guard counts them in the kernel.
pub fn half_open_of_guard(lab: &Lab) -> BTreeMap<String, u64> {
    sources(lab)
        .into_iter()
        .filter(|source| source.half_open > 0)
        .map(|source| {
            // The tests use one address of each /64: number 1.
            let address = match source.source.strip_suffix("/64") {
                Some(prefix) => format!("{prefix}1"),
                None => source.source,
            };
            (address, source.half_open)
        })
        .collect()
}

/// Makes SYN-ACKs arrive before they are asked for.
pub fn settle(hand_made: &mut HandMade) {
    std::thread::sleep(Duration::from_millis(100));
    hand_made.clear().unwrap();
}

/// What a page is asked for with.
pub const REQUEST: &[u8] = b"GET / HTTP/1.0\r\nHost: lab\r\n\r\n";

/// Cookies of port 80 that became connections.
pub fn validated(guard: &Guard, lab: &Lab) -> u64 {
    guard.service(lab, 80).unwrap()["counters"]["cookies_validated"]
        .as_u64()
        .unwrap()
}

/// ACKs of port 80 of no connection and without a valid cookie.
pub fn rejected(guard: &Guard, lab: &Lab) -> u64 {
    guard.service(lab, 80).unwrap()["counters"]["cookies_rejected"]
        .as_u64()
        .unwrap()
}

/// A page over a hand-made connection; none when it was reset or is silent.
pub fn page(hand_made: &mut HandMade, flow: &mut Flow) -> Option<String> {
    hand_made.data(flow, REQUEST).unwrap();
    let mut text = String::new();
    while let Some(segment) = hand_made.receive(flow, SOON).unwrap() {
        if segment.flags.rst {
            return None;
        }
        text.push_str(&String::from_utf8_lossy(&segment.payload));
        if text.contains("</html>") || text.contains(xtask::lab::PAGE) {
            return Some(text);
        }
    }
    None
}

/// SYNs that came to port 80: what a flood sent and a full ring lost is not among them.
pub fn came(guard: &Guard, lab: &Lab) -> u64 {
    guard.service(lab, 80).unwrap()["counters"]["syns"]
        .as_u64()
        .unwrap()
}

/// A number of a stack, from a table of `/proc/net`.
pub fn of_the_stack(side: &Namespace, file: &str, table: &str, name: &str) -> u64 {
    let path = format!("/proc/net/{file}");
    let text = side.output("cat", &[&path]).unwrap();
    let mut rows = text.lines().filter(|line| line.starts_with(table));
    let (names, values) = (rows.next().unwrap(), rows.next().unwrap());
    let at = names.split(' ').position(|it| it == name).unwrap();
    values.split(' ').nth(at).unwrap().parse().unwrap()
}

/// SYNs and SYN-ACKs that clients had to send again.
pub fn syns_sent_again(lab: &Lab) -> u64 {
    of_the_stack(lab.client(), "netstat", "TcpExt: ", "TCPSynRetrans")
}

/// How often a reason decided.
pub fn verdict(guard: &Guard, lab: &Lab, reason: &str) -> u64 {
    let status = guard.status(lab).unwrap();
    let verdicts = status["verdicts"].as_array().unwrap();
    let found = verdicts.iter().find(|verdict| verdict["reason"] == reason);
    found.unwrap()["packets"].as_u64().unwrap()
}

/// Whether the kernel makes the guard's cookies (`--engine kernel`): without
/// timestamps they carry an MSS only.
pub fn kernel_engine(guard: &Guard, lab: &Lab) -> bool {
    guard.status(lab).unwrap()["engine"] == "kernel"
}

/// Listens for MPTCP, and so for TCP, in the server's namespace; none where the
/// kernel has no MPTCP.
pub fn mptcp_listener(lab: &Lab, address: SocketAddr) -> Option<TcpListener> {
    /// linux/in.h
    const IPPROTO_MPTCP: i32 = 262;
    let listener = lab.server().run(|| {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(address),
            socket2::Type::STREAM,
            Some(IPPROTO_MPTCP.into()),
        )?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(511)?;
        Ok::<_, std::io::Error>(TcpListener::from(socket))
    });
    match listener.unwrap() {
        Ok(listener) => Some(listener),
        Err(error) => {
            // EPROTONOSUPPORT, EINVAL
            assert!(matches!(error.raw_os_error(), Some(93 | 22)), "{error}");
            None
        }
    }
}

/// A second cable between the two hosts, that nobody attached anything to:
/// `sg-second` on both, 198.18.5.1 and 2001:db8:0:5::1 the server's addresses.
/// With more than one queue at the client the server's side takes no native XDP
/// program (`veth_xdp_set`, Linux 6.18).
pub fn second_cable(lab: &Lab, client_queues: u8) {
    let client = lab.client().name().to_owned();
    let script = format!(
        "ip link add sg-second numrxqueues 1 numtxqueues 1 type veth \
             peer name sg-second netns {client} \
             numrxqueues {client_queues} numtxqueues {client_queues}
         ip addr add 198.18.5.1/24 dev sg-second
         ip addr add 2001:db8:0:5::1/64 dev sg-second nodad
         ip link set sg-second up"
    );
    lab.server().output("sh", &["-ec", &script]).unwrap();
    let script = "ip addr add 198.18.5.2/24 dev sg-second
                  ip addr add 2001:db8:0:5::2/64 dev sg-second nodad
                  ip link set sg-second up";
    lab.client().output("sh", &["-ec", script]).unwrap();
}
