//! Takes one step of the set-up.

use std::process::Command;

use anyhow::Result;

use super::{
    plan::{Llvm, Step},
    unpacked,
};
use crate::{build::Paths, command};

const LINKER_VERSION: &str = "0.13.0";
const FUZZ_VERSION: &str = "0.13.2";

/// Installs packages while Debian's own switch for it, `policy-rc.d`, keeps services from being
/// started. Where that file exists the machine has its own rule, which stays. A shell, as its trap
/// takes the file away also after ^C. `--no-remove`: never put a package in another one's place.
const APT: &str = r#"
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi
apt-get -q -y --no-install-recommends --no-remove install "$@" </dev/null
"#;

pub(super) fn perform(step: &Step, paths: &Paths) -> Result<()> {
    match step {
        Step::AddComponent {
            toolchain,
            component,
        } => add_component(toolchain, component),
        Step::Apt { packages, services } => apt(packages, services),
        Step::InstallLinker { llvm } => install_linker(llvm, paths),
        Step::InstallFuzz => install_fuzz(paths),
        Step::Unpack => unpacked::provide(paths),
    }
}

fn add_component(toolchain: &str, component: &str) -> Result<()> {
    command::run(Command::new("rustup").args([
        "component",
        "add",
        component,
        "--toolchain",
        toolchain,
    ]))
}

fn apt(packages: &[&str], services: &[&str]) -> Result<()> {
    if install(packages).is_err() {
        // The lists are absent on a fresh image, and old ones name packages that are gone.
        command::run(Command::new("apt-get").args(["-q", "update"]))?;
        install(packages)?;
    }
    if !services.is_empty() && command::find_program("systemctl").is_some() {
        // Installed for their programs only: neither may start at the next boot.
        command::run(
            Command::new("systemctl")
                .args(["-q", "disable"])
                .args(services),
        )?;
    }
    Ok(())
}

fn install(packages: &[&str]) -> Result<()> {
    let mut shell = Command::new("sh");
    shell
        .args(["-euc", APT, "apt"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive");
    eprintln!(
        "+ apt-get -y --no-install-recommends --no-remove install {} (starting no service)",
        packages.join(" ")
    );
    let status = shell.status()?;
    anyhow::ensure!(status.success(), "`apt-get install` failed: {status}");
    Ok(())
}

fn install_linker(llvm: &Llvm, paths: &Paths) -> Result<()> {
    command::run(
        Command::new(command::cargo())
            .args([
                "install",
                "bpf-linker",
                "--version",
                LINKER_VERSION,
                "--locked",
            ])
            .args([
                "--no-default-features",
                "--features",
                &format!("llvm-{}", llvm.major),
            ])
            .arg("--root")
            .arg(paths.tools())
            .env("LLVM_PREFIX", &llvm.prefix)
            // Its build leaves nothing in the workspace's folder.
            .env_remove("CARGO_TARGET_DIR"),
    )
}

fn install_fuzz(paths: &Paths) -> Result<()> {
    command::run(
        Command::new(command::cargo())
            .args([
                "install",
                "cargo-fuzz",
                "--version",
                FUZZ_VERSION,
                "--locked",
                "--root",
            ])
            .arg(paths.tools())
            .env_remove("CARGO_TARGET_DIR"),
    )
}
