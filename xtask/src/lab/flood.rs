//! Spoofed SYN floods, made by an XDP program that runs over live frames.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use aya::{
    Ebpf, Pod, TestRun as _, TestRunAttrs, TestRunOptions,
    maps::{Array, MapData, PerCpuArray},
    programs::Xdp,
};

use super::{
    CLIENT_INTERFACE, CLIENT_MAC, Flags, Lab, SERVER_MAC, Segment, TcpOptions, cores, object,
};

/// No flood lasts longer.
const LONGEST: Duration = Duration::from_secs(120);
/// Frames in one go of the kernel's loop.
const BATCH: u32 = 64;
/// Runs of the program in one system call: some 50 to 100 ms.
const RUNS: u32 = 1 << 20;
/// Slower floods sleep between bursts instead of keeping their core busy.
const SLOW: u64 = 20_000;
/// Time between the bursts of a slow flood.
const PAUSE: Duration = Duration::from_millis(4);

/// What to flood with. The numbers are frames a second; sources, ports and sequence numbers change
/// with every frame.
#[derive(Clone, Debug)]
pub struct Flood {
    target: SocketAddr,
    rate: Option<u64>,
    duration: Duration,
    sources: Option<(IpAddr, u64)>,
    options: TcpOptions,
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
            options: TcpOptions::SHORT,
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

    /// Adds SACK and timestamps to the options.
    #[must_use]
    pub fn full_options(mut self) -> Self {
        self.options = TcpOptions::FULL;
        self
    }

    /// Starts it on the machine's last core.
    pub fn start(self, lab: &Lab) -> Result<RunningFlood> {
        ensure!(self.rate != Some(0), "a flood has a rate above 0");
        let (frame, plan) = self.plan(lab)?;
        let mut ebpf = object::open()?;
        let mut plan_map: Array<MapData, Plan> =
            ebpf.take_map("PLAN").context("no map PLAN")?.try_into()?;
        let progress = ebpf
            .take_map("PROGRESS")
            .context("no map PROGRESS")?
            .try_into()?;
        plan_map.set(0, plan, 0)?;
        let program = match (self.target, self.options == TcpOptions::FULL) {
            (SocketAddr::V4(_), false) => "flood_ipv4",
            (SocketAddr::V4(_), true) => "flood_ipv4_full",
            (SocketAddr::V6(_), false) => "flood_ipv6",
            (SocketAddr::V6(_), true) => "flood_ipv6_full",
        };
        object::load(&mut ebpf, program)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let core = cores::last()?;
        let thread = lab.client().start(move || {
            cores::pin(core)?;
            // 2 bytes short: see the program.
            let frame = &frame[..frame.len() - 2];
            self.run(&ebpf, program, frame, &stopped)
        });
        Ok(RunningFlood {
            started: Instant::now(),
            plan,
            plan_map,
            progress,
            stop,
            thread: Some(thread),
        })
    }

    fn run(&self, ebpf: &Ebpf, program: &str, frame: &[u8], stop: &AtomicBool) -> Result<()> {
        let program: &Xdp = ebpf
            .program(program)
            .context("the lab's object lost its program")?
            .try_into()?;
        let started = Instant::now();
        let burst = self.rate.filter(|rate| *rate <= SLOW);
        let mut sent = 0;
        while !stop.load(Ordering::Relaxed) && started.elapsed() < self.duration {
            let runs = match burst {
                None => RUNS,
                Some(rate) => {
                    let due = (started.elapsed().as_nanos() * u128::from(rate) / 1_000_000_000)
                        as u64
                        + 1;
                    let runs = u32::try_from(due.saturating_sub(sent))?.min(256);
                    sent = due;
                    if runs == 0 {
                        thread::sleep(PAUSE);
                        continue;
                    }
                    runs
                }
            };
            program
                .test_run(TestRunOptions {
                    data_in: Some(frame),
                    repeat: runs,
                    attrs: TestRunAttrs::new().xdp_live_frames(BATCH.min(runs)),
                    ..TestRunOptions::default()
                })
                .context("running the flood")?;
            if burst.is_some() {
                thread::sleep(PAUSE);
            }
        }
        Ok(())
    }

    /// The frame that each run starts from, and the plan.
    fn plan(&self, lab: &Lab) -> Result<(Vec<u8>, Plan)> {
        let unspecified: IpAddr = match self.target {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let segment = Segment {
            source: SocketAddr::new(unspecified, 0),
            destination: self.target,
            seq: 0,
            ack: 0,
            flags: Flags {
                syn: true,
                ..Flags::default()
            },
            window: 64_240,
            options: self.options,
            ttl: 57,
            payload: Vec::new(),
        };
        let mut frame = segment.frame(CLIENT_MAC, SERVER_MAC)?;
        let tcp = match self.target {
            SocketAddr::V4(_) => 34,
            SocketAddr::V6(_) => 54,
        };
        frame[tcp + 16..tcp + 18].fill(0);
        let mut plan = Plan {
            tcp_sum: sum(&frame[tcp..])
                + sum(&[0, 6])
                + sum(&u16::try_from(frame.len() - tcp)?.to_be_bytes()),
            interface: lab
                .client()
                .run(|| nix::net::if_::if_nametoindex(CLIENT_INTERFACE))??,
            // Slow floods pace themselves.
            interval: match self.rate {
                Some(rate) if rate > SLOW => (1_000_000_000 << 10) / rate,
                _ => 0,
            },
            duration: u64::try_from(self.duration.as_nanos())?,
            ..Plan::default()
        };
        match self.target {
            SocketAddr::V4(_) => {
                frame[24..26].fill(0);
                plan.ip_sum = sum(&frame[14..34]);
                plan.tcp_sum += sum(&frame[30..34]);
                (plan.base_low, plan.sources) = match self.sources {
                    None => (u64::from(Ipv4Addr::new(10, 0, 0, 0).to_bits()), 1 << 24),
                    Some((IpAddr::V4(first), count)) if first.octets()[0] == 10 => {
                        (u64::from(first.to_bits()), count.max(1))
                    }
                    Some((first, _)) => bail!("{first} is not of 10.0.0.0/8"),
                };
            }
            SocketAddr::V6(_) => {
                plan.tcp_sum += sum(&frame[38..54]);
                let prefix = 0x2001_0db8_2000_0000;
                (plan.base_high, plan.base_low) = match self.sources {
                    None => {
                        plan.spread_high = (1 << 28) - 1;
                        (prefix, 0)
                    }
                    Some((IpAddr::V6(first), count)) => {
                        let bits = first.to_bits();
                        let (high, low) = ((bits >> 64) as u64, bits as u64);
                        ensure!(
                            high & !((1 << 28) - 1) == prefix,
                            "{first} is not of 2001:db8:2000::/36"
                        );
                        plan.sources = count.max(1);
                        (high, low)
                    }
                    Some((first, _)) => bail!("{first} is no IPv6 source"),
                };
            }
        }
        for (word, bytes) in plan.frame.iter_mut().zip(frame.chunks(8)) {
            let mut whole = [0; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_ne_bytes(whole);
        }
        Ok((frame, plan))
    }
}

/// A flood under way; dropping it ends it.
pub struct RunningFlood {
    started: Instant,
    plan: Plan,
    plan_map: Array<MapData, Plan>,
    progress: PerCpuArray<MapData, Progress>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl RunningFlood {
    /// Frames sent so far.
    pub fn sent(&self) -> Result<u64> {
        let progress = self.progress.get(&0, 0)?;
        Ok(progress.iter().map(|progress| progress.sent).sum())
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
        self.plan.stop = 1;
        let told = self.plan_map.set(0, self.plan, 0);
        self.wait()?;
        Ok(told?)
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

/// See `xtask/lab-ebpf/src/flood.rs`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Plan {
    frame: [u64; 12],
    interval: u64,
    duration: u64,
    sources: u64,
    base_high: u64,
    base_low: u64,
    spread_high: u64,
    interface: u32,
    ip_sum: u32,
    tcp_sum: u32,
    stop: u32,
}

/// See `xtask/lab-ebpf/src/flood.rs`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Progress {
    sent: u64,
    random: u64,
    start: u64,
    due: u64,
}

// SAFETY: plain integers without padding.
unsafe impl Pod for Plan {}
// SAFETY: likewise.
unsafe impl Pod for Progress {}

/// Sum of halfwords as they lie in memory.
fn sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_ne_bytes([pair[0], pair[1]])))
        .sum()
}
