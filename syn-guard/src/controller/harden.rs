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
use crate::undo::{Change, Journal, Outcome};

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
        let names = targets(&hardening.by).map(|(name, _)| name);
        if journal.changes().iter().any(
            |change| matches!(change, Change::Sysctl { name, .. } if names.contains(&name.as_str())),
        ) {
            hardening.ladder.found_hardened(now_ns);
            hardening.reason = Some("an earlier syn-guard left it hardened".to_owned());
        }
        hardening
    }

    /// Why the system is hardened; none where it is not.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
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
        if self.hardening.reason.is_some() && (!harden.enabled || *harden != self.hardening.by) {
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
        let done = self.hardening.undoing.again(&mut self.journal);
        if done.is_empty() {
            return;
        }
        self.services.retries_may_have_changed();
        let done: Vec<_> = done.iter().map(ToString::to_string).collect();
        self.event_log.push(
            EventKind::Harden,
            Level::Info,
            None,
            format!("no longer hardened, tried again: {}", done.join(", ")),
            &[],
        );
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
        self.services.retries_may_have_changed();
        self.event_log.push(
            EventKind::Harden,
            Level::Warn,
            None,
            what_was_hardened(&reason, &done, &failed),
            &[("percent", percent as f64)],
        );
        self.hardening.reason = Some(reason);
    }

    /// Undoes the hardening, the last change first.
    fn soften(&mut self, why: &str) {
        self.hardening.reason = None;
        let (mut done, mut level) = (Vec::new(), Level::Info);
        for (name, _) in targets(&self.hardening.by).iter().rev() {
            match self.hardening.undoing.undo(&mut self.journal, name) {
                Ok(None) => {}
                Ok(Some(outcome @ Outcome::Restored { .. })) => done.push(outcome.to_string()),
                Ok(Some(outcome @ Outcome::AlreadyThere { .. })) => info!("{outcome}"),
                Ok(Some(outcome)) => {
                    warn!("{outcome}");
                    done.push(outcome.to_string());
                }
                Err(failed) => {
                    level = Level::Warn;
                    done.push(failed);
                }
            }
        }
        self.services.retries_may_have_changed();
        let done = if done.is_empty() {
            "nothing to undo".to_owned()
        } else {
            done.join(", ")
        };
        self.event_log.push(
            EventKind::Harden,
            level,
            None,
            format!("no longer hardened: {why}: {done}"),
            &[],
        );
    }
}

/// One line, also where nothing could be changed, as in a container.
fn what_was_hardened(reason: &str, done: &[String], failed: &[String]) -> String {
    let changed = done.join(", ");
    let others = match failed.len() {
        0 | 1 => String::new(),
        count => format!(" (and so for {} more)", count - 1),
    };
    match (done, failed) {
        ([], []) => format!("hardened: {reason}: nothing to change"),
        (_, []) => format!("hardened: {reason}: {changed}"),
        ([], [first, ..]) => format!("not hardened: {reason}: {first}{others}"),
        (_, [first, ..]) => format!("hardened: {reason}: {changed}; but {first}{others}"),
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
        let says = |done: &[String], failed: &[String]| what_was_hardened("r", done, failed);
        assert_eq!(says(&[], &[]), "hardened: r: nothing to change");
        assert_eq!(says(&done, &no), "hardened: r: a 5 -> 2; but cannot set b");
        assert_eq!(
            says(&[], &[no.clone(), no].concat()),
            "not hardened: r: cannot set b (and so for 1 more)"
        );
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
