//! The journal on disk.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::Change;

const VERSION: u32 = 1;

/// Why the journal's file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not a journal.
    #[error("{} is no journal of this version: set the values that it holds back by hand, then remove it", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

/// What the file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Contents {
    version: u32,
    pub(super) boot_id: String,
    pub(super) network_namespace: u64,
    pub(super) changes: Vec<Change>,
}

impl Contents {
    pub(super) fn new(boot_id: String, network_namespace: u64) -> Self {
        Self {
            version: VERSION,
            boot_id,
            network_namespace,
            changes: Vec::new(),
        }
    }
}

/// The file's place.
#[derive(Debug)]
pub(super) struct File {
    directory: PathBuf,
    path: PathBuf,
}

impl File {
    pub(super) fn in_directory(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            path: directory.join("undo.json"),
        }
    }

    pub(super) fn read(&self) -> Result<Option<Contents>, FileError> {
        read(&self.path)
    }

    /// Replaces the file; when this returns, it survives a power failure.
    pub(super) fn write(&self, contents: &Contents) -> Result<(), FileError> {
        let new = self.directory.join("undo.json.new");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)
            .map_err(|source| failure("make", &self.directory, source))?;
        // Left by a crash, perhaps with other permissions.
        remove(&new)?;
        let mut bytes = serde_json::to_vec_pretty(contents)
            .map_err(|source| failure("write", &new, source.into()))?;
        bytes.push(b'\n');
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)
            .and_then(|mut file| {
                file.write_all(&bytes)?;
                file.sync_all()
            })
            .map_err(|source| failure("write", &new, source))?;
        fs::rename(&new, &self.path).map_err(|source| failure("replace", &self.path, source))?;
        self.sync_directory()
    }

    /// Removes the file, if it is there.
    pub(super) fn remove(&self) -> Result<(), FileError> {
        if remove(&self.path)? {
            self.sync_directory()?;
        }
        Ok(())
    }

    /// Renames the file to `undo.NAMESPACE.json`.
    pub(super) fn set_aside(&self, namespace: u64) -> Result<PathBuf, FileError> {
        let aside = self.aside(namespace);
        fs::rename(&self.path, &aside).map_err(|source| failure("rename", &self.path, source))?;
        self.sync_directory()?;
        Ok(aside)
    }

    /// Takes up what was set aside for that namespace in this boot; an older
    /// one is removed.
    pub(super) fn take_back(
        &self,
        namespace: u64,
        boot_id: &str,
    ) -> Result<Option<Contents>, FileError> {
        let aside = self.aside(namespace);
        let Some(contents) = read(&aside)? else {
            return Ok(None);
        };
        if contents.boot_id != boot_id {
            remove(&aside)?;
            return Ok(None);
        }
        fs::rename(&aside, &self.path).map_err(|source| failure("rename", &aside, source))?;
        self.sync_directory()?;
        Ok(Some(contents))
    }

    fn aside(&self, namespace: u64) -> PathBuf {
        self.directory.join(format!("undo.{namespace}.json"))
    }

    fn sync_directory(&self) -> Result<(), FileError> {
        fs::File::open(&self.directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|source| failure("sync", &self.directory, source))
    }
}

fn read(path: &Path) -> Result<Option<Contents>, FileError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failure("read", path, source)),
    };
    let unreadable = |source| FileError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let contents: Contents = serde_json::from_slice(&bytes).map_err(unreadable)?;
    if contents.version == VERSION {
        return Ok(Some(contents));
    }
    let version = format!("version {}, not {VERSION}", contents.version);
    Err(unreadable(serde::de::Error::custom(version)))
}

/// Whether there was a file.
fn remove(path: &Path) -> Result<bool, FileError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(failure("remove", path, source)),
    }
}

fn failure(action: &'static str, path: &Path, source: io::Error) -> FileError {
    FileError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}
