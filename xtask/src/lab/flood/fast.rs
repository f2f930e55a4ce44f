//! Floods of up to millions of SYNs a second, made by an XDP program that the kernel runs over
//! live frames (`BPF_F_TEST_XDP_LIVE_FRAMES`, Linux 5.18).

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, Pod, TestRun as _, TestRunAttrs, TestRunOptions,
    maps::{Array, MapData, PerCpuArray},
    programs::Xdp,
};

use super::{
    Flood,
    plan::{self, Plan},
};
use crate::lab::{CLIENT_INTERFACE, Lab, TcpOptions, cores, object};

/// Frames in one go of the kernel's loop.
const BATCH: u32 = 64;
/// Bytes before a frame that the program cuts off, see `xtask/lab-ebpf/src/flood.rs`.
const BEFORE: usize = 16;
/// Runs of the program in one system call: some 100 ms. Each call costs some 20 ms more.
const RUNS: u32 = 1 << 21;

/// The program's maps.
pub(super) struct Generator {
    plan: Plan,
    plan_map: Array<MapData, Plan>,
    progress: PerCpuArray<MapData, Progress>,
}

/// See the type of the same name in `xtask/lab-ebpf/src/flood.rs`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Progress {
    sent: u64,
    random: u64,
    start: u64,
    due: u64,
    earliest: u64,
}

// SAFETY: plain integers without padding.
unsafe impl Pod for Progress {}

impl Generator {
    /// Frames sent so far.
    pub(super) fn sent(&self) -> Result<u64> {
        let progress = self.progress.get(&0, 0)?;
        Ok(progress.iter().map(|progress| progress.sent).sum())
    }

    /// When the first frame went, nanoseconds; 0 before.
    pub(super) fn began_ns(&self) -> Result<u64> {
        let progress = self.progress.get(&0, 0)?;
        let began = progress.iter().map(|progress| progress.start);
        Ok(began.filter(|start| *start != 0).min().unwrap_or(0))
    }

    /// Makes the program send nothing more.
    pub(super) fn stop(&mut self) -> Result<()> {
        self.plan.stop = 1;
        Ok(self.plan_map.set(0, self.plan, 0)?)
    }
}

/// Starts it on a thread pinned to the last core.
pub(super) fn start(
    flood: &Flood,
    lab: &Lab,
    stop: Arc<AtomicBool>,
) -> Result<(Generator, JoinHandle<Result<()>>)> {
    let (mut plan, frame) = flood.frames()?;
    plan.interval = flood.rate.map_or(0, |rate| (1_000_000_000 << 10) / rate);
    plan.interface = lab
        .client()
        .run(|| nix::net::if_::if_nametoindex(CLIENT_INTERFACE))??;

    let mut ebpf = object::open()?;
    let mut plan_map: Array<MapData, Plan> =
        ebpf.take_map("PLAN").context("no map PLAN")?.try_into()?;
    plan_map.set(0, plan, 0)?;
    let progress = ebpf
        .take_map("PROGRESS")
        .context("no map PROGRESS")?
        .try_into()?;
    let name = match (flood.target, flood.options == TcpOptions::FULL) {
        (SocketAddr::V4(_), _) if flood.acks => "flood_ipv4_acks",
        (SocketAddr::V6(_), _) if flood.acks => "flood_ipv6_acks",
        (SocketAddr::V4(_), false) => "flood_ipv4",
        (SocketAddr::V4(_), true) => "flood_ipv4_full",
        (SocketAddr::V6(_), false) => "flood_ipv6",
        (SocketAddr::V6(_), true) => "flood_ipv6_full",
    };
    object::load(&mut ebpf, name)?;

    let (core, duration, first) = (cores::last()?, flood.duration, flood.first);
    let thread = lab.client().start(move || {
        cores::pin(core)?;
        if first {
            cores::prioritize(nix::unistd::Pid::from_raw(0))?;
        }
        run(&ebpf, name, &frame, duration, &stop)
    });
    let generator = Generator {
        plan,
        plan_map,
        progress,
    };
    Ok((generator, thread))
}

fn run(ebpf: &Ebpf, name: &str, frame: &[u8], duration: Duration, stop: &AtomicBool) -> Result<()> {
    let program: &Xdp = ebpf
        .program(name)
        .context("the lab's object lost its program")?
        .try_into()?;
    let mut bytes = vec![0; BEFORE];
    bytes.extend(frame);
    let started = Instant::now();
    while !stop.load(Ordering::Relaxed) && started.elapsed() < duration {
        program
            .test_run(TestRunOptions {
                data_in: Some(&bytes),
                repeat: RUNS,
                attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
                ..TestRunOptions::default()
            })
            .context("running the flood")?;
    }
    Ok(())
}

/// The frame with zeroes where the program writes.
pub(super) fn template(flood: &Flood) -> Result<Vec<u8>> {
    let mut frame = plan::frame(&plan::segment(flood))?;
    match flood.target {
        SocketAddr::V4(_) => {
            frame[24..26].fill(0);
            frame[50..52].fill(0);
        }
        SocketAddr::V6(_) => frame[70..72].fill(0),
    }
    Ok(frame)
}
