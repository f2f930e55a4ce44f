//! Where the workspace and its target folder are.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::command;

/// The folders every task works in.
#[derive(Debug, Clone)]
pub struct Paths {
    /// The workspace.
    pub root: PathBuf,
    /// Cargo's target folder for it.
    pub target: PathBuf,
}

impl Paths {
    /// Asks cargo, so that `CARGO_TARGET_DIR` and cargo's configuration count.
    ///
    /// # Errors
    /// Cargo cannot read the workspace.
    pub fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask lies outside of its workspace")?
            .to_path_buf();
        let mut cargo = Command::new(command::cargo());
        cargo
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .current_dir(&root);
        let metadata: serde_json::Value = serde_json::from_str(&command::output(&mut cargo)?)?;
        let target = metadata["target_directory"]
            .as_str()
            .context("`cargo metadata` names no target_directory")?
            .into();
        Ok(Self { root, target })
    }

    /// The finished eBPF objects.
    pub fn objects(&self) -> PathBuf {
        self.target.join("ebpf")
    }

    /// Cargo's own folder for the eBPF builds; apart, so that the host builds keep theirs.
    pub fn ebpf_target(&self) -> PathBuf {
        self.target.join("ebpf-build")
    }

    /// Programs the set-up builds for this checkout only.
    pub fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }
}
