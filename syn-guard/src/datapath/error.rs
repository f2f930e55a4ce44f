//! What can go wrong between user space and the programs.

use std::io;
use std::path::PathBuf;

/// Why the data path could not be loaded, attached or used.
#[derive(Debug, thiserror::Error)]
pub enum DataPathError {
    /// The process may not load programs.
    #[error(
        "loading eBPF programs needs root (or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON): run syn-guard with sudo or from its systemd unit"
    )]
    NotPermitted,
    /// The kernel describes no types.
    #[error("the kernel has no BTF ({path}): syn-guard needs a kernel built with CONFIG_DEBUG_INFO_BTF=y, as all distributions since 2020 have", path = btf::BTF_PATH)]
    NoBtf,
    /// The kernel describes its types in a way that is not known.
    #[error("the kernel's BTF ({path}) is not understood: {0}; a newer syn-guard may", path = btf::BTF_PATH)]
    Btf(#[from] btf::BtfError),
    /// The kernel lacks something that even observing needs.
    #[error(
        "kernel {kernel} is too old: it lacks {missing}, which came with Linux {since}; boot a newer kernel"
    )]
    KernelTooOld {
        /// The running kernel.
        kernel: String,
        /// The function it lacks.
        missing: &'static str,
        /// The version that brought it.
        since: &'static str,
    },
    /// The kernel lacks what the chosen engine needs.
    #[error(
        "kernel {kernel} has no engine {engine}: it lacks {missing}, which came with Linux {since}; use --engine auto"
    )]
    NoEngine {
        /// The chosen engine.
        engine: &'static str,
        /// The running kernel.
        kernel: String,
        /// The function it lacks.
        missing: &'static str,
        /// The version that brought it.
        since: &'static str,
    },
    /// The object inside the binary cannot be used.
    #[error("the eBPF object inside this binary is broken: {0}")]
    Object(String),
    /// The maps or programs could not be made.
    #[error("loading the eBPF maps failed: {0}")]
    Maps(String),
    /// The verifier refused a program.
    #[error("the kernel refused the program {program}: {reason}")]
    Program {
        /// Its name.
        program: &'static str,
        /// What the kernel said last.
        reason: String,
    },
    /// A map that must be there is not, or a read or write failed.
    #[error("eBPF map {map}: {reason}")]
    Map {
        /// Its name.
        map: &'static str,
        /// What went wrong.
        reason: String,
    },
    /// A command to the control program failed.
    #[error("the control program failed: {0}")]
    Control(String),
    /// The XDP program could not be run on a frame of memory.
    #[error("running the XDP program on a frame failed: {0}")]
    TestRun(String),
    /// The interface does not exist.
    #[error(transparent)]
    Interface(#[from] crate::kernel::interfaces::InterfaceError),
    /// Another program is there.
    #[error(
        "{interface} already runs another XDP program ({program}{holder}); nothing was touched: stop that program, or `ip link set dev {interface} {keyword} off` if nothing owns it"
    )]
    InterfaceBusy {
        /// The interface.
        interface: String,
        /// Its name, id and mode.
        program: String,
        /// The mode as `ip link` names it.
        keyword: &'static str,
        /// Who holds it, or nothing.
        holder: String,
    },
    /// The interface takes no XDP program.
    #[error("{interface} takes no XDP program: {reason}{advice}")]
    Attach {
        /// The interface.
        interface: String,
        /// Why not, in each mode that was tried.
        reason: String,
        /// What to do, or nothing.
        advice: String,
    },
    /// The TC program could not be attached.
    #[error("{interface} takes no TC program (TCX, Linux 6.6): {reason}")]
    AttachTc {
        /// The interface.
        interface: String,
        /// What the kernel said.
        reason: String,
    },
    /// Something about a pin.
    #[error("{path}: {source}", path = path.display())]
    Pin {
        /// The pin or its directory.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The pin directory is on no bpffs, or is its root.
    #[error("{path} is no directory below a BPF file system: mount one (`mount -t bpf bpf /sys/fs/bpf`) or name a directory of its own on one with --bpf-dir", path = .0.display())]
    NotBpffs(PathBuf),
}

use super::btf;

/// An error with all its causes, none said twice, in one line: of a long text
/// (the verifier's) the end, where that stands which matters.
#[must_use]
pub fn one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    let lines: Vec<_> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let from = lines.len().saturating_sub(8);
    lines.get(from..).unwrap_or_default().join(" | ")
}
