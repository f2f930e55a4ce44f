//! Notice of changes of routes, links and addresses.

use std::io;

use netlink_sys::{Socket, SocketAddr};

use super::interfaces::PROTOCOL;

/// `RTMGRP_LINK`, `_IPV4_IFADDR`, `_IPV4_ROUTE`, `_IPV6_IFADDR`, `_IPV6_ROUTE`
/// and `_IPV6_IFINFO`. The kernel tells nobody of IPv4 routes that go away with
/// their link or address.
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400 | 0x800;

/// Tells whether anything that routes depend on changed since it was last
/// asked.
#[derive(Debug)]
pub struct RouteChanges(Option<Socket>);

impl RouteChanges {
    /// Begins to listen. Where the kernel refuses, everything counts as changed
    /// all the time.
    #[must_use]
    pub fn listen() -> Self {
        Self(subscribe().ok())
    }

    /// Whether something changed.
    pub fn any(&mut self) -> bool {
        let Some(socket) = &self.0 else {
            return true;
        };
        let mut changed = false;
        let mut message = Vec::with_capacity(64);
        loop {
            message.clear();
            match socket.recv(&mut message, libc::MSG_TRUNC) {
                Ok(_) => changed = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return changed,
                // Too many for the buffer (ENOBUFS): some were.
                Err(_) => return true,
            }
        }
    }
}

fn subscribe() -> io::Result<Socket> {
    let mut socket = Socket::new(PROTOCOL)?;
    socket.set_non_blocking(true)?;
    socket.bind(&SocketAddr::new(0, GROUPS))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_changes_by_being_asked() {
        let mut changes = RouteChanges::listen();
        // Something of this machine may change in between, but not each time.
        assert!((0..20).any(|_| !changes.any()));
    }
}
