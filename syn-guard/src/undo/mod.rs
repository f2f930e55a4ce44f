//! Changes to the system, each written down before it is made, so that it can
//! be undone also after a crash.
//!
//! The journal is `undo.json` in the state directory:
//!
//! ```json
//! {
//!   "version": 1,
//!   "boot_id": "5b0e...",
//!   "network_namespace": 4026531840,
//!   "changes": [
//!     {"kind": "sysctl", "name": "net.ipv4.tcp_syncookies", "old": "0", "new": ["1"]},
//!     {"kind": "mount", "path": "/sys/fs/bpf"}
//!   ]
//! }
//! ```

mod file;
mod system;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::kernel::sysctl::SysctlError;
pub use file::FileError;
use file::{Contents, File};
pub use system::{Kernel, System, SystemError};

/// Why a change was not made, or the journal not read.
#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    /// The journal's file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A sysctl.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// The network namespace or the boot is not known.
    #[error(transparent)]
    System(#[from] SystemError),
}

/// A change to the system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Change {
    /// A sysctl has another value.
    Sysctl {
        /// Its name.
        name: String,
        /// What it was before we first changed it.
        old: String,
        /// What we set it to, the latest last. More than one, so that a crash
        /// between writing this and setting it leaves no doubt whose value it is.
        new: Vec<String>,
    },
    /// A file system was mounted.
    Mount {
        /// Where.
        path: PathBuf,
    },
}

/// What became of a change that was to be undone.
#[derive(Debug)]
pub enum Outcome {
    /// The old value is back.
    Restored {
        /// The sysctl.
        name: String,
        /// Its value now.
        value: String,
    },
    /// The old value was there already.
    AlreadyThere {
        /// The sysctl.
        name: String,
    },
    /// Somebody else changed it since; it was left as it is.
    ChangedMeanwhile {
        /// The sysctl.
        name: String,
        /// What we had set.
        ours: String,
        /// What it is.
        found: String,
        /// What it was before us.
        old: String,
    },
    /// The mount is gone.
    Unmounted {
        /// Where it was.
        path: PathBuf,
    },
    /// Somebody else keeps something in what was mounted: it stays mounted.
    LeftMounted {
        /// Where it is.
        path: PathBuf,
    },
    /// It could not be undone and stays in the journal.
    Failed {
        /// The change.
        change: Change,
        /// Why.
        error: SystemError,
    },
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Restored { name, value } => write!(f, "{name} is {value} again"),
            Self::AlreadyThere { name } => write!(f, "{name} had its old value already"),
            Self::ChangedMeanwhile {
                name,
                ours,
                found,
                old,
            } => write!(
                f,
                "{name} was left at {found}: somebody changed it after we had set it to {ours} (before us it was {old})"
            ),
            Self::Unmounted { path } => write!(f, "{} is unmounted", path.display()),
            Self::LeftMounted { path } => write!(
                f,
                "{} stays mounted: something else is there by now",
                path.display()
            ),
            Self::Failed { change, error } => match change {
                Change::Sysctl { name, old, .. } => {
                    write!(f, "{name} could not be set back to {old}: {error}")
                }
                Change::Mount { path } => {
                    write!(f, "{} could not be unmounted: {error}", path.display())
                }
            },
        }
    }
}

/// What the state directory held when the journal was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Changes in this network namespace that nobody undid: a crash.
    pub changes: Vec<Change>,
    /// A journal from before the last boot, which undid them all: discarded.
    pub discarded: bool,
    /// The journal of another network namespace, by its inode, since nothing
    /// of it can be undone from here: kept under this name, and taken up
    /// again by whoever opens the directory in that namespace.
    pub elsewhere: Option<(u64, PathBuf)>,
}

/// The changes that are written down in a state directory for this boot and this
/// network namespace, by whoever is running; none where nobody may read them.
///
/// # Errors
/// The file is there and is no journal.
pub fn read_changes(state_dir: &Path) -> Result<Vec<Change>, UndoError> {
    let found = match File::in_directory(state_dir).read() {
        Err(FileError::Io { source, .. })
            if source.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            None
        }
        found => found?,
    };
    let (boot_id, namespace) = (Kernel.boot_id()?, Kernel.network_namespace()?);
    Ok(found
        .filter(|found| found.boot_id == boot_id && found.network_namespace == namespace)
        .map(|found| found.changes)
        .unwrap_or_default())
}

/// The journal.
#[derive(Debug)]
pub struct Journal<S = Kernel> {
    file: File,
    contents: Contents,
    leftovers: Leftovers,
    system: S,
}

impl Journal {
    /// Opens the journal in that directory, which is made (0700) if needed.
    pub fn open(state_dir: &Path) -> Result<Self, UndoError> {
        Self::open_with(state_dir, Kernel)
    }
}

impl<S: System> Journal<S> {
    /// The same for another system than the kernel.
    pub fn open_with(state_dir: &Path, system: S) -> Result<Self, UndoError> {
        let file = File::in_directory(state_dir);
        let mut contents = Contents::new(system.boot_id()?, system.network_namespace()?);
        let mut leftovers = Leftovers::default();
        if let Some(found) = file.read()? {
            if found.boot_id != contents.boot_id {
                file.remove()?;
                leftovers.discarded = true;
            } else if found.network_namespace != contents.network_namespace {
                // Out of the way of our own, and kept.
                let path = file.set_aside(found.network_namespace)?;
                leftovers.elsewhere = Some((found.network_namespace, path));
            } else {
                contents = found;
                leftovers.changes = contents.changes.clone();
            }
        }
        if contents.changes.is_empty()
            && let Some(found) = file.take_back(contents.network_namespace, &contents.boot_id)?
        {
            contents = found;
            leftovers.changes = contents.changes.clone();
        }
        Ok(Self {
            file,
            contents,
            leftovers,
            system,
        })
    }

    /// What the state directory held when the journal was opened.
    #[must_use]
    pub fn leftovers(&self) -> &Leftovers {
        &self.leftovers
    }

    /// The changes that are not undone yet, the first one first.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.contents.changes
    }

    /// Sets a sysctl, after its old value is safely on disk. An old value
    /// that was written down before stays.
    pub fn change(&mut self, name: &str, value: &str) -> Result<(), UndoError> {
        self.change_if(name, value, || Ok(true)).map(drop)
    }

    /// The same if `may` still says so when the old value has been read; whether
    /// it did.
    pub fn change_if(
        &mut self,
        name: &str,
        value: &str,
        may: impl FnOnce() -> Result<bool, UndoError>,
    ) -> Result<bool, UndoError> {
        let current = self.system.get(name)?;
        if !may()? {
            return Ok(false);
        }
        let before = self.contents.clone();
        match self.sysctl(name) {
            Some(at) => {
                if let Change::Sysctl { new, .. } = &mut self.contents.changes[at] {
                    new.retain(|earlier| !same(earlier, value));
                    new.push(value.to_owned());
                }
            }
            None if same(&current, value) => return Ok(true),
            None => self.contents.changes.push(Change::Sysctl {
                name: name.to_owned(),
                old: current.clone(),
                new: vec![value.to_owned()],
            }),
        }
        if let Err(error) = self.save() {
            self.contents = before;
            return Err(error.into());
        }
        if same(&current, value) {
            return Ok(true);
        }
        if let Err(error) = self.system.set(name, value) {
            // Nothing changed. Should this not reach the disk, the journal
            // only knows of a value too many.
            self.contents = before;
            let _ = self.save();
            return Err(error.into());
        }
        Ok(true)
    }

    /// Writes down a mount that is about to be made.
    pub fn record_mount(&mut self, path: &Path) -> Result<(), UndoError> {
        let mount = Change::Mount {
            path: path.to_owned(),
        };
        if !self.contents.changes.contains(&mount) {
            self.contents.changes.push(mount);
            if let Err(error) = self.save() {
                self.contents.changes.pop();
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Undoes all changes, the last one first, and removes the file unless
    /// one of them failed.
    pub fn restore_all(&mut self) -> Result<Vec<Outcome>, UndoError> {
        let mut outcomes = Vec::new();
        let mut failed = Vec::new();
        for change in self.contents.changes.drain(..).rev() {
            match undo_one(&self.system, &change) {
                Ok(outcome) => outcomes.push(outcome),
                Err(error) => {
                    failed.push(change.clone());
                    outcomes.push(Outcome::Failed { change, error });
                }
            }
        }
        failed.reverse();
        self.contents.changes = failed;
        self.save()?;
        Ok(outcomes)
    }

    /// Undoes the change of one sysctl, if there was one.
    pub fn restore(&mut self, name: &str) -> Result<Option<Outcome>, UndoError> {
        self.restore_if(name, |_| Ok(true))
    }

    /// The same, but its old value, which `may_forget` is given, stays written down
    /// unless that says so when the value is set; then there is no outcome either.
    pub fn restore_if(
        &mut self,
        name: &str,
        may_forget: impl FnOnce(&str) -> Result<bool, UndoError>,
    ) -> Result<Option<Outcome>, UndoError> {
        let Some(at) = self.sysctl(name) else {
            return Ok(None);
        };
        let change = self.contents.changes[at].clone();
        let outcome = match undo_one(&self.system, &change) {
            Ok(outcome) => outcome,
            Err(error) => return Ok(Some(Outcome::Failed { change, error })),
        };
        if let Change::Sysctl { old, .. } = &change
            && !may_forget(old)?
        {
            return Ok(None);
        }
        self.contents.changes.remove(at);
        if let Err(error) = self.save() {
            // It is on disk still: the next try finds the old value there.
            self.contents.changes.insert(at, change);
            return Err(error.into());
        }
        Ok(Some(outcome))
    }

    /// Forgets the change of one sysctl, if somebody has set another value since;
    /// whether somebody had.
    pub fn forget_if_overwritten(&mut self, name: &str) -> Result<bool, UndoError> {
        let Some(at) = self.sysctl(name) else {
            return Ok(false);
        };
        let found = self.system.get(name)?;
        if let Change::Sysctl { new, .. } = &self.contents.changes[at]
            && new.iter().any(|ours| same(ours, &found))
        {
            return Ok(false);
        }
        self.contents.changes.remove(at);
        self.save()?;
        Ok(true)
    }

    fn save(&self) -> Result<(), FileError> {
        if self.contents.changes.is_empty() {
            self.file.remove()
        } else {
            self.file.write(&self.contents)
        }
    }

    fn sysctl(&self, name: &str) -> Option<usize> {
        self.contents
            .changes
            .iter()
            .position(|change| matches!(change, Change::Sysctl { name: n, .. } if n == name))
    }
}

fn undo_one(system: &impl System, change: &Change) -> Result<Outcome, SystemError> {
    let (name, old, new) = match change {
        Change::Mount { path } => {
            let path = path.clone();
            // Unmounting a BPF file system destroys what is pinned in it.
            if !system.is_empty(&path)? {
                return Ok(Outcome::LeftMounted { path });
            }
            system.unmount(&path)?;
            return Ok(Outcome::Unmounted { path });
        }
        Change::Sysctl { name, old, new } => (name.clone(), old.clone(), new),
    };
    let found = system.get(&name)?;
    if same(&found, &old) {
        return Ok(Outcome::AlreadyThere { name });
    }
    if !new.iter().any(|ours| same(ours, &found)) {
        let ours = new.last().cloned().unwrap_or_default();
        return Ok(Outcome::ChangedMeanwhile {
            name,
            ours,
            found,
            old,
        });
    }
    system.set(&name, &old)?;
    Ok(Outcome::Restored { name, value: old })
}

/// The kernel shows lists with tabs, whatever was written between them.
fn same(one: &str, other: &str) -> bool {
    one.split_whitespace().eq(other.split_whitespace())
}

#[cfg(test)]
pub(crate) mod tests;
