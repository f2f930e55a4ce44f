//! A BPF file system to pin to.

use std::path::Path;

use anyhow::Context as _;
use nix::mount::{MsFlags, mount};
use tracing::info;

use super::args::{DEFAULT_BPF_DIR, Paths};
use crate::datapath::is_bpffs;
use crate::undo::Journal;

const STANDARD: &str = "/sys/fs/bpf";

/// Mounts the BPF file system at its standard place, as systemd does, where
/// nobody did and the pins are to be there. Written down first, so that it is
/// undone.
pub(super) fn provide(paths: &Paths, journal: &mut Journal) -> anyhow::Result<()> {
    let standard = Path::new(STANDARD);
    if paths.bpf_dir != Path::new(DEFAULT_BPF_DIR) || is_bpffs(standard) || !standard.exists() {
        return Ok(());
    }
    journal.record_mount(standard)?;
    mount(
        Some("bpf"),
        standard,
        Some("bpf"),
        MsFlags::empty(),
        Some("mode=0700"),
    )
    .with_context(|| format!("cannot mount a BPF file system at {STANDARD}"))?;
    info!("mounted a BPF file system at {STANDARD} until syn-guard stops");
    Ok(())
}
