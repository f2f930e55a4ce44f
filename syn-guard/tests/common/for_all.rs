//! The program as somebody without rights runs it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use xtask::lab::{Lab, binary};

/// `nobody` of Debian and others.
pub const NOBODY: &str = "65534";

/// A copy of the program where everybody may run it.
pub struct ForAll(TempDir);

impl ForAll {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::copy(binary().unwrap(), folder.path().join("syn-guard")).unwrap();
        Self(folder)
    }

    /// Where the copy is.
    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    /// As nobody, with the lab's directories.
    pub fn command(&self, lab: &Lab, arguments: &[&str]) -> Command {
        let mut command = lab.server().command("setpriv");
        command
            .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--"])
            .arg(self.0.path().join("syn-guard"))
            .args(arguments)
            .arg("--state-dir")
            .arg(lab.guard_state())
            .arg("--bpf-dir")
            .arg(lab.guard_pins());
        command
    }
}
