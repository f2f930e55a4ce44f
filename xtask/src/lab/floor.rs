//! Programs in a guard's place that guards are compared with.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray},
};

use super::{Namespace, SERVER_INTERFACE, object};

/// An XDP program in a guard's place that swaps MACs, addresses and ports of spoofed TCP frames and
/// sends them back; all else passes. Dropping it detaches it.
pub struct Floor {
    count: PerCpuArray<MapData, u64>,
    _ebpf: Ebpf,
}

impl Floor {
    pub(super) fn attach(server: &Namespace) -> Result<Self> {
        let mut ebpf = object::open()?;
        object::attach(&mut ebpf, "bounce", server, SERVER_INTERFACE)?;
        let count = ebpf.take_map("BOUNCED").context("no map BOUNCED")?;
        Ok(Self {
            count: count.try_into()?,
            _ebpf: ebpf,
        })
    }

    /// Frames sent back so far.
    pub fn frames(&self) -> Result<u64> {
        Ok(self.count.get(&0, 0)?.iter().sum())
    }

    /// Frames sent back a second, measured for a while.
    pub fn frames_per_second(&self, duration: Duration) -> Result<f64> {
        let (start, before) = (Instant::now(), self.frames()?);
        thread::sleep(duration);
        let sent = self.frames()? - before;
        Ok(sent as f64 / start.elapsed().as_secs_f64())
    }
}

/// An XDP program in a guard's place that passes everything: what it costs that there is one.
/// Dropping it detaches it.
pub struct Passing {
    _ebpf: Ebpf,
}

impl Passing {
    pub(super) fn attach(server: &Namespace) -> Result<Self> {
        let mut ebpf = object::open()?;
        object::attach(&mut ebpf, "pass_frags", server, SERVER_INTERFACE)?;
        Ok(Self { _ebpf: ebpf })
    }
}
