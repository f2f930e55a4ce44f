//! A packet socket on one interface.

use std::{
    io::Error,
    mem::{size_of, zeroed},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{Namespace, patience::patiently};

/// Receive buffer in bytes.
const BUFFER: libc::c_int = 64 << 20;
/// How long the interface may take no frame because its queue is full.
const FULL: Duration = Duration::from_secs(1);

/// Sends and receives whole frames of an interface.
#[derive(Debug)]
pub(super) struct PacketSocket {
    fd: OwnedFd,
}

impl PacketSocket {
    /// Opens and binds it; frames queue up from now on.
    pub(super) fn open(namespace: &Namespace, interface: &str, own_frames: bool) -> Result<Self> {
        namespace
            .run(|| open(interface, own_frames))?
            .with_context(|| format!("opening a packet socket on {interface}"))
    }

    pub(super) fn send(&self, frame: &[u8]) -> Result<()> {
        let deadline = Instant::now() + patiently(FULL);
        loop {
            // SAFETY: the pointer and length are those of `frame`.
            let sent =
                unsafe { libc::send(self.fd.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
            if sent >= 0 {
                return Ok(());
            }
            let error = Error::last_os_error();
            if error.raw_os_error() != Some(libc::ENOBUFS) || Instant::now() > deadline {
                return Err(error).context("sending a frame");
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The next frame's length, or `None` when none came in time.
    pub(super) fn receive(&self, frame: &mut [u8], timeout: Duration) -> Result<Option<usize>> {
        let mut poll = libc::pollfd {
            fd: self.fd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let timeout = i32::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
        // SAFETY: `poll` is one valid entry.
        if unsafe { libc::poll(&raw mut poll, 1, timeout) } <= 0 {
            return Ok(None);
        }
        // SAFETY: the pointer and length are those of `frame`.
        let length = unsafe {
            libc::recv(
                self.fd.as_raw_fd(),
                frame.as_mut_ptr().cast(),
                frame.len(),
                libc::MSG_DONTWAIT,
            )
        };
        match usize::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) => Err(Error::last_os_error()).context("receiving a frame"),
        }
    }

    /// Frames that did not fit into the buffer since the last call.
    pub(super) fn dropped(&self) -> Result<u32> {
        // SAFETY: all zeroes is a valid value.
        let mut stats: libc::tpacket_stats = unsafe { zeroed() };
        let mut length = socklen::<libc::tpacket_stats>();
        // SAFETY: `stats` has the length that is given.
        let result = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut stats).cast(),
                &raw mut length,
            )
        };
        if result != 0 {
            return Err(Error::last_os_error()).context("reading a packet socket's statistics");
        }
        Ok(stats.tp_drops)
    }
}

fn open(interface: &str, own_frames: bool) -> Result<PacketSocket> {
    const ALL: u16 = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: the call has no preconditions.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(Error::last_os_error().into());
    }
    // SAFETY: `fd` was just opened and belongs to no one else.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    set(&fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, BUFFER)?;
    if !own_frames {
        set(&fd, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1)?;
    }
    // SAFETY: all zeroes is a valid value.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = ALL;
    address.sll_ifindex = i32::try_from(nix::net::if_::if_nametoindex(interface)?)?;
    // SAFETY: `address` has the length that is given.
    let result = unsafe {
        libc::bind(
            fd.as_raw_fd(),
            (&raw const address).cast(),
            socklen::<libc::sockaddr_ll>(),
        )
    };
    if result != 0 {
        return Err(Error::last_os_error().into());
    }
    Ok(PacketSocket { fd })
}

fn set(fd: &OwnedFd, level: i32, option: i32, value: libc::c_int) -> Result<()> {
    // SAFETY: `value` has the length that is given.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            socklen::<libc::c_int>(),
        )
    };
    if result != 0 {
        return Err(Error::last_os_error()).with_context(|| format!("setting option {option}"));
    }
    Ok(())
}

const fn socklen<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}
