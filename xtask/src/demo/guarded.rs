//! The third round: syn-guard, and what it says while it is under attack.

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use super::{
    Options,
    interrupt::Interrupt,
    left::Before,
    round::{self, Outcome},
    say, show,
};
use crate::lab::{Guard, Lab, Nginx};

/// What syn-guard said during the attack, and left after it.
#[derive(Debug, Default)]
pub(super) struct Observed {
    pub by_service: String,
    pub list: String,
    pub status: String,
    pub metrics: String,
    /// Everything it logged.
    pub log: String,
    pub left: Vec<String>,
}

impl Observed {
    /// The line of the log that tells why it began to protect.
    pub(super) fn switch(&self) -> Option<&str> {
        self.log
            .lines()
            .find(|line| line.contains("observing -> protecting"))
    }

    /// Whether half-open connections made it protect.
    pub(super) fn switched(&self) -> bool {
        self.switch()
            .is_some_and(|line| line.contains("half-open connections"))
    }
}

/// Starts it, floods, stops it, and looks what is left.
pub(super) fn run(
    lab: &Lab,
    nginx: &Nginx,
    options: Options,
    interrupt: &Interrupt,
) -> Result<(Outcome, Observed)> {
    let port = nginx.ipv4().port();
    let before = Before::look(lab)?;
    interrupt.check()?;
    let guard = Guard::start(lab, &["--mode", "auto"])?;
    let state = guard.service(lab, port)?["state"].clone();
    ensure!(
        state == "observing",
        "syn-guard is {state} before the flood"
    );
    say(show::OBSERVING);
    round::check_honest(lab, nginx, interrupt)?;

    let mut observed = Observed::default();
    let outcome = round::flood(lab, nginx, options, interrupt, |interrupt| {
        say(show::LOOKING);
        let ask = |verb: &[&str]| {
            interrupt.check()?;
            lab.syn_guard_output(verb)
        };
        observed.by_service = ask(&["list", "--by-service"])?;
        observed.list = ask(&["list"])?;
        observed.status = ask(&["status"])?;
        observed.metrics = guard.metrics(lab)?;
        Ok(())
    })?;
    observed.log = guard.log()?;
    interrupt.check()?;
    say(show::STOPPING);
    let status = guard.stop(Signal::SIGTERM)?;
    interrupt.check()?;
    ensure!(status.success(), "syn-guard ended with {status}");
    observed.left = before.left(lab).context("looking what is left")?;
    Ok((outcome, observed))
}

#[cfg(test)]
mod tests {
    use super::Observed;

    #[test]
    fn only_half_open_connections_are_a_reason() {
        let with = |log: &str| Observed {
            log: log.to_owned(),
            ..Observed::default()
        };
        let reason = "observing -> protecting: 255 half-open connections reached the limit";
        assert!(with(&format!("attached\nWARN {reason}\n")).switched());
        assert!(!with("INFO observing -> protecting: --mode protect\n").switched());
        assert!(!with("").switched());
    }
}
