//! Diagnosis from within the programs, by aya-log.

use aya_log::EbpfLogger;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{DataPath, DataPathError};

/// How much the programs say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogLevel {
    /// Nothing; the code for it is not even loaded.
    #[default]
    Off,
    /// Rare decisions: a listener that is gone, a connection that the stack
    /// refused.
    Debug,
}

impl LogLevel {
    /// aya-log's number of the level.
    pub(super) const fn as_u8(self) -> u8 {
        match self {
            Self::Off => 0,
            Self::Debug => 4,
        }
    }
}

/// Copies what the programs say into the log, for as long as it is polled.
///
/// # Errors
/// When the programs have no log.
pub fn forward_logs(
    datapath: &mut DataPath,
) -> Result<impl Future<Output = ()> + use<>, DataPathError> {
    let broken = |error: String| DataPathError::Map {
        map: "AYA_LOGS",
        reason: error,
    };
    let logger = EbpfLogger::init(&mut datapath.ebpf).map_err(|error| broken(error.to_string()))?;
    // SAFETY: the logger owns its descriptor and never replaces it.
    let mut readable = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) }
        .map_err(|error| broken(error.to_string()))?;
    Ok(async move {
        while let Ok(mut guard) = readable.readable_mut().await {
            guard.get_inner_mut().flush();
            guard.clear_ready();
        }
    })
}
