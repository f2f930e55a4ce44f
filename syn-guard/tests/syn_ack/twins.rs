//! Two listeners alike, one of which is guarded, and SYNs to both.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use xtask::lab::{Guard, HandMade, Lab, SERVER_IPV4, SERVER_IPV6};

use crate::compare::differences;
use crate::frame::{self, SynAck};
use crate::syns::Syn;

/// The guarded port, and the one that is the kernel's alone.
pub const GUARDED: u16 = 80;
const PLAIN: u16 = 81;
/// Fewer than the 256 frames of a veth's ring.
const BATCH: usize = 64;
/// How long answers are waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// Within that the guard has seen that something changed.
const SETTLED: Duration = Duration::from_secs(15);

/// An option of a socket: level, name, value.
pub type SocketOption = (i32, i32, i32);

/// Asks both listeners.
pub struct Twins<'a> {
    lab: &'a Lab,
    guard: &'a Guard,
    hand_made: HandMade,
    asked: u32,
    /// The kernel's answers leave by another device, which has an address of
    /// its own; the guard answers from that which the SYN was for.
    pub other_device: bool,
    /// SYN-ACKs of the kernel that the guard's were compared to.
    pub compared: usize,
}

/// What asking both came to.
pub struct Outcome {
    /// The kernel's answers.
    pub kernel: Vec<SynAck>,
    /// What was different to the last.
    pub differences: Vec<String>,
}

/// A SYN on its way: where from, where to, sequence number.
type Sent = (SocketAddr, SocketAddr, u32);

impl<'a> Twins<'a> {
    pub fn new(lab: &'a Lab, guard: &'a Guard) -> Self {
        Self {
            lab,
            guard,
            hand_made: HandMade::new(lab).unwrap(),
            asked: 0,
            other_device: false,
            compared: 0,
        }
    }

    /// Sends all SYNs to both listeners, from sources of the `group` of each
    /// family, until they agree or it is too late.
    pub fn ask(&mut self, syns: &[Syn], group: u8) -> Outcome {
        let all: Vec<(&Syn, bool)> = [false, true]
            .iter()
            .flat_map(|ipv6| syns.iter().map(|syn| (syn, *ipv6)))
            .collect();
        let deadline = Instant::now() + SETTLED;
        let mut kernel = self.answers(&all, group, PLAIN);
        while kernel.iter().any(Option::is_none) {
            assert!(Instant::now() < deadline, "the kernel does not answer");
            kernel = self.answers(&all, group, PLAIN);
        }
        let kernel: Vec<SynAck> = kernel.into_iter().flatten().collect();
        loop {
            let before = self.cookies_sent();
            let guards = self.answers(&all, group, GUARDED);
            let cookies = self.cookies_sent() - before;
            let mut found: Vec<String> = (0..all.len())
                .flat_map(|at| {
                    let (syn, ipv6) = all[at];
                    let said = match &guards[at] {
                        Some(guards) => differences(syn, &kernel[at], guards),
                        None => vec!["no answer of the guard".to_owned()],
                    };
                    let family = if ipv6 { 6 } else { 4 };
                    said.into_iter()
                        .filter(|said| !(self.other_device && said.starts_with("Ethernet:")))
                        .map(move |said| format!("IPv{family}, {}: {said}", syn.name))
                })
                .collect();
            if found.is_empty() && cookies != all.len() as u64 {
                found.push(format!("{cookies} cookies for {} SYNs", all.len()));
            }
            if found.is_empty() || Instant::now() > deadline {
                self.compared += all.len();
                return Outcome {
                    kernel,
                    differences: found,
                };
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn cookies_sent(&self) -> u64 {
        let service = self.guard.service(self.lab, GUARDED).unwrap();
        service["counters"]["cookies_sent"].as_u64().unwrap()
    }

    fn answers(&mut self, all: &[(&Syn, bool)], group: u8, port: u16) -> Vec<Option<SynAck>> {
        let mut answers = Vec::new();
        for batch in all.chunks(BATCH) {
            let sent: Vec<Sent> = batch
                .iter()
                .map(|(syn, ipv6)| self.send(syn, *ipv6, group, port))
                .collect();
            let mut frames = self.collect(&sent);
            answers.extend(sent.iter().map(|(source, service, sequence)| {
                let frame = frames.remove(source)?;
                // Neither SYN nor ACK: a reset, for nobody listens yet.
                let flags = frame[if source.is_ipv4() { 47 } else { 67 }];
                (flags & 0x12 == 0x12)
                    .then(|| frame::read(&frame, *source, *service, *sequence, port == GUARDED))
            }));
        }
        answers
    }

    fn send(&mut self, syn: &Syn, ipv6: bool, group: u8, port: u16) -> Sent {
        self.asked += 1;
        let [_, _, high, low] = self.asked.to_be_bytes();
        let (source, service): (IpAddr, IpAddr) = if ipv6 {
            let group = 0x2000 + u16::from(group);
            let number = u16::from_be_bytes([high, low]);
            (
                Ipv6Addr::new(0x2001, 0xdb8, group, number, 0, 0, 0, 1).into(),
                SERVER_IPV6.into(),
            )
        } else {
            (
                Ipv4Addr::new(10, group, high, low).into(),
                SERVER_IPV4.into(),
            )
        };
        let sequence = self.asked.wrapping_mul(0x9e37_79b9);
        let port_of_client = 1024 + (self.asked % 60_000) as u16;
        let (source, service) = (
            SocketAddr::new(source, port_of_client),
            SocketAddr::new(service, port),
        );
        let frame = frame::write(syn, source, service, sequence);
        self.hand_made.send_frame(&frame).unwrap();
        (source, service, sequence)
    }

    /// The first answer to each.
    fn collect(&mut self, sent: &[Sent]) -> HashMap<SocketAddr, Vec<u8>> {
        let mut frames = HashMap::new();
        let deadline = Instant::now() + PATIENCE;
        while frames.len() < sent.len() {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(frame) = self.hand_made.receive_frame(left).unwrap() else {
                break;
            };
            let Some(client) = frame::client_of(frame) else {
                continue;
            };
            if sent.iter().any(|(source, ..)| *source == client) {
                frames.entry(client).or_insert_with(|| frame.to_vec());
            }
        }
        frames
    }
}

/// Listeners of both families on both ports, all with these options.
pub fn listen(lab: &Lab, options: &[(bool, SocketOption)]) -> Vec<Socket> {
    lab.server()
        .run(|| {
            let mut sockets = Vec::new();
            for port in [GUARDED, PLAIN] {
                for (domain, address) in [
                    (Domain::IPV4, IpAddr::from(Ipv4Addr::UNSPECIFIED)),
                    (Domain::IPV6, IpAddr::from(Ipv6Addr::UNSPECIFIED)),
                ] {
                    let ipv6 = domain == Domain::IPV6;
                    let socket = Socket::new(domain, Type::STREAM, None).unwrap();
                    socket.set_reuse_address(true).unwrap();
                    if ipv6 {
                        socket.set_only_v6(true).unwrap();
                    }
                    for (only_ipv6, option) in options {
                        if ipv6 || !only_ipv6 {
                            set(&socket, *option);
                        }
                    }
                    socket.bind(&SocketAddr::new(address, port).into()).unwrap();
                    socket.listen(65_535).unwrap();
                    sockets.push(socket);
                }
            }
            sockets
        })
        .unwrap()
}

fn set(socket: &Socket, (level, name, value): SocketOption) {
    let length = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the pointer and length are those of `value`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            length,
        )
    };
    let error = std::io::Error::last_os_error();
    assert_eq!(result, 0, "option {level} {name}: {error}");
}
