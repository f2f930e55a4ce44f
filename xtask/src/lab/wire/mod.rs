//! A bad wire between the lab's two sides: it loses, delays, doubles and reorders frames, which
//! kernels without netem cannot.
//!
//! ```text
//!  sg-client <-veth-> sg-wire-c   [packet sockets]   sg-wire-s <-veth-> sg-server
//! ```

mod handshakes;
mod plan;

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use aya::Ebpf;

use self::handshakes::{Fate, Handshakes};
pub use self::plan::{Plan, Trick, WireReport};
use super::{Lab, Namespace, cleaner::Cleaner, object, packet_socket::PacketSocket};

/// The inner end of the server's link.
pub(super) const WIRE_TO_SERVER: &str = "sg-wire-s";
/// The inner end of the client's link.
pub(super) const WIRE_TO_CLIENT: &str = "sg-wire-c";

/// How long a trick's frame waits for a later one at most.
const PATIENCE: Duration = Duration::from_millis(300);
/// How often a wire looks whether it is to end.
const LOOK: Duration = Duration::from_millis(20);
/// The longest frame that crosses.
const LONGEST: usize = 65_536;

/// The namespace between the two sides.
pub(super) struct Middle {
    namespace: Namespace,
    _ebpf: Ebpf,
}

impl Middle {
    pub(super) fn open(cleaner: &Cleaner, logs: &Path) -> Result<Self> {
        let namespace = Namespace::open(&cleaner.wire_name(), logs)?;
        let mut ebpf = object::open()?;
        // What XDP sends back at the server reaches the inner end only where XDP runs too (Linux
        // 6.18, `veth_xdp_flush`).
        object::attach(&mut ebpf, "pass", &namespace, WIRE_TO_SERVER)?;
        Ok(Self {
            namespace,
            _ebpf: ebpf,
        })
    }
}

/// Joins the two sides of a lab of [`Lab::with_wire_for_test`] while it lives.
#[derive(Debug)]
pub struct Wire {
    stop: Arc<AtomicBool>,
    ways: Vec<JoinHandle<Result<WireReport>>>,
}

impl Wire {
    /// Begins to forward, after a plan.
    pub fn start(lab: &Lab, plan: &Plan) -> Result<Self> {
        let namespace = &lab.wire.as_ref().context("this lab has no wire")?.namespace;
        let open = |interface| PacketSocket::open(namespace, interface, false).map(Arc::new);
        let (server, client) = (open(WIRE_TO_SERVER)?, open(WIRE_TO_CLIENT)?);
        let stop = Arc::new(AtomicBool::new(false));
        let ways = [
            (&client, &server, plan.to_server, plan.seed),
            (&server, &client, plan.to_client, plan.seed.wrapping_add(1)),
        ];
        let ways = ways.map(|(from, to, delay, seed)| {
            let way = Way {
                from: Arc::clone(from),
                to: Arc::clone(to),
                delay,
                dice: fastrand::Rng::with_seed(seed),
                plan: plan.clone(),
                handshakes: Handshakes::default(),
                under_way: BinaryHeap::new(),
                report: WireReport::default(),
            };
            let stop = Arc::clone(&stop);
            thread::spawn(move || way.run(&stop))
        });
        Ok(Self {
            stop,
            ways: ways.into(),
        })
    }

    /// Ends it; what is still under way is lost.
    pub fn stop(mut self) -> Result<WireReport> {
        self.end()
    }

    fn end(&mut self) -> Result<WireReport> {
        self.stop.store(true, Ordering::Release);
        let mut sum = WireReport::default();
        for way in self.ways.drain(..) {
            sum = sum
                + way
                    .join()
                    .unwrap_or_else(|_| bail!("the wire panicked"))
                    .context("the wire broke")?;
        }
        Ok(sum)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("{error:#}");
        }
    }
}

/// One way across the wire.
struct Way {
    from: Arc<PacketSocket>,
    to: Arc<PacketSocket>,
    delay: Duration,
    dice: fastrand::Rng,
    plan: Plan,
    handshakes: Handshakes,
    under_way: BinaryHeap<Reverse<UnderWay>>,
    report: WireReport,
}

/// A frame under way, in the order of arrival.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct UnderWay {
    arrives: Instant,
    number: u64,
    frame: Vec<u8>,
}

impl Way {
    fn run(mut self, stop: &AtomicBool) -> Result<WireReport> {
        let mut frame = vec![0; LONGEST];
        let mut number = 0;
        while !stop.load(Ordering::Acquire) {
            let wait = match self.under_way.peek() {
                Some(Reverse(next)) => next.arrives.saturating_duration_since(Instant::now()),
                None => LOOK,
            };
            if let Some(length) = self.from.receive(&mut frame, wait.min(LOOK))? {
                self.take(&frame[..length], &mut number);
            }
            while let Some(Reverse(next)) = self.under_way.peek()
                && next.arrives <= Instant::now()
            {
                if let Some(Reverse(arrived)) = self.under_way.pop() {
                    send(&self.to, &arrived.frame)?;
                }
            }
        }
        match self.from.dropped()? {
            0 => Ok(self.report),
            dropped => bail!("{dropped} frames did not fit into the wire's buffer"),
        }
    }

    /// Decides what becomes of a frame.
    fn take(&mut self, frame: &[u8], number: &mut u64) {
        self.report.frames += 1;
        let fate = match self.plan.trick {
            Some(trick) => self.handshakes.fate(trick, frame),
            None => Fate::Passes,
        };
        match fate {
            Fate::Passes => self.roll(frame, number),
            Fate::Lost => self.report.tricked += 1,
            // It may be that nothing comes after it.
            Fate::Waits => self.put(frame, self.delay + PATIENCE, number),
            Fate::Overtakes(waiting) => {
                self.put(frame, self.delay, number);
                let before = self.under_way.len();
                self.under_way
                    .retain(|Reverse(one)| !waiting.contains(&one.frame));
                // Of those that waited in vain none is left.
                if self.under_way.len() + waiting.len() == before {
                    self.report.tricked += 1;
                    for frame in waiting {
                        self.put(&frame, self.delay, number);
                    }
                }
            }
        }
    }

    /// Rolls the dice for a frame.
    fn roll(&mut self, frame: &[u8], number: &mut u64) {
        if self.dice.f64() < self.plan.loss {
            self.report.lost += 1;
            return;
        }
        let mut delay = self.delay;
        if self.dice.f64() < self.plan.reordering {
            self.report.held_back += 1;
            delay += self.plan.held_back;
        }
        self.put(frame, delay, number);
        if self.plan.doubled {
            self.put(frame, delay, number);
        }
    }

    fn put(&mut self, frame: &[u8], delay: Duration, number: &mut u64) {
        *number += 1;
        self.under_way.push(Reverse(UnderWay {
            arrives: Instant::now() + delay,
            number: *number,
            frame: frame.to_vec(),
        }));
    }
}

/// Sends a frame. A full ring of the veth is no part of any plan: it is waited for.
fn send(to: &PacketSocket, frame: &[u8]) -> Result<()> {
    let give_up = Instant::now() + Duration::from_secs(1);
    loop {
        let Err(error) = to.send(frame) else {
            return Ok(());
        };
        let full = error
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.raw_os_error() == Some(libc::ENOBUFS));
        if !full || Instant::now() > give_up {
            return Err(error);
        }
        thread::sleep(Duration::from_micros(100));
    }
}
