//! One guard at a time.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use nix::fcntl::{Flock, FlockArg};

/// Holds the state directory for this process. The lock goes with the
/// process, so a killed guard leaves none; its files go when this is dropped.
pub(super) struct Instance {
    lock: PathBuf,
    directory: PathBuf,
    _held: Flock<File>,
}

impl Instance {
    /// Makes the state directory (all may see whether a guard is there, but
    /// its files are root's alone) and takes the lock in it.
    pub(super) fn take(directory: &Path) -> anyhow::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(directory)
            .with_context(|| {
                format!("cannot make the state directory {}: run as root, or name another with --state-dir", directory.display())
            })?;
        let lock = directory.join("lock");
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            // Who may open it may take the lock.
            .mode(0o600)
            .open(&lock)
            .with_context(|| {
                format!(
                    "cannot open {}: run as root, or name another directory with --state-dir",
                    lock.display()
                )
            })?;
        let mut pid = String::new();
        // Only for the message.
        let _ = file.read_to_string(&mut pid);
        let mut held = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => held,
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => bail!(
                "another syn-guard is running here (pid {}): stop it first, or use another --state-dir and --bpf-dir",
                if pid.trim().is_empty() {
                    "unknown"
                } else {
                    pid.trim()
                }
            ),
            Err((_, error)) => bail!("cannot lock {}: {error}", lock.display()),
        };
        held.set_len(0).context("cannot write the lock")?;
        std::io::Seek::rewind(&mut *held).context("cannot write the lock")?;
        writeln!(held, "{}", std::process::id()).context("cannot write the lock")?;
        Ok(Self {
            lock,
            directory: directory.to_owned(),
            _held: held,
        })
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.lock);
        // Only when nothing else is in it.
        let _ = fs::remove_dir(&self.directory);
    }
}
