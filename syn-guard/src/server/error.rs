//! Why a server could not start.

use std::{io, net::SocketAddr, path::PathBuf};

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Another program listens there.
    #[error(
        "cannot listen on {address} for metrics: address already in use; \
         another syn-guard or exporter has it: choose another with --metrics-listen"
    )]
    PortBusy {
        /// Where.
        address: SocketAddr,
    },
    /// No interface has the address.
    #[error(
        "cannot listen on {address} for metrics: no interface has this address: \
         choose another with --metrics-listen"
    )]
    NoSuchAddress {
        /// Where.
        address: SocketAddr,
    },
    /// Anything else about the metrics' address.
    #[error("cannot listen on {address} for metrics")]
    Metrics {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Another guard answers at the control socket.
    #[error("another guard answers at {}: stop it first", path.display())]
    AlreadyRunning {
        /// The socket.
        path: PathBuf,
    },
    /// A file of another kind is in the way.
    #[error("cannot make the control socket: {} is there and is no socket", path.display())]
    NoSocket {
        /// The file.
        path: PathBuf,
    },
    /// Anything else about the control socket.
    #[error("cannot {action} {} for the control socket", path.display())]
    Control {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl ServerError {
    pub(super) fn metrics(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::PortBusy { address },
            io::ErrorKind::AddrNotAvailable => Self::NoSuchAddress { address },
            _ => Self::Metrics { address, source },
        }
    }
}
