//! `cargo xtask build`: the eBPF objects, then the program that carries them.

mod ebpf;
mod paths;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

pub use self::{ebpf::clippy, paths::Paths};
use crate::{command, setup::Tools};

/// What a build leaves behind.
#[derive(Debug)]
pub struct Built {
    /// The programs of syn-guard.
    pub guard_object: PathBuf,
    /// The programs of the lab.
    pub lab_object: PathBuf,
    /// The `syn-guard` binary for this host.
    pub binary: PathBuf,
}

impl Built {
    /// Hands the files to cargo and to the tests by the variables they read.
    pub fn export<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("SYN_GUARD_BPF_OBJECT", &self.guard_object)
            .env("SYN_GUARD_LAB_OBJECT", &self.lab_object)
            .env("SYN_GUARD_BIN", &self.binary)
    }
}

/// Builds everything.
///
/// # Errors
/// A build fails or a file cannot be written.
pub fn run(tools: &Tools, paths: &Paths, release: bool) -> Result<Built> {
    let (guard_object, lab_object) = ebpf::build(tools, paths)?;
    let binary = host(paths, &guard_object, release)?;
    Ok(Built {
        guard_object,
        lab_object,
        binary,
    })
}

fn host(paths: &Paths, object: &Path, release: bool) -> Result<PathBuf> {
    let mut cargo = Command::new(command::cargo());
    cargo
        .args(["build", "--package", "syn-guard", "--bins"])
        .args(release.then_some("--release"))
        .current_dir(&paths.root)
        .env("SYN_GUARD_BPF_OBJECT", object);
    command::run(&mut cargo)?;
    let profile = if release { "release" } else { "debug" };
    Ok(paths.target.join(profile).join("syn-guard"))
}
