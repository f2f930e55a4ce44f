//! The lab: a server and a client in network namespaces of their own, joined by a veth pair, with
//! floods, honest clients and hand-made handshakes between them.
//!
//! ```text
//!  client namespace                                server namespace
//!  sg-client 198.18.0.2, 2001:db8:0:1::2  <-veth->  sg-server 198.18.0.1, 2001:db8:0:1::1
//!  honest sources 198.19.0.0/16, 2001:db8:1000::/36 (local, any can be bound)
//!  spoofed sources 10.0.0.0/8, 2001:db8:2000::/36 (nobody's; answers are counted and dropped)
//! ```
//!
//! A lab of [`Lab::with_wire_for_test`] has a third namespace between the two, where a [`Wire`]
//! loses, delays, doubles and reorders frames.
//!
//! Nothing in it reaches the machine's own interfaces, every flood ends by itself, and dropping the
//! [`Lab`] removes namespaces, mounts and processes. Only one lab lives on a machine at a time: a
//! thread that holds one must not ask for another.

mod alone;
mod answers;
mod capture;
mod certificate;
mod child;
mod cleaner;
mod clients;
pub(crate) mod cores;
mod engines;
mod ethtool;
mod flood;
mod floor;
mod guard;
mod hand_made;
mod http;
mod iperf;
mod listeners;
mod lock;
mod namespace;
mod nginx;
mod object;
mod offload;
mod packet_socket;
mod patience;
mod postgres;
mod queues;
mod segment;
mod shared;
mod short_connections;
mod size;
mod sshd;
mod topology;
mod wire;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

pub use self::{
    alone::{Alone, Frames, Measured, Part, Program},
    answers::PassAnswers,
    capture::{Capture, Captured},
    certificate::Certificate,
    child::Child,
    cleaner::Cleaner,
    clients::{HonestClients, HonestReport, RunningClients},
    engines::{CONTAINER_PORT, Docker, Firewalld, PUBLISHED_PORT, Podman, Private, Ufw},
    flood::{Flood, RunningFlood},
    floor::{Floor, Passing},
    guard::{ENGINE, Guard, Programs, binary},
    hand_made::{Flow, HandMade},
    http::fetch,
    iperf::{Direction, Iperf, Throughput},
    listeners::{FIRST_PORT, Listeners},
    namespace::Namespace,
    nginx::{Nginx, NginxSetup, PAGE},
    offload::Offload,
    patience::{patience, patiently},
    postgres::{Pgbench, Postgres},
    segment::{Flags, Segment, TcpOptions},
    shared::{SharedMaps, Snapshot},
    short_connections::{ShortConnections, ShortReport},
    size::Size,
    sshd::Sshd,
    wire::{Plan, Trick, Wire, WireReport},
};
use self::{answers::Answers, lock::Lock};

/// The server's interface, where a guard attaches.
pub const SERVER_INTERFACE: &str = "sg-server";
/// The client's interface.
pub const CLIENT_INTERFACE: &str = "sg-client";
/// The server's IPv4 address.
pub const SERVER_IPV4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The client's own IPv4 address.
pub const CLIENT_IPV4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// The server's IPv6 address.
pub const SERVER_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1);
/// The client's own IPv6 address.
pub const CLIENT_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 2);
/// The server's hardware address.
pub const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The client's hardware address.
pub const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// An honest IPv4 source: number `index` (below 65,536) of 198.19.0.0/16.
#[must_use]
pub fn honest_ipv4(index: u16) -> IpAddr {
    let [high, low] = index.to_be_bytes();
    Ipv4Addr::new(198, 19, high, low).into()
}

/// An honest IPv6 source: number `index` of 2001:db8:1000::/36.
#[must_use]
pub fn honest_ipv6(index: u32) -> IpAddr {
    (Ipv6Addr::new(0x2001, 0xdb8, 0x1000, 0, 0, 0, 0, 0) | Ipv6Addr::from(u128::from(index))).into()
}

/// How long a server may take to start, on a machine that does other things as well.
const START: Duration = Duration::from_secs(30);

/// The two namespaces, their link and the lab's folders, until it is dropped.
pub struct Lab {
    server: Namespace,
    client: Namespace,
    wire: Option<wire::Middle>,
    answers: Answers,
    cleaner: Cleaner,
    _lock: Lock,
}

impl Lab {
    /// Makes a lab; waits while another one lives on this machine.
    pub fn new() -> Result<Self> {
        Self::make(false)
    }

    fn make(with_wire: bool) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);

        if !nix::unistd::geteuid().is_root() {
            bail!("the lab needs root: it makes network namespaces and loads XDP programs");
        }
        let lock = Lock::take()?;
        cleaner::remove_leftovers();
        let name = format!(
            "sg-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let cleaner = Cleaner::new(&name);
        // From here on the guard takes away what a failing step leaves.
        let guard = cleaner.guard();
        cleaner.make_folders()?;
        if with_wire {
            topology::make_with_wire(&cleaner)?;
        } else {
            topology::make(&cleaner)?;
        }
        let logs = cleaner.state_dir();
        let server = Namespace::open(&cleaner.server_name(), &logs)?;
        let client = Namespace::open(&cleaner.client_name(), &logs)?;
        topology::tune(&server, &client)?;
        let wire = if with_wire {
            topology::tune_for_wire(&server, &client)?;
            Some(wire::Middle::open(&cleaner, &logs)?)
        } else {
            None
        };
        let answers = Answers::attach(&client).context("attaching to the client's side")?;
        guard.keep();
        Ok(Self {
            server,
            client,
            wire,
            answers,
            cleaner,
            _lock: lock,
        })
    }

    /// A lab for a test: `None`, with the reason on stderr, without root. With `CI=true` that is an
    /// error instead.
    pub fn for_test() -> Result<Option<Self>> {
        Self::make_for_test(false)
    }

    /// A lab for a test, as [`Lab::for_test`] makes it, whose two sides are joined only while a
    /// [`Wire`] runs.
    pub fn with_wire_for_test() -> Result<Option<Self>> {
        Self::make_for_test(true)
    }

    fn make_for_test(with_wire: bool) -> Result<Option<Self>> {
        if !nix::unistd::geteuid().is_root() && std::env::var_os("CI").is_none_or(|ci| ci != "true")
        {
            eprintln!("skipped: the lab needs root");
            return Ok(None);
        }
        Self::make(with_wire).map(Some)
    }

    /// The server's namespace, where a guard and nginx run.
    #[must_use]
    pub fn server(&self) -> &Namespace {
        &self.server
    }

    /// The client's namespace.
    #[must_use]
    pub fn client(&self) -> &Namespace {
        &self.client
    }

    /// A BPF file system of this lab only, for a guard's pins.
    #[must_use]
    pub fn bpf_dir(&self) -> PathBuf {
        self.cleaner.bpf_dir()
    }

    /// A folder for state, configuration and logs; removed with the lab.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.cleaner.state_dir()
    }

    /// What removes the lab from outside, for example when a signal ends the program.
    #[must_use]
    pub fn cleaner(&self) -> Cleaner {
        self.cleaner.clone()
    }

    /// SYN-ACKs that reached spoofed sources so far.
    pub fn syn_acks_received(&self) -> Result<u64> {
        self.answers.syn_acks()
    }

    /// TCP frames of any kind that reached spoofed sources so far.
    pub fn answers_received(&self) -> Result<u64> {
        self.answers.frames()
    }

    /// Hands the answers to spoofed sources to the client's packet sockets, instead of dropping
    /// them, while the returned value lives.
    pub fn pass_answers(&self) -> Result<PassAnswers> {
        self.answers.pass()
    }

    /// Moves the server's packet work into a kernel thread on the machine's first core; floods run
    /// on the last one.
    pub fn separate_cores(&self) -> Result<()> {
        cores::thread_packet_work(&self.server, SERVER_INTERFACE, cores::first()?)
    }

    /// Keeps the calling thread, and those it starts, on the machine's first core.
    pub fn stay_on_first_core() -> Result<()> {
        cores::pin(cores::first()?)
    }

    /// Attaches the program that sends every spoofed frame back, where a guard would be.
    pub fn attach_floor(&self) -> Result<Floor> {
        Floor::attach(&self.server)
    }

    /// Attaches a program that passes everything, where a guard would be.
    pub fn attach_passing(&self) -> Result<Passing> {
        Passing::attach(&self.server)
    }

    /// Attaches a program that looks at frames and passes them, where a guard would be.
    pub fn attach_touching(&self) -> Result<Passing> {
        Passing::attach_touching(&self.server)
    }

    /// A path in [`Lab::state_dir`].
    #[must_use]
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.state_dir().join(name)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.cleaner.clean();
    }
}
