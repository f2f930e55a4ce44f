//! Notice of changes of nftables' rules, also those made by `iptables-nft`.

use std::io;
use std::time::Duration;

use netlink_packet_core::NetlinkBuffer;
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until};

/// `NFNLGRP_NFTABLES`, as a bit of `nl_groups`.
const GROUP: u32 = 1 << 6;

/// `NFNL_SUBSYS_NFTABLES`, the upper half of a message's type, and of the lower half
/// `NFT_MSG_NEWTABLE`, `_NEWCHAIN` and `_DELCHAIN`.
const NFTABLES: u16 = 10;
const URGENT: [u16; 3] = [0, 3, 5];
/// Rules that change all the time (a list of banned addresses) are told so often at most.
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes of one message to user space at most (`NLMSG_GOODSIZE`), and more.
const BUFFER: usize = 64 * 1024;

/// Tells that rules changed: of a chain at once, for it may be one of NAT; of others less
/// often.
#[derive(Debug)]
pub struct RuleChanges {
    socket: Option<AsyncFd<Socket>>,
    /// Something changed that was not told yet.
    pending: bool,
    /// Not before that the next change is told, if it can wait.
    next_at: Instant,
}

impl RuleChanges {
    /// Begins to listen. Where the kernel refuses (no nftables), no change is told.
    /// To be called within a tokio runtime.
    #[must_use]
    pub fn listen() -> Self {
        Self {
            socket: subscribe().ok(),
            pending: false,
            next_at: Instant::now(),
        }
    }

    /// Waits until rules change; tells of all changes up to now at once. May be dropped at
    /// any time: no change is lost.
    pub async fn next(&mut self) {
        let Some(socket) = &self.socket else {
            return std::future::pending().await;
        };
        loop {
            tokio::select! {
                () = sleep_until(self.next_at), if self.pending => break,
                ready = socket.readable() => {
                    let Ok(mut ready) = ready else {
                        return std::future::pending().await;
                    };
                    let urgent = drain(socket.get_ref());
                    ready.clear_ready();
                    self.pending = true;
                    if urgent {
                        break;
                    }
                }
            }
        }
        self.pending = false;
        self.next_at = Instant::now() + PAUSE;
    }
}

/// Reads what there is; whether a chain is among it, or something was lost.
fn drain(socket: &Socket) -> bool {
    let mut urgent = false;
    let mut buffer = Vec::with_capacity(BUFFER);
    loop {
        buffer.clear();
        match socket.recv(&mut buffer, 0) {
            Ok(_) => urgent |= is_urgent(&buffer),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return urgent,
            // Too many for the buffer (ENOBUFS).
            Err(_) => return true,
        }
    }
}

/// Whether a table or a chain is among these messages, one behind the other.
fn is_urgent(mut messages: &[u8]) -> bool {
    while let Ok(message) = NetlinkBuffer::new_checked(messages) {
        let (kind, length) = (message.message_type(), message.length() as usize);
        if kind >> 8 == NFTABLES && URGENT.contains(&(kind & 0xff)) {
            return true;
        }
        messages = messages
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    false
}

fn subscribe() -> io::Result<AsyncFd<Socket>> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.set_non_blocking(true)?;
    socket.bind(&SocketAddr::new(0, GROUP))?;
    // SAFETY: the socket owns its descriptor and never replaces it.
    unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }.map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message of only a header, of this subsystem and type.
    fn message(kind: u16) -> Vec<u8> {
        let mut bytes = 16_u32.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.resize(16, 0);
        bytes
    }

    #[test]
    fn a_chain_among_others_is_urgent_and_a_rule_is_not() {
        // NFT_MSG_NEWRULE, NFT_MSG_NEWSETELEM, and another subsystem's 3.
        let others = [message(10 << 8 | 6), message(10 << 8 | 12), message(3)].concat();
        assert!(!is_urgent(&others));
        assert!(is_urgent(&[others, message(10 << 8 | 3)].concat()));
        assert!(!is_urgent(&[]));
    }
}
