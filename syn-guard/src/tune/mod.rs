//! `syn-guard tune`: what the administrator should set, and setting it.
//!
//! What is applied is the administrator's wish: it lasts until a reboot, whether
//! a guard runs or not, and `syn-guard detach` leaves it. Its journal is one of
//! its own, `tune/undo.json` in the state directory, so that it can be taken back
//! exactly.

mod advice;
mod queues;
mod render;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use nix::fcntl::{Flock, FlockArg};

pub use advice::{Advice, advice};
pub use queues::{SmallQueue, small_queues};
pub use render::render;

use crate::kernel::sock_diag::listeners;
use crate::kernel::sysctl;
use crate::undo::{self, Change, Journal, Outcome};

/// What `syn-guard tune` is asked for.
#[derive(Debug, Args)]
pub struct TuneArgs {
    /// Set what is recommended, until the next boot
    #[arg(long, conflicts_with_all = ["revert", "json"])]
    pub apply: bool,
    /// Set back what --apply changed
    #[arg(long, conflicts_with = "json")]
    pub revert: bool,
    /// Print the advice as JSON
    #[arg(long)]
    pub json: bool,
}

/// Shows, applies or reverts.
///
/// # Errors
/// Settings cannot be read or written.
pub fn run(args: &TuneArgs, state_dir: &Path) -> anyhow::Result<()> {
    if (args.apply || args.revert) && !nix::unistd::geteuid().is_root() {
        bail!("changing settings needs root: run it with sudo");
    }
    let guards = undo::read_changes(state_dir)?;
    let held = |name: &str| {
        guards.iter().find_map(|change| match change {
            Change::Sysctl { name: n, old, .. } if n == name => Some(old.clone()),
            _ => None,
        })
    };
    if args.revert {
        return revert(state_dir, |name| held(name).is_some());
    }
    let all = advice(memory_bytes(), sysctl::get, held)?;
    if args.apply {
        return apply(state_dir, &all);
    }
    let somaxconn = sysctl::get_u64("net.core.somaxconn").unwrap_or(0);
    // Without the sockets the advice is still worth showing.
    let queues = listeners().map_or_else(|_| Vec::new(), |all| small_queues(&all, somaxconn));
    if args.json {
        let text = serde_json::json!({"settings": all, "small_queues": queues});
        println!("{text:#}");
    } else {
        print!("{}", render(&all, &queues));
        if all.iter().any(|one| one.recommended.is_some()) {
            println!(
                "\n`syn-guard tune --apply` sets what is recommended, `--revert` takes it back."
            );
        }
    }
    Ok(())
}

/// Where the journal of tuning is.
fn directory(state_dir: &Path) -> PathBuf {
    state_dir.join("tune")
}

/// One at a time.
fn lock(state_dir: &Path) -> anyhow::Result<Flock<std::fs::File>> {
    let directory = directory(state_dir);
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let folder = std::fs::File::open(&directory)
        .with_context(|| format!("cannot open {}", directory.display()))?;
    Flock::lock(folder, FlockArg::LockExclusive)
        .map_err(|(_, error)| error)
        .with_context(|| format!("cannot lock {}", directory.display()))
}

fn apply(state_dir: &Path, all: &[Advice]) -> anyhow::Result<()> {
    let _lock = lock(state_dir)?;
    let mut journal = Journal::open(&directory(state_dir))?;
    let (mut set, mut waiting) = (Vec::new(), Vec::new());
    for one in all {
        let (Some(current), Some(value)) = (&one.current, &one.recommended) else {
            continue;
        };
        if one.held {
            waiting.push(one.setting);
            continue;
        }
        journal.change(one.setting, value)?;
        println!("{}: {current} -> {value}", one.setting);
        set.push(format!("{} = {value}", one.setting));
    }
    if set.is_empty() && waiting.is_empty() {
        println!("every setting is as recommended already");
    }
    if !set.is_empty() {
        println!(
            "\nThis lasts until the next boot; `syn-guard tune --revert` takes it back. To keep it,\nput these lines into /etc/sysctl.d/90-syn-guard.conf:\n"
        );
        for line in &set {
            println!("{line}");
        }
    }
    drop_if_empty(&journal, state_dir);
    if !waiting.is_empty() {
        bail!(
            "not set: {}: the running syn-guard has changed it for now; apply again when it has taken that back (`syn-guard status` shows it)",
            waiting.join(", ")
        );
    }
    Ok(())
}

fn revert(state_dir: &Path, held: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    if !directory(state_dir).exists() {
        println!("nothing was applied");
        return Ok(());
    }
    let _lock = lock(state_dir)?;
    let mut journal = Journal::open(&directory(state_dir))?;
    let names: Vec<String> = journal
        .changes()
        .iter()
        .rev()
        .filter_map(|change| match change {
            Change::Sysctl { name, .. } => Some(name.clone()),
            Change::Mount { .. } => None,
        })
        .collect();
    if names.is_empty() {
        println!("nothing was applied");
    }
    let (mut waiting, mut failed) = (Vec::new(), false);
    for name in names {
        if held(&name) {
            waiting.push(name);
            continue;
        }
        if let Some(outcome) = journal.restore(&name)? {
            println!("{outcome}");
            failed |= matches!(outcome, Outcome::Failed { .. });
        }
    }
    drop_if_empty(&journal, state_dir);
    if !waiting.is_empty() {
        bail!(
            "not set back: {}: the running syn-guard has changed it for now; revert again when it has taken that back (`syn-guard status` shows it)",
            waiting.join(", ")
        );
    }
    if failed {
        bail!("not every setting could be set back (above)");
    }
    Ok(())
}

/// Leaves no directories behind that hold nothing.
fn drop_if_empty(journal: &Journal, state_dir: &Path) {
    if journal.changes().is_empty() {
        // Each only when nothing else is in it.
        let _ = std::fs::remove_dir(directory(state_dir));
        let _ = std::fs::remove_dir(state_dir);
    }
}

/// The machine's memory, bytes; 0 where it is not known.
fn memory_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .map_or(0, |kilobytes| kilobytes * 1024)
}
