//! Why the guard could not be asked.

use std::{
    error, io,
    path::{Path, PathBuf},
};

/// Why the guard could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no socket, or nobody listens on it.
    #[error("no guard answers at {}: start it with `syn-guard run`", path.display())]
    NoGuard {
        /// The socket.
        path: PathBuf,
    },
    /// The socket is for root.
    #[error("permission denied on {}: asking the guard needs root", path.display())]
    PermissionDenied {
        /// The socket.
        path: PathBuf,
    },
    /// Anything else about connecting.
    #[error("cannot connect to {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The time limit passed.
    #[error("the guard at {} did not answer within {seconds} s", path.display())]
    NoAnswer {
        /// The socket.
        path: PathBuf,
        /// The limit.
        seconds: u64,
    },
    /// The exchange broke off, or was no HTTP.
    #[error("cannot read {what} from the guard")]
    Http {
        /// What was asked for.
        what: String,
        /// Why.
        source: Box<dyn error::Error + Send + Sync>,
    },
    /// What was asked for is wrong, or there is no such thing.
    #[error("{error}")]
    Refused {
        /// What the guard says.
        error: String,
    },
    /// The guard answered that it cannot.
    #[error("the guard does not give {what} ({status}): {error}")]
    Unable {
        /// What was asked for.
        what: String,
        /// HTTP status.
        status: u16,
        /// What it said.
        error: String,
    },
    /// The guard refused without a word of why.
    #[error("the guard does not know {what} ({status}): is it of another version?")]
    Unknown {
        /// What was asked for.
        what: String,
        /// HTTP status.
        status: u16,
    },
    /// The answer is not what this version expects.
    #[error("the guard's answer to {what} is not understood: is it of another version?")]
    Json {
        /// What was asked for.
        what: String,
        /// Why.
        source: serde_json::Error,
    },
}

impl ClientError {
    pub(super) fn connect(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Self::NoGuard { path },
            io::ErrorKind::PermissionDenied => Self::PermissionDenied { path },
            _ => Self::Connect { path, source },
        }
    }

    /// Whether another guard may answer the same question: this one is gone, or
    /// about to go.
    #[must_use]
    pub const fn is_gone(&self) -> bool {
        match self {
            Self::NoGuard { .. }
            | Self::NoAnswer { .. }
            | Self::Connect { .. }
            | Self::Http { .. }
            | Self::Unable { .. } => true,
            Self::PermissionDenied { .. }
            | Self::Refused { .. }
            | Self::Unknown { .. }
            | Self::Json { .. } => false,
        }
    }
}
