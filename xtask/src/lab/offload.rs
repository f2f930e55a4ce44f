//! Offloads of an interface, as `ethtool -K` switches them.

use std::{
    net::{Ipv4Addr, UdpSocket},
    os::fd::AsRawFd as _,
};

use anyhow::{Context as _, Result};

use super::Namespace;

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
    // SAFETY: all zeroes is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes().take(15)) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    // SAFETY: the request is as SIOCETHTOOL wants it, and it and its value outlive the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if result != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(())
}
