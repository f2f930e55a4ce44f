//! Looks what the machine has. Changes nothing.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    plan::{Found, Linker, Llvm, Need, PROGRAMS, Rustc},
    unpacked,
};
use crate::{build::Paths, command};

pub(super) fn probe(need: Need, paths: &Paths) -> Found {
    Found {
        rustcs: rustcs(),
        linkers: linkers(paths),
        llvms: llvms(),
        cargo_fuzz: cargo_fuzz(paths),
        unpacked: unpacked::tree(paths).is_some(),
        missing: PROGRAMS
            .into_iter()
            .filter(|program| need.includes(program.need))
            .filter(|program| command::find_program(program.name).is_none())
            .collect(),
        apt: command::find_program("apt-get").is_some(),
        root: nix::unistd::geteuid().is_root(),
    }
}

/// rustup's compilers, the one in use first, then those of the system.
fn rustcs() -> Vec<Rustc> {
    let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let rustup = env::var_os("RUSTUP_HOME").map_or_else(|| home.join(".rustup"), PathBuf::from);
    let active = env::var("RUSTUP_TOOLCHAIN").unwrap_or_default();
    let mut toolchains: Vec<PathBuf> = entries(&rustup.join("toolchains"));
    toolchains.sort_by_key(|dir| (name(dir) != active, name(dir)));

    let mut seen = BTreeSet::new();
    let rustup = toolchains.into_iter().filter_map(|dir| {
        let toolchain = name(&dir);
        // A second name of the same toolchain is a symbolic link.
        let dir = fs::canonicalize(&dir).ok()?;
        seen.insert(dir.clone())
            .then(|| rustc(&dir.join("bin/rustc"), Some(toolchain)))?
    });
    let system = ["/usr/local/bin/rustc", "/usr/bin/rustc"];
    let system = system
        .into_iter()
        .filter_map(|path| rustc(Path::new(path), None));
    rustup.chain(system).collect()
}

fn rustc(path: &Path, toolchain: Option<String>) -> Option<Rustc> {
    // /usr/bin/rustc may be rustup's proxy, whose toolchains are known already.
    if !path.is_file() || fs::canonicalize(path).is_ok_and(|file| file.ends_with("rustup")) {
        return None;
    }
    let version = command::output(Command::new(path).arg("-vV")).ok()?;
    let (minor, llvm) = versions(&version)?;
    let bin = path.parent()?;
    // A system's cargo may be much older than its newest rustc.
    let cargo = Some(bin.join("cargo")).filter(|cargo| toolchain.is_some() && cargo.is_file());
    Some(Rustc {
        path: path.to_path_buf(),
        cargo: cargo.unwrap_or_else(command::cargo),
        clippy: Some(bin.join("cargo-clippy"))
            .filter(|clippy| clippy.is_file() && bin.join("clippy-driver").is_file()),
        minor,
        llvm,
        core: bin
            .parent()?
            .join("lib/rustlib/src/rust/library/core/src/lib.rs")
            .is_file(),
        toolchain,
    })
}

/// rustc's minor and LLVM's major version, of `rustc -vV`.
fn versions(text: &str) -> Option<(u32, u32)> {
    let field = |name| text.lines().find_map(|line| line.strip_prefix(name));
    let minor = field("release: 1.")?.split('.').next()?.parse().ok()?;
    let llvm = field("LLVM version: ")?.split('.').next()?.parse().ok()?;
    Some((minor, llvm))
}

fn linkers(paths: &Paths) -> Vec<Linker> {
    let works = |path: &PathBuf| command::output(Command::new(path).arg("--version")).is_ok();
    let mut linkers: Vec<Linker> = Vec::new();
    for path in places("bpf-linker", paths).filter(works) {
        if linkers.iter().all(|linker| linker.path != path) {
            let llvm = fs::read(&path).ok().and_then(|bytes| llvm_of(&bytes));
            linkers.push(Linker { path, llvm });
        }
    }
    linkers
}

fn cargo_fuzz(paths: &Paths) -> Option<PathBuf> {
    places("cargo-fuzz", paths)
        .find(|path| command::output(Command::new(path).arg("--version")).is_ok())
}

/// Where a program that cargo installs may be.
fn places(name: &str, paths: &Paths) -> impl Iterator<Item = PathBuf> {
    let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cargo_home = env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    command::find_program(name).into_iter().chain([
        cargo_home.join("bin").join(name),
        paths.tools().join("bin").join(name),
    ])
}

/// The LLVM major that a program names: by the library it loads (`libLLVM.so.22.1`), or, linked
/// statically, by the name it writes into bitcode (`LLVM22.1.8`). bpf-linker has no option for it.
fn llvm_of(program: &[u8]) -> Option<u32> {
    let mut rest = program;
    while let Some(at) = rest.windows(4).position(|bytes| bytes == b"LLVM") {
        rest = &rest[at + 4..];
        let text = [&b".so."[..], b"-", b""]
            .into_iter()
            .find_map(|it| rest.strip_prefix(it));
        let text = text.unwrap_or_default();
        if let [tens @ b'1'..=b'9', ones @ b'0'..=b'9', b'.', ..] = text {
            return Some(u32::from(tens - b'0') * 10 + u32::from(ones - b'0'));
        }
    }
    None
}

/// LLVM's development files: where `LLVM_PREFIX` says, where Debian puts them, or on `PATH`.
fn llvms() -> Vec<Llvm> {
    let debian = entries(Path::new("/usr/lib"));
    let debian = debian
        .into_iter()
        .filter(|dir| name(dir).starts_with("llvm-"));
    let path = command::find_program("llvm-config")
        .and_then(|file| fs::canonicalize(file).ok())
        .and_then(|file| Some(file.parent()?.parent()?.to_path_buf()));
    let prefixes = env::var_os("LLVM_PREFIX")
        .map(PathBuf::from)
        .into_iter()
        .chain(debian);
    prefixes
        .chain(path)
        .filter(|prefix| prefix.join("include/llvm-c/Core.h").is_file())
        .filter_map(|prefix| {
            let config = prefix.join("bin/llvm-config");
            let version = command::output(Command::new(config).arg("--version")).ok()?;
            let major = version.split('.').next()?.parse().ok()?;
            Some(Llvm { prefix, major })
        })
        .collect()
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    entries.flatten().map(|entry| entry.path()).collect()
}

fn name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_rustc_versions() {
        let text = "rustc 1.96.0 (x)\nbinary: rustc\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(versions(text), Some((96, 22)));
        assert_eq!(
            versions("release: 1.97.0-nightly\nLLVM version: 22.1\n"),
            Some((97, 22))
        );
        assert_eq!(versions("rustc 1.96.0"), None);
    }

    #[test]
    fn reads_the_llvm_of_a_linker() {
        assert_eq!(llvm_of(b"..LLVM.._LLVM14foo\0libLLVM.so.22.1\0"), Some(22));
        assert_eq!(llvm_of(b"\0libLLVM-21.so\0LLVM21.1.8\0"), Some(21));
        assert_eq!(llvm_of(b"\0LLVM23.0.0git\0"), Some(23));
        assert_eq!(llvm_of(b"LLVM"), None);
    }
}
