//! What comes back to spoofed sources: counted at the client, then dropped.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{Array, MapData, PerCpuArray},
};

use super::{CLIENT_INTERFACE, Namespace, object};

const FRAMES: u32 = 0;
const SYN_ACKS: u32 = 1;

/// The program on the client's side.
pub(super) struct Answers {
    counts: PerCpuArray<MapData, u64>,
    switch: Arc<Mutex<Switch>>,
    _ebpf: Ebpf,
}

struct Switch {
    map: Array<MapData, u32>,
    users: u32,
}

impl Answers {
    pub(super) fn attach(client: &Namespace) -> Result<Self> {
        let mut ebpf = object::open()?;
        object::attach(&mut ebpf, "answers", client, CLIENT_INTERFACE)?;
        let counts = ebpf.take_map("ANSWERS").context("no map ANSWERS")?;
        let map = ebpf
            .take_map("PASS_ANSWERS")
            .context("no map PASS_ANSWERS")?;
        Ok(Self {
            counts: counts.try_into()?,
            switch: Arc::new(Mutex::new(Switch {
                map: map.try_into()?,
                users: 0,
            })),
            _ebpf: ebpf,
        })
    }

    pub(super) fn frames(&self) -> Result<u64> {
        self.sum(FRAMES)
    }

    pub(super) fn syn_acks(&self) -> Result<u64> {
        self.sum(SYN_ACKS)
    }

    pub(super) fn pass(&self) -> Result<PassAnswers> {
        self.switch
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .change(|users| users + 1)?;
        Ok(PassAnswers {
            switch: Arc::clone(&self.switch),
        })
    }

    fn sum(&self, index: u32) -> Result<u64> {
        Ok(self.counts.get(&index, 0)?.iter().sum())
    }
}

impl Switch {
    fn change(&mut self, change: impl FnOnce(u32) -> u32) -> Result<()> {
        self.users = change(self.users);
        self.map.set(0, u32::from(self.users > 0), 0)?;
        Ok(())
    }
}

/// While it lives, answers to spoofed sources reach the client's packet sockets.
pub struct PassAnswers {
    switch: Arc<Mutex<Switch>>,
}

impl Drop for PassAnswers {
    fn drop(&mut self) {
        // Without the map the lab is gone, and the answers with it.
        let _ = self
            .switch
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .change(|users| users - 1);
    }
}
