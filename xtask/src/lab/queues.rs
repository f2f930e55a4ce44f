//! Queues of an interface, as `ethtool -L` sets them.

use anyhow::{Context as _, Result};

use super::{Namespace, ethtool};

/// `ETHTOOL_GCHANNELS` and `ETHTOOL_SCHANNELS` of `linux/ethtool.h`.
const GET: u32 = 0x3c;
const SET: u32 = 0x3d;

/// `struct ethtool_channels`.
#[repr(C)]
#[derive(Default)]
struct Channels {
    command: u32,
    most_receive: u32,
    most_send: u32,
    most_other: u32,
    most_combined: u32,
    receive: u32,
    send: u32,
    other: u32,
    combined: u32,
}

impl Namespace {
    /// Has one of its interfaces use so many receive queues, of those that it was made with.
    pub fn set_receive_queues(&self, interface: &str, queues: u32) -> Result<()> {
        self.run(|| set(interface, queues))?
            .with_context(|| format!("{queues} receive queues for {interface}"))
    }
}

fn set(interface: &str, queues: u32) -> Result<()> {
    let mut channels = Channels {
        command: GET,
        ..Channels::default()
    };
    // SAFETY: `struct ethtool_channels`, which both commands take.
    unsafe { ethtool::call(interface, &mut channels) }?;
    channels.command = SET;
    channels.receive = queues;
    // SAFETY: as above.
    unsafe { ethtool::call(interface, &mut channels) }
}
