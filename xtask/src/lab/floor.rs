//! Programs in a guard's place that guards are compared with.

use std::ffi::OsStr;

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray},
    programs::{ProgramFd, XdpMode},
};

use super::{Lab, Namespace, SERVER_INTERFACE, object};

/// An XDP program in a guard's place that swaps MACs, addresses and ports of spoofed TCP frames and
/// sends them back; all else passes. Dropping it detaches it.
pub struct Floor {
    count: PerCpuArray<MapData, u64>,
    ebpf: Ebpf,
}

impl Floor {
    pub(super) fn attach(server: &Namespace) -> Result<Self> {
        let mut ebpf = object::open()?;
        object::attach(&mut ebpf, "bounce", server, SERVER_INTERFACE)?;
        let count = ebpf.take_map("BOUNCED").context("no map BOUNCED")?;
        Ok(Self {
            count: count.try_into()?,
            ebpf,
        })
    }

    /// The program.
    pub fn program(&self) -> Result<ProgramFd> {
        object::program(&self.ebpf, "bounce")
    }

    /// Frames sent back so far.
    pub fn frames(&self) -> Result<u64> {
        Ok(self.count.get(&0, 0)?.iter().sum())
    }
}

/// An XDP program that passes everything. In a guard's place: what it costs that there is one.
/// Dropping it detaches it.
pub struct Passing {
    ebpf: Ebpf,
    name: &'static str,
}

/// Passes without a look.
const PASS: &str = "pass_frags";
/// Looks at the frame first.
const TOUCH: &str = "touch";

impl Passing {
    pub(super) fn attach(server: &Namespace) -> Result<Self> {
        Self::attach_to(server, SERVER_INTERFACE)
    }

    pub(super) fn attach_touching(server: &Namespace) -> Result<Self> {
        Self::attach_program(server, SERVER_INTERFACE, XdpMode::Driver, TOUCH)
    }

    /// Attaches a TC program behind it that passes everything too, and returns that.
    pub fn attach_tc(&mut self, lab: &Lab) -> Result<ProgramFd> {
        object::attach_tc(&mut self.ebpf, "pass_tc", lab.server(), SERVER_INTERFACE)
    }

    /// Attaches it to any interface of a namespace. The peer of a veth receives what native XDP
    /// programs send back only while it runs one itself.
    pub fn attach_to(namespace: &Namespace, interface: &str) -> Result<Self> {
        Self::attach_in(namespace, interface, XdpMode::Driver)
    }

    /// Attaches it in some mode.
    pub fn attach_in(namespace: &Namespace, interface: &str, mode: XdpMode) -> Result<Self> {
        Self::attach_program(namespace, interface, mode, PASS)
    }

    fn attach_program(
        namespace: &Namespace,
        interface: &str,
        mode: XdpMode,
        name: &'static str,
    ) -> Result<Self> {
        let mut ebpf = object::open()?;
        object::attach_in(&mut ebpf, name, namespace, interface, mode)?;
        Ok(Self { ebpf, name })
    }

    /// The program.
    pub fn program(&self) -> Result<ProgramFd> {
        object::program(&self.ebpf, self.name)
    }

    /// Leaves it on the server's interface with nobody who holds it, as `ip link` does; `keyword`
    /// is the mode as `ip link` names it.
    pub fn leave(lab: &Lab, keyword: &str) -> Result<()> {
        let mut ebpf = object::open()?;
        let pin = lab.bpf_dir().join("left");
        object::load(&mut ebpf, PASS)?.pin(&pin)?;
        let words = ["link", "set", "dev", SERVER_INTERFACE, keyword, "pinned"];
        let mut words: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
        words.push(pin.as_os_str());
        let attached = lab.server().output("ip", &words);
        std::fs::remove_file(&pin).context("removing the pin")?;
        attached.map(drop)
    }
}
