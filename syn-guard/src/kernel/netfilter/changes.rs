//! Notice of changes of nftables' rules, also those made by `iptables-nft`.

use std::io;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until};

/// `NFNLGRP_NFTABLES`, as a bit of `nl_groups`.
const GROUP: u32 = 1 << 6;

/// Tells that rules changed.
#[derive(Debug)]
pub struct RuleChanges {
    socket: Option<AsyncFd<Socket>>,
    /// Not before that the next change is told.
    next_at: Instant,
}

/// Rules that change all the time (a list of banned addresses) are told so often at most.
const PAUSE: Duration = Duration::from_millis(100);

impl RuleChanges {
    /// Begins to listen. Where the kernel refuses (no nftables), no change is told.
    /// To be called within a tokio runtime.
    #[must_use]
    pub fn listen() -> Self {
        Self {
            socket: subscribe().ok(),
            next_at: Instant::now(),
        }
    }

    /// Waits until rules change; tells of all changes up to now at once.
    pub async fn next(&mut self) {
        let Some(socket) = &self.socket else {
            return std::future::pending().await;
        };
        sleep_until(self.next_at).await;
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
                // Too many for the buffer (ENOBUFS): some were.
                Err(_) => break,
            }
        }
        ready.clear_ready();
        self.next_at = Instant::now() + PAUSE;
    }
}

fn subscribe() -> io::Result<AsyncFd<Socket>> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.set_non_blocking(true)?;
    socket.bind(&SocketAddr::new(0, GROUP))?;
    // SAFETY: the socket owns its descriptor and never replaces it.
    unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }.map_err(Into::into)
}
