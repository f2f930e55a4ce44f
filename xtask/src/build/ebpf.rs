//! The eBPF crates: cargo with `core` built from source and bpf-linker as linker.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::Paths;
use crate::{command, setup::Tools};

const TARGET: &str = "bpfel-unknown-none";
const PACKAGES: [&str; 2] = ["syn-guard-ebpf", "lab-ebpf"];

/// Builds both crates and returns the objects of syn-guard and of the lab.
pub(super) fn build(tools: &Tools, paths: &Paths) -> Result<(PathBuf, PathBuf)> {
    let mut cargo = Command::new(&tools.cargo);
    cargo.args(["build", "--bins"]);
    command::run(configure(&mut cargo, tools, paths))?;

    let built = paths.ebpf_target().join(TARGET).join("release");
    let guard = paths.objects().join("syn-guard.o");
    let lab = paths.objects().join("lab.o");
    update(&built.join("syn-guard-ebpf"), &guard)?;
    update(&built.join("lab-ebpf"), &lab)?;
    Ok((guard, lab))
}

/// Lints both crates with the clippy of the compiler that builds them.
///
/// # Errors
/// Clippy finds something, or is not there.
pub fn clippy(tools: &Tools, paths: &Paths) -> Result<()> {
    let clippy = tools
        .cargo_clippy
        .as_ref()
        .context("no clippy; run `cargo xtask setup`")?;
    let mut cargo = Command::new(clippy);
    cargo.args(["clippy", "--bins"]).env("CARGO", &tools.cargo);
    command::run(configure(&mut cargo, tools, paths).args(["--", "-D", "warnings"]))
}

fn configure<'a>(cargo: &'a mut Command, tools: &Tools, paths: &Paths) -> &'a mut Command {
    let flags = [
        // aya-ebpf lays out `pt_regs` by the machine the programs run on.
        format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH),
        // BTF is made from the debug information.
        "-Cdebuginfo=2".into(),
        // 32-bit ALU and jumps: shorter programs, and bounds the verifier can follow.
        "-Ctarget-cpu=v3".into(),
        format!("-Clinker={}", tools.linker.display()),
        "-Clink-arg=--btf".into(),
        // A program calls no function of its own, whatever it is called from twice.
        "-Clink-arg=--llvm-args=-inline-threshold=1000000".into(),
    ];
    cargo
        .args([
            "--release",
            "--target",
            TARGET,
            "-Z",
            "build-std=core",
            "--target-dir",
        ])
        .arg(paths.ebpf_target())
        .args(PACKAGES.iter().flat_map(|package| ["--package", package]))
        .current_dir(&paths.root)
        .env("RUSTC", &tools.rustc)
        // `-Z build-std` and the unstable features of aya-ebpf, on any channel.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
}

/// Copies `from` over `to` in one step, and only when they differ: a newer time would make cargo
/// build the host binary again.
fn update(from: &Path, to: &Path) -> Result<()> {
    let new = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    replace(to, &new).with_context(|| format!("cannot write {}", to.display()))
}

fn replace(to: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = to.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let mut file = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o644))
        .tempfile_in(dir)?;
    file.write_all(bytes)?;
    file.persist(to)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_equal_object_keeps_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("ebpf/to.o"));
        fs::write(&from, "one").unwrap();
        update(&from, &to).unwrap();
        let first = fs::metadata(&to).unwrap();
        update(&from, &to).unwrap();
        assert_eq!(
            first.modified().unwrap(),
            fs::metadata(&to).unwrap().modified().unwrap()
        );
        fs::write(&from, "two").unwrap();
        update(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "two");
    }
}
