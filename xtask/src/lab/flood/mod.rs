//! Spoofed floods of SYNs or ACKs: fast ones made by an XDP program, slow ones through a packet socket.

mod fast;
mod plan;
mod slow;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};

pub(super) use self::plan::Plan;
use self::{fast::Generator, slow::Sent};
use super::{Lab, TcpOptions};

/// No flood lasts longer.
const LONGEST: Duration = Duration::from_secs(120);
/// Floods up to this rate leave the generator's core to others; faster ones keep it busy.
const SLOW: u64 = 20_000;

/// What to flood with. The numbers are frames a second; sources, ports and sequence numbers change
/// with every frame.
#[derive(Clone, Debug)]
pub struct Flood {
    target: SocketAddr,
    rate: Option<u64>,
    duration: Duration,
    sources: Option<(IpAddr, u64)>,
    ports: Option<u16>,
    options: TcpOptions,
    first: bool,
    acks: bool,
}

impl Flood {
    /// A flood as fast as one core makes it, from all of 10.0.0.0/8 or 2001:db8:2000::/36, with MSS
    /// and window scale, for 10 s at most.
    #[must_use]
    pub fn new(target: SocketAddr) -> Self {
        Self {
            target,
            rate: None,
            duration: Duration::from_secs(10),
            sources: None,
            ports: None,
            options: TcpOptions::SHORT,
            first: false,
            acks: false,
        }
    }

    /// SYNs a second.
    #[must_use]
    pub fn rate(mut self, rate: u64) -> Self {
        self.rate = Some(rate);
        self
    }

    /// When it ends by itself; at most 2 minutes.
    #[must_use]
    pub fn duration(mut self, duration: Duration) -> Self {
        self.duration = duration.min(LONGEST);
        self
    }

    /// Only so many sources: 10.0.0.1 or 2001:db8:2000::1 and those after it.
    #[must_use]
    pub fn few_sources(self, count: u32) -> Self {
        let first = match self.target {
            SocketAddr::V4(_) => Ipv4Addr::new(10, 0, 0, 1).into(),
            SocketAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0x2000, 0, 0, 0, 0, 1).into(),
        };
        self.sources(first, count)
    }

    /// Only so many sources from `first` on.
    #[must_use]
    pub fn sources(mut self, first: IpAddr, count: u32) -> Self {
        self.sources = Some((first, u64::from(count)));
        self
    }

    /// To so many ports, the target's and those after it, in a random order. Not for floods of a
    /// few thousand a second.
    #[must_use]
    pub fn ports(mut self, count: u16) -> Self {
        self.ports = Some(count);
        self
    }

    /// Adds SACK and timestamps to the options.
    #[must_use]
    pub fn full_options(mut self) -> Self {
        self.options = TcpOptions::FULL;
        self
    }

    /// ACKs of connections that never were, without options, in place of SYNs. What
    /// they acknowledge changes with every frame too.
    #[must_use]
    pub fn acks(mut self) -> Self {
        self.acks = true;
        self.options = TcpOptions::NONE;
        self
    }

    /// Puts a fast flood before all ordinary processes of its core: what else
    /// runs on the machine then does not slow it. For short floods.
    #[must_use]
    pub fn before_others(mut self) -> Self {
        self.first = true;
        self
    }

    /// Whom it floods.
    pub(super) fn target(&self) -> SocketAddr {
        self.target
    }

    /// Whether it is of ACKs.
    pub(super) fn is_acks(&self) -> bool {
        self.acks
    }

    /// What its frames have in common, and one of them without what changes.
    pub(super) fn frames(&self) -> Result<(Plan, Vec<u8>)> {
        let frame = fast::template(self)?;
        let mut plan = Plan::new(self)?;
        plan.set_frame(&frame)?;
        Ok((plan, frame))
    }

    /// Starts it; a fast one on the machine's last core.
    pub fn start(self, lab: &Lab) -> Result<RunningFlood> {
        ensure!(self.rate != Some(0), "a flood has a rate above 0");
        let stop = Arc::new(AtomicBool::new(false));
        let (source, thread) = match self.rate {
            Some(rate) if rate <= SLOW => {
                ensure!(self.ports.is_none(), "a slow flood goes to one port");
                let (sent, thread) = slow::start(&self, rate, lab, Arc::clone(&stop))?;
                (Source::Slow(sent), thread)
            }
            _ => {
                let (generator, thread) = fast::start(&self, lab, Arc::clone(&stop))?;
                (Source::Fast(Box::new(generator)), thread)
            }
        };
        Ok(RunningFlood {
            started: Instant::now(),
            source,
            stop,
            thread: Some(thread),
        })
    }
}

enum Source {
    Fast(Box<Generator>),
    Slow(Sent),
}

/// A flood under way; dropping it ends it.
pub struct RunningFlood {
    started: Instant,
    source: Source,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl RunningFlood {
    /// Frames sent so far.
    pub fn sent(&self) -> Result<u64> {
        match &self.source {
            Source::Fast(generator) => generator.sent(),
            Source::Slow(sent) => Ok(sent.get()),
        }
    }

    /// When the first frame went, `CLOCK_MONOTONIC` nanoseconds; 0 before, and of a slow flood.
    pub fn began_ns(&self) -> Result<u64> {
        match &self.source {
            Source::Fast(generator) => generator.began_ns(),
            Source::Slow(_) => Ok(0),
        }
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Ends it and returns how many frames it sent.
    pub fn stop(mut self) -> Result<u64> {
        self.end()?;
        self.sent()
    }

    /// Waits until it ends by itself and returns how many frames it sent.
    pub fn join(mut self) -> Result<u64> {
        self.wait()?;
        self.sent()
    }

    fn end(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let told = match &mut self.source {
            Source::Fast(generator) => generator.stop(),
            Source::Slow(_) => Ok(()),
        };
        self.wait()?;
        told
    }

    fn wait(&mut self) -> Result<()> {
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(_)) => bail!("the flood panicked"),
        }
    }
}

impl Drop for RunningFlood {
    fn drop(&mut self) {
        // Who drops a flood does not ask how it went.
        let _ = self.end();
    }
}
