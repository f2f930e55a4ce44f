//! The control socket's file.

use std::{
    fs::{self, DirBuilder, Metadata},
    io,
    os::{
        fd::AsFd as _,
        unix::{
            fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _},
            net::UnixDatagram,
        },
    },
    path::{Path, PathBuf},
};

use nix::sys::stat::{Mode, fchmod};
use tokio::net::{UnixListener, UnixSocket};

use super::{ServerError, control::CONNECTIONS};

/// A listening control socket. Its file is removed with it.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    file: SocketFile,
}

impl ControlSocket {
    pub(super) fn into_parts(self) -> (UnixListener, SocketFile) {
        (self.listener, self.file)
    }
}

/// Makes the control socket, for its owner only, and its folder where there
/// is none. A file that a guard left when it was killed makes room.
///
/// Must be called within a tokio runtime.
///
/// # Errors
///
/// When another guard answers there, or the system refuses.
pub fn bind_control(path: &Path) -> Result<ControlSocket, ServerError> {
    let failure = |action| {
        move |source| ServerError::Control {
            action,
            path: path.to_owned(),
            source,
        }
    };
    if let Some(folder) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failure("make the folder of"))?;
    }
    let socket = UnixSocket::new_stream().map_err(failure("open a socket at"))?;
    // Linux gives the file the mode of the socket that is bound: it is never
    // there with another, and the umask, which all threads share, stays.
    fchmod(socket.as_fd(), Mode::S_IRUSR | Mode::S_IWUSR)
        .map_err(|errno| failure("set the mode of")(errno.into()))?;
    match socket.bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            remove_stale(path)?;
            socket.bind(path).map_err(failure("bind"))?;
        }
        bound => bound.map_err(failure("bind"))?,
    }
    let file = SocketFile::new(path).map_err(failure("read"))?;
    let listener = socket
        .listen(CONNECTIONS as u32)
        .map_err(failure("listen on"))?;
    Ok(ControlSocket { listener, file })
}

/// Removes what a killed guard left of its control socket, if anything.
///
/// # Errors
///
/// When a guard answers there, or the system refuses.
pub fn remove_control(path: &Path) -> Result<(), ServerError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => remove_stale(path),
    }
}

/// Removes the file of a socket that nobody has open.
fn remove_stale(path: &Path) -> Result<(), ServerError> {
    let failure = |action| {
        move |source| ServerError::Control {
            action,
            path: path.to_owned(),
            source,
        }
    };
    let metadata = fs::symlink_metadata(path).map_err(failure("read"))?;
    if !metadata.file_type().is_socket() {
        return Err(ServerError::NoSocket {
            path: path.to_owned(),
        });
    }
    // A datagram socket never connects to a stream socket: the refusal tells
    // whether there is one, without a connection that a busy guard would
    // keep waiting.
    let socket = UnixDatagram::unbound().map_err(failure("open a socket at"))?;
    match socket.connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failure("remove the stale"))
        }
        Err(error) if error.raw_os_error() != Some(nix::libc::EPROTOTYPE) => {
            Err(failure("connect to")(error))
        }
        _ => Err(ServerError::AlreadyRunning {
            path: path.to_owned(),
        }),
    }
}

/// Removes the file when dropped, unless another took its place.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            identity: identity(&fs::symlink_metadata(path)?),
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let now = fs::symlink_metadata(&self.path);
        if now.is_ok_and(|now| identity(&now) == self.identity) {
            // Best effort: the next guard removes what is left.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
