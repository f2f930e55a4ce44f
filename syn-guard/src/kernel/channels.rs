//! The receive queues that an interface uses, as `ethtool -l` shows them.

use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixDatagram;

/// `ETHTOOL_GCHANNELS` of `linux/ethtool.h`.
const GET_CHANNELS: u32 = 0x3c;

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

/// How many receive queues the interface uses, which `ethtool -L` changes:
/// `IFLA_NUM_RX_QUEUES` is how many it could. None where its driver does not say,
/// or no interface has this name.
#[must_use]
pub fn receive_queues(interface: &str) -> Option<u32> {
    // SAFETY: all zeroes is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays 0.
    if interface.len() >= request.ifr_name.len() {
        return None;
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from.cast_signed();
    }
    let mut channels = Channels {
        command: GET_CHANNELS,
        ..Channels::default()
    };
    request.ifr_ifru.ifru_data = (&raw mut channels).cast();
    // Of whatever family: it is of the network namespace that this thread is in,
    // and so are the interfaces that it tells of; those of /sys may be another's.
    let socket = UnixDatagram::unbound().ok()?;
    // SAFETY: the request is as SIOCETHTOOL wants it, and it and its value outlive
    // the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    let queues = channels.receive.saturating_add(channels.combined);
    (result == 0 && queues != 0).then_some(queues)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_queues_says_so() {
        assert_eq!(receive_queues("lo"), None);
        assert_eq!(receive_queues("no-such-one"), None);
        assert_eq!(receive_queues("longer-than-a-name-may-be"), None);
    }
}
