//! Options that a program set on its listening socket and that `sock_diag`
//! does not tell: read from a duplicate of its descriptor
//! (`pidfd_getfd`, Linux 5.6), which is closed at once.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

/// `SO_BUF_LOCK` of `asm-generic/socket.h` (Linux 5.14) and its bit of the
/// receive buffer.
const SO_BUF_LOCK: i32 = 72;
const RECEIVE_LOCK: i32 = 2;
/// What `TCP_MAXSEG` is where nobody set it (`TCP_MSS_DEFAULT`).
const DEFAULT_MSS: i32 = 536;
/// `IPV6_AUTOFLOWLABEL` of `in6.h`.
const IPV6_AUTOFLOWLABEL: i32 = 70;

/// `IP_MINTTL` of `linux/in.h` and `IPV6_MINHOPCOUNT` of `linux/in6.h`.
const IP_MINTTL: i32 = 21;
const IPV6_MINHOPCOUNT: i32 = 73;
/// `SO_GET_FILTER` of `asm-generic/socket.h`.
const SO_GET_FILTER: i32 = 26;

/// Options that a SYN-ACK depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// Whether `SO_RCVBUF` was set; none before Linux 5.14, which does not tell.
    pub buffer_locked: Option<bool>,
    /// `TCP_MAXSEG`, bytes; 0: not set, or set to just 536.
    pub max_segment: u16,
    /// `TCP_WINDOW_CLAMP`, bytes; 0: not set.
    pub window_clamp: u32,
    /// `IP_TTL`, where it is not the default.
    pub ttl: Option<u8>,
    /// `IPV6_UNICAST_HOPS`, where it is not the default.
    pub hop_limit: Option<u8>,
    /// Whether IPv6 packets get a flow label by themselves.
    pub auto_flow_label: Option<bool>,
    /// Some SYNs get no answer: by `IP_MINTTL`, `IPV6_MINHOPCOUNT` or a socket filter
    /// (`SO_ATTACH_FILTER`, `SO_ATTACH_BPF`).
    pub is_picky: bool,
}

/// What options are where nobody set them.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// `net.ipv4.ip_default_ttl`.
    pub ttl: u8,
    /// `net.ipv6.conf.all.hop_limit`.
    pub hop_limit: u8,
}

impl SocketOptions {
    /// Reads them from the socket `inode` that the process `pid` has open as
    /// `descriptor`. Needs CAP_SYS_PTRACE, or to be its owner.
    pub fn read(pid: u32, descriptor: i32, inode: u64, defaults: &Defaults) -> io::Result<Self> {
        let socket = duplicate(pid, descriptor)?;
        if inode_of(&socket)? != inode {
            // Closed meanwhile, and its number is another file's.
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Self::of(&socket, defaults))
    }

    fn of(socket: &OwnedFd, defaults: &Defaults) -> Self {
        let get = |level, name| option(socket, level, name).ok();
        let other_than = |value: Option<i32>, default: u8| {
            u8::try_from(value?).ok().filter(|value| *value != default)
        };
        Self {
            buffer_locked: get(libc::SOL_SOCKET, SO_BUF_LOCK).map(|lock| lock & RECEIVE_LOCK != 0),
            max_segment: get(libc::IPPROTO_TCP, libc::TCP_MAXSEG)
                .filter(|mss| *mss != DEFAULT_MSS)
                .and_then(|mss| u16::try_from(mss).ok())
                .unwrap_or(0),
            window_clamp: get(libc::IPPROTO_TCP, libc::TCP_WINDOW_CLAMP)
                .and_then(|clamp| u32::try_from(clamp).ok())
                .unwrap_or(0),
            ttl: other_than(get(libc::IPPROTO_IP, libc::IP_TTL), defaults.ttl),
            hop_limit: other_than(
                get(libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS),
                defaults.hop_limit,
            ),
            auto_flow_label: get(libc::IPPROTO_IPV6, IPV6_AUTOFLOWLABEL).map(|on| on != 0),
            is_picky: [
                get(libc::IPPROTO_IP, IP_MINTTL),
                get(libc::IPPROTO_IPV6, IPV6_MINHOPCOUNT),
            ]
            .into_iter()
            .flatten()
            .any(|least| least != 0)
                || has_filter(socket),
        }
    }
}

/// A duplicate of another process's descriptor.
fn duplicate(pid: u32, descriptor: i32) -> io::Result<OwnedFd> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: a plain call; the descriptor that it returns is nobody else's.
    let process = unsafe { owned(libc::syscall(libc::SYS_pidfd_open, pid, 0)) }?;
    // SAFETY: as above.
    unsafe {
        owned(libc::syscall(
            libc::SYS_pidfd_getfd,
            process.as_raw_fd(),
            descriptor,
            0,
        ))
    }
}

/// # Safety
/// `result` is what a call that opens a descriptor returned.
unsafe fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    match i32::try_from(result) {
        // SAFETY: it was just opened and belongs to no one else.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The number in `socket:[NUMBER]`.
fn inode_of(socket: &OwnedFd) -> io::Result<u64> {
    let mut status = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the pointer is to a whole `stat`.
    if unsafe { libc::fstat(socket.as_raw_fd(), status.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call filled it in.
    Ok(unsafe { status.assume_init() }.st_ino)
}

/// Whether a socket has a filter: asked without a place for it, the kernel tells its
/// length, or EACCES where it is no classic one (`sk_get_filter`, Linux 6.18).
fn has_filter(socket: &OwnedFd) -> bool {
    let mut length: libc::socklen_t = 0;
    // SAFETY: nothing is written but the length.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_GET_FILTER,
            std::ptr::null_mut(),
            &raw mut length,
        )
    };
    if result == 0 {
        length != 0
    } else {
        io::Error::last_os_error().raw_os_error() == Some(libc::EACCES)
    }
}

fn option(socket: &OwnedFd, level: i32, name: i32) -> io::Result<i32> {
    let mut value: i32 = 0;
    let mut length = size_of::<i32>() as libc::socklen_t;
    // SAFETY: `value` has the length that is given.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::TcpSettings;
    use socket2::{Domain, Socket, Type};

    fn defaults() -> Defaults {
        let settings = TcpSettings::read().unwrap();
        Defaults {
            ttl: settings.default_ttl,
            hop_limit: settings.ipv6_all_hop_limit,
        }
    }

    fn read(socket: &Socket) -> SocketOptions {
        let descriptor = socket.as_raw_fd();
        let path = std::fs::read_link(format!("/proc/self/fd/{descriptor}")).unwrap();
        let inode = path.to_str().unwrap();
        let inode = inode["socket:[".len()..inode.len() - 1].parse().unwrap();
        let read = SocketOptions::read(std::process::id(), descriptor, inode, &defaults());
        assert!(
            SocketOptions::read(std::process::id(), descriptor, inode + 1, &defaults()).is_err()
        );
        read.unwrap()
    }

    #[test]
    fn what_nobody_set_is_not_set() {
        for domain in [Domain::IPV4, Domain::IPV6] {
            let socket = Socket::new(domain, Type::STREAM, None).unwrap();
            socket.listen(5).unwrap();
            let read = read(&socket);
            let expected = SocketOptions {
                buffer_locked: Some(false),
                auto_flow_label: read.auto_flow_label,
                ..SocketOptions::default()
            };
            assert_eq!(read, expected);
        }
    }

    #[test]
    fn what_was_set_is_read() {
        let socket = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(20_000).unwrap();
        socket.set_tcp_mss(1000).unwrap();
        socket.set_unicast_hops_v6(7).unwrap();
        socket.listen(5).unwrap();
        let read = read(&socket);
        assert_eq!(read.buffer_locked, Some(true));
        assert_eq!((read.max_segment, read.hop_limit), (1000, Some(7)));
    }

    #[test]
    fn who_does_not_answer_everybody_is_picky() {
        let least_ttl = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let least: i32 = 255;
        // BPF_RET: all of the packet.
        let program = [socket2::SockFilter::new(6, 0, 0, u32::MAX)];
        let filtered = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        filtered.attach_filter(&program).unwrap();
        // SAFETY: the value has the length that is given.
        let set = unsafe {
            libc::setsockopt(
                least_ttl.as_raw_fd(),
                libc::IPPROTO_IP,
                IP_MINTTL,
                (&raw const least).cast(),
                size_of::<i32>() as libc::socklen_t,
            )
        };
        assert_eq!(set, 0);
        for socket in [least_ttl, filtered] {
            socket.listen(5).unwrap();
            assert!(read(&socket).is_picky);
        }
    }

    #[test]
    fn a_descriptor_that_is_not_is_refused() {
        assert!(SocketOptions::read(std::process::id(), 1_000_000, 1, &defaults()).is_err());
    }
}
