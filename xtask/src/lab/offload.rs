//! Offloads of an interface, as `ethtool -K` switches them.

use anyhow::{Context as _, Result};

use super::{Namespace, ethtool};

/// What an interface may do for the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// Joining received segments (`gro`). On a veth it also turns NAPI on.
    Gro,
    /// Leaving checksums of sent segments unfinished (`tx`).
    TxChecksum,
    /// Leaving TCP segmentation to the interface (`tso`).
    Tso,
    /// Leaving segmentation to the last moment (`gso`).
    Gso,
}

impl Offload {
    /// As numbered in `linux/ethtool.h`.
    const fn command(self) -> u32 {
        match self {
            Self::Gro => 0x2c,
            Self::TxChecksum => 0x17,
            Self::Tso => 0x1f,
            Self::Gso => 0x24,
        }
    }
}

impl Namespace {
    /// Switches an offload of one of its interfaces.
    pub fn set_offload(&self, interface: &str, offload: Offload, on: bool) -> Result<()> {
        self.run(|| set(interface, offload, on))?
            .with_context(|| format!("switching {offload:?} of {interface}"))
    }
}

fn set(interface: &str, offload: Offload, on: bool) -> Result<()> {
    #[repr(C)]
    struct EthtoolValue {
        command: u32,
        data: u32,
    }

    let mut value = EthtoolValue {
        command: offload.command(),
        data: u32::from(on),
    };
    // SAFETY: `struct ethtool_value`, which these commands take.
    unsafe { ethtool::call(interface, &mut value) }
}
