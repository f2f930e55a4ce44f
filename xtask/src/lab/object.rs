//! The lab's BPF object and its programs.

use std::{path::PathBuf, sync::OnceLock};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    programs::{ProgramFd, SchedClassifier, TcAttachType, Xdp, XdpMode},
};

use super::Namespace;
use crate::build::Paths;

/// Where `cargo xtask build` puts the object, unless `SYN_GUARD_LAB_OBJECT` names another.
fn path() -> Result<PathBuf> {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();

    if let Some(path) = std::env::var_os("SYN_GUARD_LAB_OBJECT") {
        return Ok(path.into());
    }
    if let Some(path) = FOUND.get() {
        return Ok(path.clone());
    }
    let path = Paths::find()?.objects().join("lab.o");
    Ok(FOUND.get_or_init(|| path).clone())
}

/// Loads the object's maps; no program yet.
pub(super) fn open() -> Result<Ebpf> {
    let path = path()?;
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

/// A loaded XDP program of the object.
pub(super) fn program(ebpf: &Ebpf, name: &str) -> Result<ProgramFd> {
    let program: &Xdp = ebpf
        .program(name)
        .with_context(|| format!("the lab's object has no program {name}"))?
        .try_into()?;
    Ok(program.fd()?.try_clone()?)
}

/// Loads a program and attaches it, in native mode, to an interface of a namespace.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    name: &str,
    namespace: &Namespace,
    interface: &str,
) -> Result<()> {
    attach_in(ebpf, name, namespace, interface, XdpMode::Driver)
}

/// Loads a program and attaches it to an interface of a namespace.
pub(super) fn attach_in(
    ebpf: &mut Ebpf,
    name: &str,
    namespace: &Namespace,
    interface: &str,
    mode: XdpMode,
) -> Result<()> {
    let program = load(ebpf, name)?;
    namespace
        .run(|| program.attach(interface, mode))?
        .with_context(|| format!("attaching {name} to {interface}"))?;
    Ok(())
}

/// Loads a TC program and attaches it to what comes into an interface of a namespace.
pub(super) fn attach_tc(
    ebpf: &mut Ebpf,
    name: &str,
    namespace: &Namespace,
    interface: &str,
) -> Result<ProgramFd> {
    let program = classifier(ebpf, name)?;
    program
        .load()
        .with_context(|| format!("loading the program {name}"))?;
    namespace
        .run(|| program.attach(interface, TcAttachType::Ingress))?
        .with_context(|| format!("attaching {name} to {interface}"))?;
    Ok(program.fd()?.try_clone()?)
}

/// A TC program of the object, not loaded yet.
pub(super) fn classifier<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier> {
    Ok(ebpf
        .program_mut(name)
        .with_context(|| format!("the lab's object has no program {name}"))?
        .try_into()?)
}
