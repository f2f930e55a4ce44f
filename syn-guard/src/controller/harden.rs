//! The first step of the ladder: the kernel gives half-open connections up
//! sooner, as long as a service needs it.

use std::time::Duration;

use syn_guard_common::abi::{Mode, State};
use syn_guard_common::policy::harden::Ladder;
use tracing::{info, warn};

use super::clock::now_ns;
use super::guarded::Guarded;
use super::options::{Detection, Harden};
use super::undoing::Undoing;
use super::{Controller, Options};
use crate::events::{EventKind, Level};
use crate::kernel::sysctl;
use crate::undo::{Change, Journal, Outcome, System};

const RETRIES: &str = "net.ipv4.tcp_synack_retries";

/// What a setting is hardened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    AtMost(u64),
    AtLeast(u64),
}

/// The settings, in the order of their change.
fn targets(harden: &Harden) -> [(&'static str, Target); 3] {
    [
        (RETRIES, Target::AtMost(harden.synack_retries)),
        (
            "net.ipv4.tcp_max_syn_backlog",
            Target::AtLeast(harden.max_syn_backlog),
        ),
        ("net.core.somaxconn", Target::AtLeast(harden.somaxconn)),
    ]
}

impl Target {
    /// What a setting must become; none where it is good already.
    const fn wanted(self, current: u64) -> Option<u64> {
        match self {
            Self::AtMost(most) if current > most => Some(most),
            Self::AtLeast(least) if current < least => Some(least),
            Self::AtMost(_) | Self::AtLeast(_) => None,
        }
    }
}

/// Whether the system is hardened, and why.
pub struct Hardening {
    ladder: Ladder,
    /// By what it was hardened.
    by: Harden,
    reason: Option<String>,
    undoing: Undoing,
}

impl Hardening {
    /// Not hardened, unless an earlier guard left it so.
    pub fn found(journal: &Journal, now_ns: u64) -> Self {
        let by = Harden::default();
        let mut hardening = Self {
            ladder: Ladder::new(100, 50, 0),
            reason: None,
            undoing: Undoing::default(),
            by,
        };
        if hardening.holds_any(journal) {
            hardening.ladder.found_hardened(now_ns);
            hardening.reason = Some("an earlier syn-guard left it hardened".to_owned());
        }
        hardening
    }

    /// Why the system is hardened, or is still; none where it is not.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Whether any setting is hardened, and its old value written down.
    fn holds_any<S: System>(&self, journal: &Journal<S>) -> bool {
        let names = targets(&self.by).map(|(name, _)| name);
        journal.changes().iter().any(
            |change| matches!(change, Change::Sysctl { name, .. } if names.contains(&name.as_str())),
        )
    }

    /// Settings were changed, or could not be: what is to be said.
    fn changed<S: System>(
        &mut self,
        journal: &Journal<S>,
        reason: String,
        done: &[String],
        failed: &[String],
    ) -> String {
        // Where every setting is good already it is as hard as it is to be.
        let is_hardened = failed.is_empty() || self.holds_any(journal);
        let said = what_was_hardened(&reason, is_hardened, done, failed);
        self.reason = is_hardened.then_some(reason);
        said
    }

    /// Undoes it, the last change first: what is to be said, and how loudly.
    /// Nothing where it was not hardened.
    fn undo<S: System>(&mut self, journal: &mut Journal<S>, why: &str) -> Option<(Level, String)> {
        let was_hardened = self.reason.take().is_some();
        let (mut done, mut still) = (Vec::new(), Vec::new());
        for (name, _) in targets(&self.by).iter().rev() {
            match self.undoing.undo(journal, name) {
                Ok(None) => {}
                Ok(Some(outcome @ Outcome::Restored { .. })) => done.push(outcome.to_string()),
                Ok(Some(outcome @ Outcome::AlreadyThere { .. })) => info!("{outcome}"),
                Ok(Some(outcome)) => {
                    warn!("{outcome}");
                    done.push(outcome.to_string());
                }
                Err(failed) => still.push(failed),
            }
        }
        if !still.is_empty() {
            let still = still.join(", ");
            let done: String = done.iter().map(|one| format!("; {one}")).collect();
            let said = format!("still hardened though {why}: {still}{done}");
            self.reason = Some(still);
            return Some((Level::Warn, said));
        }
        if done.is_empty() {
            done.push("nothing to undo".to_owned());
        }
        let said = format!("no longer hardened: {why}: {}", done.join(", "));
        was_hardened.then_some((Level::Info, said))
    }

    /// Tries again to undo what failed; what is to be said, where any did not fail
    /// again.
    fn undo_again<S: System>(&mut self, journal: &mut Journal<S>) -> Option<String> {
        let done = self.undoing.again(journal);
        if done.is_empty() {
            return None;
        }
        let done: Vec<_> = done.iter().map(ToString::to_string).collect();
        let state = if self.undoing.is_empty() {
            self.reason = None;
            "no longer"
        } else {
            "still"
        };
        Some(format!(
            "{state} hardened, tried again: {}",
            done.join(", ")
        ))
    }
}

/// The share that a service has of its limit, percent, as far as it counts.
fn share(guarded: &Guarded) -> u64 {
    share_that_counts(guarded.share_percent(), guarded.mode(), guarded.state())
}

const fn share_that_counts(share: u64, mode: Mode, state: State) -> u64 {
    match (mode, state) {
        (Mode::Off | Mode::Observe, _) | (_, State::Off) => 0,
        // It began to because it had all of it; the cookies end first.
        (Mode::Auto, State::Protecting) if share < 100 => 100,
        _ => share,
    }
}

/// Why the system is hardened: what this service has, or does.
fn pressed(guarded: &Guarded, percent: u64, at_percent: u64) -> String {
    let (port, limit) = (guarded.port, guarded.rules.limits.half_open.on);
    // Its share counts what cookies kept away, or another limit was the reason.
    if guarded.state() == State::Protecting {
        return format!("service {port} protects");
    }
    format!(
        "service {port} has {percent} % of the half-open connections at which it protects ({limit}; harden.at_percent is {at_percent})"
    )
}

impl Controller {
    /// Hardens the system, or undoes it, as the services need.
    pub(super) fn keep_hardened(&mut self) {
        let Options {
            detection, harden, ..
        } = &self.options;
        if self.hardening.ladder.is_hardened() && (!harden.enabled || *harden != self.hardening.by)
        {
            let why = if harden.enabled {
                "harden has other values"
            } else {
                "harden.enabled is false"
            };
            // The next lines harden by the new values, if need be.
            self.hardening.ladder = ladder(detection, harden);
            self.soften(why);
        }
        let (detection, harden) = (&self.options.detection, &self.options.harden);
        if !harden.enabled {
            return;
        }
        let Detection {
            calm_percent, hold, ..
        } = detection;
        self.hardening
            .ladder
            .set(harden.at_percent, *calm_percent, nanoseconds(*hold));
        let most = self
            .services
            .guarded()
            .map(|guarded| (share(guarded), guarded));
        let most = most.max_by_key(|(share, _)| *share);
        let percent = most.as_ref().map_or(0, |(percent, _)| *percent);
        match self.hardening.ladder.second(now_ns(), percent) {
            None => {}
            Some(true) => {
                let of = most.map_or_else(String::new, |(percent, guarded)| {
                    pressed(guarded, percent, harden.at_percent)
                });
                self.harden(of, percent);
            }
            Some(false) => {
                let calm = format!(
                    "every service stayed below {} % of its limit for {} s",
                    harden.at_percent * calm_percent / 100,
                    hold.as_secs()
                );
                self.soften(&calm);
            }
        }
    }

    /// Tries again to undo what could not be undone when it was to be.
    pub(super) fn soften_again(&mut self) {
        let Some(said) = self.hardening.undo_again(&mut self.journal) else {
            return;
        };
        self.services.retries_may_have_changed();
        self.event_log
            .push(EventKind::Harden, Level::Info, None, said, &[]);
    }

    fn harden(&mut self, reason: String, percent: u64) {
        self.hardening.by = self.options.harden.clone();
        self.hardening.undoing.forget();
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        for (name, target) in targets(&self.options.harden) {
            // What cannot be changed is said, and the rest is done.
            let changed = sysctl::get_u64(name)
                .map_err(Into::into)
                .and_then(|current| {
                    let Some(wanted) = target.wanted(current) else {
                        return Ok(());
                    };
                    self.journal.change(name, &wanted.to_string())?;
                    done.push(format!("{name} {current} -> {wanted}"));
                    Ok::<_, crate::undo::UndoError>(())
                });
            if let Err(error) = changed {
                failed.push(error.to_string());
            }
        }
        let said = self
            .hardening
            .changed(&self.journal, reason, &done, &failed);
        self.services.retries_may_have_changed();
        self.event_log.push(
            EventKind::Harden,
            Level::Warn,
            None,
            said,
            &[("percent", percent as f64)],
        );
    }

    /// Undoes the hardening.
    fn soften(&mut self, why: &str) {
        let said = self.hardening.undo(&mut self.journal, why);
        self.services.retries_may_have_changed();
        if let Some((level, said)) = said {
            self.event_log
                .push(EventKind::Harden, level, None, said, &[]);
        }
    }
}

/// One line, also where nothing could be changed, as in a container.
fn what_was_hardened(
    reason: &str,
    is_hardened: bool,
    done: &[String],
    failed: &[String],
) -> String {
    let changed = if done.is_empty() {
        "nothing to change".to_owned()
    } else {
        done.join(", ")
    };
    let others = match failed.len() {
        0 | 1 => String::new(),
        count => format!(" ({} more could not be changed)", count - 1),
    };
    match failed {
        [] => format!("hardened: {reason}: {changed}"),
        [first, ..] if is_hardened => format!("hardened: {reason}: {changed}; but {first}{others}"),
        [first, ..] => format!("not hardened: {reason}: {first}{others}"),
    }
}

fn ladder(detection: &Detection, harden: &Harden) -> Ladder {
    Ladder::new(
        harden.at_percent,
        detection.calm_percent,
        nanoseconds(detection.hold),
    )
}

/// What `tcp_synack_retries` will be again; none while the guard has not changed
/// it.
pub(super) fn usual_retries(journal: &Journal) -> Option<u32> {
    journal.changes().iter().find_map(|change| match change {
        Change::Sysctl { name, old, .. } if name == RETRIES => old.trim().parse().ok(),
        _ => None,
    })
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::undo::tests::Fake;

    #[test]
    fn only_what_is_not_good_already_changes() {
        assert_eq!(Target::AtMost(2).wanted(5), Some(2));
        assert_eq!(Target::AtMost(2).wanted(2), None);
        assert_eq!(Target::AtMost(2).wanted(1), None);
        assert_eq!(Target::AtLeast(100).wanted(99), Some(100));
        assert_eq!(Target::AtLeast(100).wanted(100), None);
        assert_eq!(Target::AtLeast(100).wanted(4096), None);
    }

    #[test]
    fn what_could_not_be_changed_is_said_in_the_same_line() {
        let [done, no] = ["a 5 -> 2", "cannot set b"].map(|text| vec![text.to_owned()]);
        let says = |done: &[String], failed: &[String]| {
            what_was_hardened("r", !done.is_empty() || failed.is_empty(), done, failed)
        };
        assert_eq!(says(&[], &[]), "hardened: r: nothing to change");
        assert_eq!(says(&done, &no), "hardened: r: a 5 -> 2; but cannot set b");
        assert_eq!(
            says(&[], &[no.clone(), no].concat()),
            "not hardened: r: cannot set b (1 more could not be changed)"
        );
    }

    /// A system that has five retries, and what hardens it.
    fn soft(directory: &tempfile::TempDir) -> (Fake, Journal<Fake>, Hardening) {
        let fake = Fake::new(directory.path());
        fake.put(RETRIES, "5");
        let journal = Journal::open_with(directory.path(), fake.clone()).unwrap();
        let hardening = Hardening {
            ladder: Ladder::new(100, 50, 0),
            by: Harden::default(),
            reason: None,
            undoing: Undoing::default(),
        };
        (fake, journal, hardening)
    }

    #[test]
    fn what_could_not_be_hardened_is_not_shown_as_hardened() {
        let directory = tempfile::tempdir().unwrap();
        let (_, mut journal, mut hardening) = soft(&directory);
        let failed = ["no".to_owned()];
        let said = hardening.changed(&journal, "r".to_owned(), &[], &failed);
        assert_eq!(said, "not hardened: r: no");
        assert_eq!(hardening.reason(), None);
        assert_eq!(hardening.undo(&mut journal, "calm"), None);

        journal.change(RETRIES, "2").unwrap();
        let done = ["done".to_owned()];
        let said = hardening.changed(&journal, "r".to_owned(), &done, &failed);
        assert_eq!(said, "hardened: r: done; but no");
        assert_eq!(hardening.reason(), Some("r"));
        // One that an earlier attack left is one that is hardened.
        let said = hardening.changed(&journal, "s".to_owned(), &[], &failed);
        assert_eq!(said, "hardened: s: nothing to change; but no");
        assert_eq!(hardening.reason(), Some("s"));
    }

    #[test]
    fn it_is_hardened_until_all_is_undone() {
        let directory = tempfile::tempdir().unwrap();
        let (fake, mut journal, mut hardening) = soft(&directory);
        journal.change(RETRIES, "2").unwrap();
        hardening.changed(&journal, "r".to_owned(), &["done".to_owned()], &[]);
        fake.refuse(true);
        let (level, said) = hardening.undo(&mut journal, "calm").unwrap();
        assert_eq!(level, Level::Warn);
        assert!(
            said.starts_with("still hardened though calm: net"),
            "{said}"
        );
        assert!(hardening.reason().unwrap().contains("tried again"));
        assert_eq!(hardening.undo_again(&mut journal), None);
        assert!(hardening.reason().is_some());
        fake.refuse(false);
        let said = hardening.undo_again(&mut journal).unwrap();
        assert!(said.starts_with("no longer hardened"), "{said}");
        assert_eq!(hardening.reason(), None);
        assert_eq!(fake.get(RETRIES).unwrap(), "5");
    }

    #[test]
    fn a_service_counts_by_its_limit_and_its_mode() {
        let share = |mode, state| share_that_counts(50, mode, state);
        assert_eq!(share(Mode::Auto, State::Observing), 50);
        assert_eq!(
            share(Mode::Auto, State::Protecting),
            100,
            "cookies end before the hardening"
        );
        assert_eq!(
            share(Mode::Protect, State::Protecting),
            50,
            "it may protect without an attack"
        );
        assert_eq!(share(Mode::Observe, State::Observing), 0);
    }
}
