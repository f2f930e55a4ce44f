//! Notice of changes of nftables' rules, also those made by `iptables-nft`.

use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// `NFNLGRP_NFTABLES`, as a bit of `nl_groups`.
const GROUP: u32 = 1 << 6;

/// Tells that rules changed.
#[derive(Debug)]
pub struct RuleChanges(Option<AsyncFd<Socket>>);

impl RuleChanges {
    /// Begins to listen. Where the kernel refuses (no nftables), no change is told.
    /// To be called within a tokio runtime.
    #[must_use]
    pub fn listen() -> Self {
        Self(subscribe().ok())
    }

    /// Waits until rules change; tells of all changes up to now at once.
    pub async fn next(&mut self) {
        let Some(socket) = &self.0 else {
            return std::future::pending().await;
        };
        let Ok(mut ready) = socket.readable().await else {
            return std::future::pending().await;
        };
        let mut message = Vec::with_capacity(64);
        loop {
            message.clear();
            match socket.get_ref().recv(&mut message, libc::MSG_TRUNC) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Too many for the buffer (ENOBUFS): the rest comes by the next call.
                Err(_) => return,
            }
        }
        ready.clear_ready();
    }
}

fn subscribe() -> io::Result<AsyncFd<Socket>> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.set_non_blocking(true)?;
    socket.bind(&SocketAddr::new(0, GROUP))?;
    // SAFETY: the socket owns its descriptor and never replaces it.
    unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }.map_err(Into::into)
}
