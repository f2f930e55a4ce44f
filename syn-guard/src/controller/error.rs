//! What can stop the controller.

use crate::datapath::DataPathError;
use crate::kernel::interfaces::{InterfaceError, RouteError};
use crate::kernel::sock_diag::SockDiagError;
use crate::kernel::sysctl::SysctlError;
use crate::prefixes::ListFileError;
use crate::undo::UndoError;

/// Why the controller could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// Loading, attaching or using the programs.
    #[error(transparent)]
    DataPath(#[from] DataPathError),
    /// Reading sockets.
    #[error(transparent)]
    Sockets(#[from] SockDiagError),
    /// Reading interfaces and addresses.
    #[error(transparent)]
    Interfaces(#[from] InterfaceError),
    /// Reading routes.
    #[error(transparent)]
    Routes(#[from] RouteError),
    /// Reading settings.
    #[error(transparent)]
    Settings(#[from] SysctlError),
    /// Writing down or undoing changes.
    #[error(transparent)]
    Undo(#[from] UndoError),
    /// A file of prefixes.
    #[error(transparent)]
    Prefixes(#[from] ListFileError),
    /// No interface was named and there is no default route.
    #[error("no interface to guard: there is no default route; name one with --iface")]
    NoInterface,
    /// Something could not be removed or undone at the end.
    #[error("not everything could be removed or undone (above): `syn-guard detach` tries again")]
    Left,
    /// The kernel's random source failed.
    #[error("no random keys for the cookies: getrandom: {0}")]
    Random(std::io::Error),
}
