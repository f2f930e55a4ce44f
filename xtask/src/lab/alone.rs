//! Programs alone: the kernel runs one again and again over frames that are on no wire
//! (`BPF_PROG_TEST_RUN`), so that a packet's cost is the program's and nothing else's.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf, TestRun as _, TestRunOptions,
    maps::{Array, MapData, ProgramArray},
    programs::{ProgramFd, SchedClassifier, Xdp},
};

use super::{
    Lab,
    flood::{Flood, Plan},
    object,
};

/// The frames that a program runs over.
#[derive(Clone, Debug)]
pub enum Frames {
    /// Those of a flood, one after the other; they are written anew before each run.
    Flood(Flood),
    /// One, which no program may change.
    Same(Vec<u8>),
}

/// The part of a guard that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The XDP program.
    Xdp,
    /// The TC program, which sees what the XDP program passed.
    Tc,
}

/// What runs over the frames.
#[derive(Clone, Copy, Debug)]
pub enum Program<'a> {
    /// The floor for packets that pass: a program that only passes them.
    Pass,
    /// The floor for answers: addresses and ports are swapped and the frame goes back.
    Bounce,
    /// A fixed piece of work that passes packets: how fast the machine is.
    Yardstick,
    /// A guard's.
    Guard(&'a ProgramFd),
}

/// What came of some runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Mean time of a run with the writing of the frame, to whole nanoseconds as the kernel gives it.
    pub time: Duration,
    /// What the program returned the last time.
    pub action: u32,
}

/// Frames, and programs to run over them.
pub struct Alone {
    ebpf: Ebpf,
    part: Part,
    writer: &'static str,
    frame: Vec<u8>,
    programs: ProgramArray<MapData>,
}

impl Alone {
    /// Loads what writes these frames, and the floors.
    pub fn new(part: Part, frames: &Frames) -> Result<Self> {
        let mut ebpf = object::open()?;
        let (writer, frame) = match (part, frames) {
            (Part::Tc, Frames::Same(frame)) => ("measure_tc", frame.clone()),
            (Part::Xdp, Frames::Same(frame)) => ("measure_same", frame.clone()),
            (Part::Xdp, Frames::Flood(flood)) => {
                let (plan, frame) = flood.frames()?;
                let map = ebpf.map_mut("PLAN").context("no map PLAN")?;
                Array::<&mut MapData, Plan>::try_from(map)?.set(0, plan, 0)?;
                (writer_of(flood)?, frame)
            }
            (Part::Tc, Frames::Flood(_)) => bail!("TC programs run over one frame only"),
        };
        let map = match part {
            Part::Xdp => {
                for name in [writer, "pass_frags", "bounce_frags", "yardstick"] {
                    object::load(&mut ebpf, name)?;
                }
                "MEASURED_XDP"
            }
            Part::Tc => {
                for name in [writer, "pass_tc"] {
                    object::classifier(&mut ebpf, name)?.load()?;
                }
                "MEASURED_TC"
            }
        };
        let programs = ebpf
            .take_map(map)
            .with_context(|| format!("no map {map}"))?
            .try_into()?;
        Ok(Self {
            ebpf,
            part,
            writer,
            frame,
            programs,
        })
    }

    /// Runs a program in the server's namespace.
    pub fn run(&mut self, lab: &Lab, program: Program<'_>, runs: u32) -> Result<Measured> {
        let own = match (program, self.part) {
            (Program::Guard(_), _) => None,
            (Program::Pass, Part::Xdp) => Some("pass_frags"),
            (Program::Pass, Part::Tc) => Some("pass_tc"),
            (Program::Bounce, Part::Xdp) => Some("bounce_frags"),
            (Program::Yardstick, Part::Xdp) => Some("yardstick"),
            (Program::Bounce | Program::Yardstick, Part::Tc) => bail!("XDP programs only"),
        };
        let own = own.map(|name| self.own(name)).transpose()?;
        match (program, &own) {
            (Program::Guard(program), _) | (_, Some(program)) => {
                self.programs.set(0, program, 0)?
            }
            _ => bail!("no program"),
        }
        let options = TestRunOptions {
            data_in: Some(&self.frame),
            repeat: runs,
            ..TestRunOptions::default()
        };
        let writer = self.program(self.writer)?;
        let result = lab.server().run(|| match self.part {
            Part::Xdp => <&Xdp>::try_from(writer)?.test_run(options),
            Part::Tc => <&SchedClassifier>::try_from(writer)?.test_run(options),
        })??;
        Ok(Measured {
            time: result.duration,
            action: result.return_value,
        })
    }

    fn program(&self, name: &str) -> Result<&aya::programs::Program> {
        self.ebpf
            .program(name)
            .with_context(|| format!("the lab's object has no program {name}"))
    }

    fn own(&self, name: &str) -> Result<ProgramFd> {
        let program = self.program(name)?;
        let fd = match self.part {
            Part::Xdp => <&Xdp>::try_from(program)?.fd()?,
            Part::Tc => <&SchedClassifier>::try_from(program)?.fd()?,
        };
        Ok(fd.try_clone()?)
    }
}

fn writer_of(flood: &Flood) -> Result<&'static str> {
    Ok(match (flood.target(), flood.is_acks()) {
        (SocketAddr::V4(_), false) => "measure_ipv4",
        (SocketAddr::V6(_), false) => "measure_ipv6",
        (SocketAddr::V4(_), true) => "measure_acks",
        (SocketAddr::V6(_), true) => bail!("ACKs of IPv6 are not measured"),
    })
}
