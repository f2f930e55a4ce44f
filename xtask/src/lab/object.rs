//! The lab's BPF object and its programs.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    programs::{Xdp, XdpMode},
};

use super::Namespace;

/// Where `cargo xtask build` puts the object, unless `SYN_GUARD_LAB_OBJECT` names another.
fn path() -> PathBuf {
    std::env::var_os("SYN_GUARD_LAB_OBJECT").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/ebpf/lab.o")),
        PathBuf::from,
    )
}

/// Loads the object's maps; no program yet.
pub(super) fn open() -> Result<Ebpf> {
    let path = path();
    let bytes = std::fs::read(&path)
        .with_context(|| format!("reading {}: run cargo xtask build", path.display()))?;
    Ebpf::load(&bytes).with_context(|| format!("loading {}", path.display()))
}

/// Loads one program of the object.
pub(super) fn load<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program: &mut Xdp = ebpf
        .program_mut(name)
        .with_context(|| format!("the lab's object has no program {name}"))?
        .try_into()?;
    program
        .load()
        .with_context(|| format!("loading the program {name}"))?;
    Ok(program)
}

/// Loads a program and attaches it, in native mode, to an interface of a namespace.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    name: &str,
    namespace: &Namespace,
    interface: &str,
) -> Result<()> {
    let program = load(ebpf, name)?;
    namespace
        .run(|| program.attach(interface, XdpMode::Driver))?
        .with_context(|| format!("attaching {name} to {interface}"))?;
    Ok(())
}
