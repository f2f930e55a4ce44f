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

use crate::datapath::one_line;
use crate::kernel::sock_diag::listeners;
use crate::kernel::sysctl;
use crate::undo::{self, Change, Journal, Outcome, System, UndoError};

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
    // Read anew each time: a guard may harden at any moment.
    let held = |name: &str| {
        let changes = undo::read_changes(state_dir)?;
        Ok(changes.into_iter().find_map(|change| match change {
            Change::Sysctl { name: n, old, .. } if n == name => Some(old),
            _ => None,
        }))
    };
    // What cannot be read is an error now, not one setting after the other.
    held(KEPT)?;
    if args.revert {
        return revert(state_dir, held);
    }
    if args.apply {
        return apply(state_dir, held);
    }
    let all = advice(memory_bytes(), sysctl::get, held)?;
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

/// What a guard holds for as long as it runs, not for an attack only.
const KEPT: &str = "net.ipv4.tcp_syncookies";

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

fn apply(
    state_dir: &Path,
    held: impl Fn(&str) -> Result<Option<String>, UndoError>,
) -> anyhow::Result<()> {
    let _lock = lock(state_dir)?;
    let all = advice(memory_bytes(), sysctl::get, &held)?;
    let mut journal = Journal::open(&directory(state_dir))?;
    let (mut set, mut waiting, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for one in &all {
        let (Some(current), Some(value)) = (&one.current, &one.recommended) else {
            continue;
        };
        let name = one.setting;
        if one.held && name == KEPT {
            println!(
                "{name}: syn-guard needs it and keeps it on while it runs; it is {current} again when it stops, but for the line below"
            );
        } else {
            match set_one(&mut journal, name, value, || held(name)) {
                Ok(true) => println!("{name}: {current} -> {value}"),
                Ok(false) => {
                    waiting.push(name);
                    continue;
                }
                // The others are set all the same.
                Err(error) => {
                    refused.push(one_line(&error));
                    continue;
                }
            }
        }
        set.push(format!("{name} = {value}"));
    }
    if set.is_empty() && waiting.is_empty() && refused.is_empty() {
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
    if let Some(first) = refused.first() {
        bail!("{}", not_set(first, refused.len() - 1));
    }
    if !waiting.is_empty() {
        bail!(
            "not set: {}: the running syn-guard has changed it for now; apply again when it has taken that back (`syn-guard status` shows it)",
            waiting.join(", ")
        );
    }
    Ok(())
}

/// What is said where settings were refused: the first, and how many more.
fn not_set(first: &str, more: usize) -> String {
    match more {
        0 => format!("not set: {first}"),
        1 => format!("not set: {first} (and 1 more setting)"),
        _ => format!("not set: {first} (and {more} more settings)"),
    }
}

/// Sets one; false where the guard holds it for now. `held` is the old value that
/// the guard has written down, which it does before it changes a setting and until
/// it has set that back.
fn set_one<S: System>(
    journal: &mut Journal<S>,
    name: &str,
    value: &str,
    held: impl Fn() -> Result<Option<String>, UndoError>,
) -> Result<bool, UndoError> {
    let is_recorded = |journal: &Journal<S>| {
        let is = |change: &Change| matches!(change, Change::Sysctl { name: n, .. } if n == name);
        journal.changes().iter().any(is)
    };
    let recorded_before = is_recorded(journal);
    // After the old value is read too: what is read while nobody holds it is
    // nobody's but the administrator's.
    if held()?.is_some() || !journal.change_if(name, value, || Ok(held()?.is_none()))? {
        return Ok(false);
    }
    // The guard had read the value before this, and has set its own after: it will
    // set back what was there before both.
    let overwritten = held()?.is_some_and(|old| old.trim() != value);
    if overwritten && !recorded_before {
        return Ok(!journal.forget_if_overwritten(name)?);
    }
    Ok(!overwritten)
}

/// Sets one back; none where the guard holds it for now. `held` as above.
fn revert_one<S: System>(
    journal: &mut Journal<S>,
    name: &str,
    held: impl Fn() -> Result<Option<String>, UndoError>,
) -> Result<Option<Outcome>, UndoError> {
    if held()?.is_some() {
        return Ok(None);
    }
    // A guard that has read what was applied sets that back, and this is to be
    // done again then.
    journal.restore_if(name, |ours| {
        Ok(held()?.is_none_or(|old| old.trim() == ours.trim()))
    })
}

fn revert(
    state_dir: &Path,
    held: impl Fn(&str) -> Result<Option<String>, UndoError>,
) -> anyhow::Result<()> {
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
        match revert_one(&mut journal, &name, || held(&name))? {
            None => waiting.push(name),
            Some(outcome) => {
                println!("{outcome}");
                failed |= matches!(outcome, Outcome::Failed { .. });
            }
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::undo::tests::Fake;

    /// Sets `a` from 0 to 1 while a guard hardens it to 2 between the questions
    /// whether it holds it: when `at` were asked. What was set, the value and the old
    /// one that is written down.
    fn while_a_guard_hardens(at: u32) -> (bool, String, Option<String>) {
        let directory = tempfile::tempdir().unwrap();
        let fake = Fake::new(directory.path());
        let mut journal = Journal::open_with(directory.path(), fake.clone()).unwrap();
        let asked = Cell::new(0);
        let held = || {
            asked.set(asked.get() + 1);
            if asked.get() == at + 1 && at == 2 {
                fake.put("a", "2");
            }
            let is_held = asked.get() > at;
            if asked.get() == at {
                // As soon as this is answered.
                fake.put("a", "2");
            }
            Ok(is_held.then(|| "0".to_owned()))
        };
        let set = set_one(&mut journal, "a", "1", held).unwrap();
        let old = journal.changes().iter().find_map(|change| match change {
            Change::Sysctl { old, .. } => Some(old.clone()),
            Change::Mount { .. } => None,
        });
        (set, fake.get("a").unwrap(), old)
    }

    #[test]
    fn what_a_guard_hardens_meanwhile_is_never_taken_for_the_administrators() {
        let untouched = (false, "2".to_owned(), None);
        // Between the first question and the reading of the value.
        assert_eq!(while_a_guard_hardens(1), untouched);
        // Written down before this sets its value, set after it.
        assert_eq!(while_a_guard_hardens(2), untouched);
        // Not at all.
        let set = (true, "1".to_owned(), Some("0".to_owned()));
        assert_eq!(while_a_guard_hardens(9), set);
    }

    /// Sets `a` back from 1, which was applied, to 0 while a guard hardens it to 2:
    /// what the guard has written down when it is asked the second time, and whether
    /// it has set its own value before this sets one. What became of it, the value,
    /// and whether the old one is still written down.
    fn revert_while_a_guard_hardens(
        second: Option<&str>,
        set_before: bool,
    ) -> (bool, String, bool) {
        let directory = tempfile::tempdir().unwrap();
        let fake = Fake::new(directory.path());
        let mut journal = Journal::open_with(directory.path(), fake.clone()).unwrap();
        journal.change("a", "1").unwrap();
        let asked = Cell::new(0);
        let held = || {
            asked.set(asked.get() + 1);
            if asked.get() == 1 {
                if set_before {
                    fake.put("a", "2");
                }
                return Ok(None);
            }
            Ok(second.map(str::to_owned))
        };
        let outcome = revert_one(&mut journal, "a", held).unwrap();
        let is_kept = !journal.changes().is_empty();
        (outcome.is_some(), fake.get("a").unwrap(), is_kept)
    }

    #[test]
    fn what_a_guard_hardens_while_it_is_set_back_is_set_back_later() {
        // It will set back to 1: the old value is needed then.
        let later = (false, "2".to_owned(), true);
        assert_eq!(revert_while_a_guard_hardens(Some("1"), true), later);
        let later = (false, "0".to_owned(), true);
        assert_eq!(revert_while_a_guard_hardens(Some("1"), false), later);
        // It found what this has set.
        let done = (true, "0".to_owned(), false);
        assert_eq!(revert_while_a_guard_hardens(Some("0"), false), done);
        assert_eq!(revert_while_a_guard_hardens(None, false), done);
    }

    /// What a guard has written down cannot be read.
    fn unreadable() -> Result<Option<String>, UndoError> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("undo.json"), "{").unwrap();
        undo::read_changes(directory.path()).map(|_| None)
    }

    #[test]
    fn where_it_is_not_known_what_a_guard_holds_nothing_is_done() {
        let says_so = |error: UndoError| {
            let said = one_line(&error);
            assert!(said.contains("undo.json"), "{said}");
        };
        let get = |_: &str| Ok("1".to_owned());
        says_so(advice(0, get, |_| unreadable()).unwrap_err());
        let directory = tempfile::tempdir().unwrap();
        let fake = Fake::new(directory.path());
        let mut journal = Journal::open_with(directory.path(), fake.clone()).unwrap();
        says_so(set_one(&mut journal, "a", "1", unreadable).unwrap_err());
        assert_eq!(fake.get("a").unwrap(), "0");
        journal.change("a", "1").unwrap();
        says_so(revert_one(&mut journal, "a", unreadable).unwrap_err());
        assert_eq!(fake.get("a").unwrap(), "1");
    }

    #[test]
    fn the_first_that_was_refused_is_named() {
        assert_eq!(not_set("no a", 0), "not set: no a");
        assert_eq!(not_set("no a", 1), "not set: no a (and 1 more setting)");
        assert_eq!(not_set("no a", 2), "not set: no a (and 2 more settings)");
    }
}
