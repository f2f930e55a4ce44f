//! Which member of an `SO_REUSEPORT` group gets a connection, behind a guard that answers
//! every SYN. Needs root; without it the test says so and passes, except where `CI=true`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

mod common;

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use common::{SOON, kernel_engine, wait_until};
use socket2::{Domain, Socket, Type};
use xtask::lab::{CLIENT_IPV4, CLIENT_IPV6, Guard, Lab, SERVER_IPV4, SERVER_IPV6};

const FIRST_PORT: u16 = 8080;
const MEMBERS: usize = 4;
const CLIENTS: usize = 100;
/// Clients' own ports begin here.
const CLIENT_PORT: u16 = 20_000;
/// How long one connection may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// How a group chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    /// By the kernel's hash of addresses and ports.
    Hash,
    /// By that, among those with this CPU: every other member has the same
    /// (`SO_INCOMING_CPU`).
    IncomingCpu,
    /// By a program that says always the same.
    Constant,
    /// By a program that goes by the CPU.
    Cpu,
}

impl Choice {
    /// What `SO_ATTACH_REUSEPORT_CBPF` takes.
    fn program(self) -> Vec<libc::sock_filter> {
        /// `SKF_AD_OFF + SKF_AD_CPU` of linux/filter.h.
        const CPU: i32 = -0x1000 + 36;
        let instruction = |code: u32, k: u32| libc::sock_filter {
            code: code.try_into().unwrap(),
            jt: 0,
            jf: 0,
            k,
        };
        let by_number = instruction(libc::BPF_RET | libc::BPF_A, 0);
        match self {
            Self::Hash | Self::IncomingCpu => Vec::new(),
            Self::Constant => vec![instruction(libc::BPF_RET | libc::BPF_K, 2)],
            Self::Cpu => vec![
                instruction(
                    libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
                    CPU.cast_unsigned(),
                ),
                by_number,
            ],
        }
    }
}

/// A group of listeners.
struct Group {
    choice: Choice,
    bound: SocketAddr,
    client: IpAddr,
    server: IpAddr,
    members: Vec<Socket>,
}

impl Group {
    fn open(lab: &Lab, choice: Choice, bound: SocketAddr, ipv6: bool) -> Self {
        let open = |index: usize| {
            let socket = Socket::new(Domain::for_address(bound), Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            socket.set_reuse_port(true)?;
            if choice == Choice::IncomingCpu {
                socket.set_cpu_affinity(index % 2)?;
            }
            socket.bind(&bound.into())?;
            socket.listen(128)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let members: std::io::Result<Vec<_>> = lab
            .server()
            .run(|| (0..MEMBERS).map(open).collect())
            .unwrap();
        let members = members.unwrap();
        attach(&members[0], &mut choice.program());
        let (client, server): (IpAddr, IpAddr) = if ipv6 {
            (CLIENT_IPV6.into(), SERVER_IPV6.into())
        } else {
            (CLIENT_IPV4.into(), SERVER_IPV4.into())
        };
        Self {
            choice,
            bound,
            client,
            server,
            members,
        }
    }

    /// Which member gets each client. Every other client is on the same CPU.
    fn accepts(&self, lab: &Lab) -> Vec<usize> {
        let clients = || (0..CLIENTS).map(|index| self.accept(index)).collect();
        lab.client().run(clients).unwrap()
    }

    fn accept(&self, index: usize) -> usize {
        stay_on(index % 2);
        let target = SocketAddr::new(self.server, self.bound.port());
        let own = SocketAddr::new(self.client, CLIENT_PORT + u16::try_from(index).unwrap());
        let socket = Socket::new(Domain::for_address(target), Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        // No TIME_WAIT: the next of this port is new to everybody.
        socket.set_linger(Some(Duration::ZERO)).unwrap();
        socket.bind(&own.into()).unwrap();
        socket.connect_timeout(&target.into(), PATIENCE).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            for (member, listener) in self.members.iter().enumerate() {
                if let Ok((_, peer)) = listener.accept() {
                    assert_eq!(peer.as_socket().unwrap().port(), own.port());
                    return member;
                }
            }
            std::thread::yield_now();
        }
        panic!("nobody got {own} of {}", self.bound);
    }

    fn is_wildcard(&self) -> bool {
        self.bound.ip().is_unspecified()
    }
}

fn attach(listener: &Socket, program: &mut [libc::sock_filter]) {
    if program.is_empty() {
        return;
    }
    let program = libc::sock_fprog {
        len: program.len().try_into().unwrap(),
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the kernel copies the program, which is there.
    let result = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            size_of_val(&program).try_into().unwrap(),
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// What this thread sends is received on this CPU, where the machine has it.
fn stay_on(cpu: usize) {
    // SAFETY: plain data, of which zeroes are a value; the kernel reads it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &raw const set);
    }
}

fn count(members: &[usize]) -> [usize; MEMBERS] {
    let mut counts = [0; MEMBERS];
    for member in members {
        counts[*member] += 1;
    }
    counts
}

/// How many clients got a member for which `same` does not hold.
fn moved(before: &[usize], after: &[usize], same: impl Fn(usize, usize) -> bool) -> usize {
    let both = before.iter().zip(after);
    both.filter(|(before, after)| !same(**before, **after))
        .count()
}

#[test]
fn a_group_gives_a_connection_to_the_same_member_as_without_a_guard() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let bounds: [(IpAddr, bool); 5] = [
        (SERVER_IPV4.into(), false),
        (SERVER_IPV6.into(), true),
        ([0, 0, 0, 0].into(), false),
        ([0; 8].into(), false),
        ([0; 8].into(), true),
    ];
    let choices = [
        Choice::Hash,
        Choice::IncomingCpu,
        Choice::Constant,
        Choice::Cpu,
    ];
    let kinds = choices
        .iter()
        .flat_map(|choice| bounds.map(|bound| (*choice, bound)));
    let groups: Vec<_> = (FIRST_PORT..)
        .zip(kinds)
        .map(|(port, (choice, (address, ipv6)))| {
            Group::open(&lab, choice, (address, port).into(), ipv6)
        })
        .collect();
    let without: Vec<_> = groups.iter().map(|group| group.accepts(&lab)).collect();

    let guard = Guard::start(&lab, &["--mode", "protect"]).unwrap();
    let service = |group: &Group| guard.service(&lab, group.bound.port());
    wait_until("all are guarded", SOON, || {
        groups.iter().all(|group| service(group).is_ok())
    });
    let kernels = kernel_engine(&guard, &lab);
    for (group, without) in groups.iter().zip(&without) {
        let with = group.accepts(&lab);
        let same = |before, after| before == after;
        let (exactly, by_cpu) = (
            moved(without, &with, same),
            moved(without, &with, |before, after| before % 2 == after % 2),
        );
        println!(
            "{:?}, {} for {}: {:?} without a guard, {:?} with it, {exactly} got another",
            group.choice,
            group.bound,
            group.client,
            count(without),
            count(&with),
        );
        let cookies = service(group).unwrap()["counters"]["cookies_validated"].clone();
        assert!(cookies.as_u64().unwrap() >= CLIENTS as u64 / 2, "{cookies}");
        // Where packets are received may change now and then.
        let few = CLIENTS / 10;
        match group.choice {
            // `inet_steal_sock` hashes with the packet's address, `inet_lhash2_lookup` with
            // none where the group is bound to none (Linux 6.18).
            Choice::Hash if group.is_wildcard() && !kernels => {
                assert!(
                    exactly > 0,
                    "the kernel does it right: say so in the README"
                );
                let again = group.accepts(&lab);
                assert_eq!(with, again, "a client's member stays the same");
                assert!(count(&with).iter().all(|count| *count >= CLIENTS / 20));
            }
            Choice::IncomingCpu if group.is_wildcard() && !kernels => assert!(by_cpu <= few),
            Choice::IncomingCpu | Choice::Cpu => assert!(exactly <= few),
            Choice::Hash | Choice::Constant => assert_eq!(exactly, 0),
        }
    }
    assert!(guard.stop_at_once().unwrap().success());
}
