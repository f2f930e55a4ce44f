//! One lab at a time on a machine.

use std::fs::{File, OpenOptions, TryLockError};

use anyhow::{Context as _, Result};

use super::cleaner;

/// The lock, until it is dropped or the process ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock, and says so when it has to.
    pub(super) fn take() -> Result<Self> {
        let base = cleaner::base();
        std::fs::create_dir_all(&base).with_context(|| format!("making {}", base.display()))?;
        let path = base.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("opening {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                eprintln!("waiting for another lab to end");
                file.lock()
                    .with_context(|| format!("locking {}", path.display()))?;
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("locking {}", path.display()));
            }
        }
        Ok(Self { _file: file })
    }
}
