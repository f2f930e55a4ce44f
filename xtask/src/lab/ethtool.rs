//! What `ethtool` asks of the kernel, which the machine need not have.

use std::{
    net::{Ipv4Addr, UdpSocket},
    os::fd::AsRawFd as _,
};

use anyhow::Result;

/// Makes a call of `SIOCETHTOOL` for an interface of this network namespace.
///
/// # Safety
/// `value` must be of the type that `linux/ethtool.h` gives to the command in its first word.
pub(super) unsafe fn call<T>(interface: &str, value: &mut T) -> Result<()> {
    // SAFETY: all zeroes is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes().take(15)) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = std::ptr::from_mut(value).cast();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    // SAFETY: the request is as SIOCETHTOOL wants it, by the word of who calls, and it and its value
    // outlive the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if result != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(())
}
