//! Every socket that holds a tuple of a guarded port.

use std::{collections::HashSet, net::SocketAddr};

use netlink_packet_sock_diag::inet::{ExtensionFlags, StateFlags};

use super::{SockDiagError, each_socket, ends};

/// A TCP state, numbered as in the kernel's `tcp_states.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the states of RFC 9293")]
pub enum TcpState {
    Established = 1,
    SynSent = 2,
    SynRecv = 3,
    FinWait1 = 4,
    FinWait2 = 5,
    TimeWait = 6,
    Close = 7,
    CloseWait = 8,
    LastAck = 9,
    Listen = 10,
    Closing = 11,
}

impl TcpState {
    fn from_kernel(state: u8) -> Option<Self> {
        Some(match state {
            1 => Self::Established,
            2 => Self::SynSent,
            // TCP_NEW_SYN_RECV is a request socket in SYN_RECV.
            3 | 12 => Self::SynRecv,
            4 => Self::FinWait1,
            5 => Self::FinWait2,
            6 => Self::TimeWait,
            7 => Self::Close,
            8 => Self::CloseWait,
            9 => Self::LastAck,
            10 => Self::Listen,
            11 => Self::Closing,
            _ => return None,
        })
    }
}

/// A socket that is connected, connecting or on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The own end, IPv4-mapped addresses as IPv4.
    pub local: SocketAddr,
    /// The peer's end, likewise.
    pub remote: SocketAddr,
    /// Its state.
    pub state: TcpState,
}

/// Calls `each` with every socket on one of the local `ports`, in any state
/// but LISTEN and CLOSE (which hold no tuple). Keeps nothing: memory does not
/// grow with the number of sockets. A socket may be told twice.
pub fn for_each_connection(
    ports: &HashSet<u16>,
    mut each: impl FnMut(Connection),
) -> Result<(), SockDiagError> {
    if ports.is_empty() {
        return Ok(());
    }
    let states = StateFlags::all().difference(StateFlags::LISTEN | StateFlags::CLOSE);
    each_socket(
        "connections",
        states,
        ExtensionFlags::empty(),
        |header, _| {
            if !ports.contains(&header.socket_id.source_port) {
                return Ok(());
            }
            if let Some(state) = TcpState::from_kernel(header.state) {
                let (local, remote) = ends(&header.socket_id);
                each(Connection {
                    local,
                    remote,
                    state,
                });
            }
            Ok(())
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    fn connections(ports: &HashSet<u16>) -> Vec<Connection> {
        let mut found = Vec::new();
        for_each_connection(ports, |connection| found.push(connection)).unwrap();
        found
    }

    #[test]
    fn finds_both_ends_of_our_own_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        let client = TcpStream::connect(local).unwrap();
        let remote = client.local_addr().unwrap();
        let found = connections(&HashSet::from([local.port()]));
        assert_eq!(
            found,
            [Connection {
                local,
                remote,
                state: TcpState::Established
            }]
        );
        let found = connections(&HashSet::from([remote.port()]));
        assert!(found.iter().any(|c| (c.local, c.remote) == (remote, local)));
        assert!(connections(&HashSet::new()).is_empty());
    }

    #[test]
    fn states_are_the_kernels() {
        for state in 1..=11 {
            assert_eq!(TcpState::from_kernel(state).unwrap() as u8, state);
        }
        assert_eq!(TcpState::from_kernel(12), Some(TcpState::SynRecv));
        assert_eq!(TcpState::from_kernel(13), None);
    }
}
