//! What the journal acts on.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nix::mount::{MntFlags, umount2};

use crate::kernel::sysctl::{self, SysctlError};

/// What every BPF file system holds (`CONFIG_BPF_PRELOAD`).
const PRELOADED: [&str; 2] = ["maps.debug", "progs.debug"];

/// Why the system did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// A sysctl.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// A file below /proc.
    #[error("cannot read {path}: {source}")]
    Proc {
        /// The file.
        path: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A directory.
    #[error("cannot read {}: {source}", path.display())]
    Directory {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A mount.
    #[error("cannot unmount {}: {source}", path.display())]
    Unmount {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: nix::Error,
    },
}

/// The system whose settings are changed.
pub trait System {
    /// A sysctl's value.
    fn get(&self, name: &str) -> Result<String, SysctlError>;
    /// Sets a sysctl.
    fn set(&self, name: &str, value: &str) -> Result<(), SysctlError>;
    /// Whether a directory is empty, but for what the kernel itself puts into a
    /// BPF file system; one that is not there is.
    fn is_empty(&self, path: &Path) -> Result<bool, SystemError>;
    /// Unmounts; no error when nothing is mounted there.
    fn unmount(&self, path: &Path) -> Result<(), SystemError>;
    /// Names this boot.
    fn boot_id(&self) -> Result<String, SystemError>;
    /// The inode of the network namespace.
    fn network_namespace(&self) -> Result<u64, SystemError>;
}

/// The running kernel, in the calling thread's network namespace.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kernel;

impl System for Kernel {
    fn get(&self, name: &str) -> Result<String, SysctlError> {
        sysctl::get(name)
    }

    fn set(&self, name: &str, value: &str) -> Result<(), SysctlError> {
        sysctl::set(name, value)
    }

    fn is_empty(&self, path: &Path) -> Result<bool, SystemError> {
        let failed = |source| SystemError::Directory {
            path: path.to_owned(),
            source,
        };
        let entries = match fs::read_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            if !PRELOADED.iter().any(|preloaded| name == *preloaded) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn unmount(&self, path: &Path) -> Result<(), SystemError> {
        match umount2(path, MntFlags::UMOUNT_NOFOLLOW) {
            // Nothing there: not a mount point, or no such path.
            Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => Ok(()),
            Err(source) => Err(SystemError::Unmount {
                path: path.to_owned(),
                source,
            }),
        }
    }

    fn boot_id(&self) -> Result<String, SystemError> {
        let path = "/proc/sys/kernel/random/boot_id";
        let text = fs::read_to_string(path).map_err(|source| SystemError::Proc { path, source })?;
        Ok(text.trim().to_owned())
    }

    fn network_namespace(&self) -> Result<u64, SystemError> {
        let path = "/proc/thread-self/ns/net";
        let metadata = fs::metadata(path).map_err(|source| SystemError::Proc { path, source })?;
        Ok(metadata.ino())
    }
}
