//! `syn-guard detach`.

use anyhow::Context as _;

use super::args::Paths;
use super::instance::Instance;
use crate::datapath::PinDirectory;
use crate::server;
use crate::undo::{Journal, Outcome};

/// Removes pins and so detaches the programs, and undoes changes, when no
/// guard is running.
pub(super) fn run(paths: &Paths) -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        anyhow::bail!("detaching programs needs root: run it with sudo");
    }
    let _instance = Instance::take(&paths.state_dir)?;
    let pins = PinDirectory::new(paths.bpf_dir.clone());
    let interfaces = pins.interfaces();
    let existed = pins.exists();
    let removed = if existed {
        pins.check()?;
        pins.remove()
    } else {
        Ok(())
    };
    let kept = pins.interfaces();
    for interface in interfaces.iter().filter(|name| !kept.contains(name)) {
        println!("detached from {interface}");
    }
    // Nobody listens there, as the lock is ours.
    server::remove_control(&paths.control())?;
    let mut journal = Journal::open(&paths.state_dir)?;
    let outcomes = journal.restore_all()?;
    for outcome in &outcomes {
        println!("{outcome}");
    }
    if !existed && outcomes.is_empty() {
        println!("nothing of syn-guard was left");
    }
    if outcomes
        .iter()
        .any(|outcome| matches!(outcome, Outcome::Failed { .. }))
    {
        anyhow::bail!("not every change could be undone (above)");
    }
    removed.with_context(|| {
        format!(
            "not all of {} could be removed: look what else is there",
            pins.path().display()
        )
    })
}
