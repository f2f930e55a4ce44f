//! `cargo xtask demo`: one flood against nginx three times - without a guard, with the kernel's
//! cookies, with syn-guard - and what honest clients get of it.
//!
//! [`show`] decides what is printed, [`round`] and [`guarded`] do what is shown, and [`interrupt`]
//! sees to it that a signal at any moment leaves nothing behind.

mod guarded;
mod interrupt;
mod left;
mod round;
mod show;

use std::{
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use anyhow::{Result, bail};

use self::{interrupt::Interrupt, round::Round, show::Style};
use crate::{
    build::{self, Paths},
    lab::{Lab, Nginx},
    setup::{self, Need},
};

/// Share of honest connections that syn-guard must bring through.
const WANTED: f64 = 0.99;

/// What the demo can be told.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Options {
    /// Spoofed SYNs a second
    #[arg(long, value_name = "SYNS", default_value_t = 300_000,
          value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    pub rate: u64,
    /// Seconds of each of the three rounds
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(2..=60))]
    pub seconds: u64,
}

impl Options {
    fn duration(self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

/// Says how to run the demo when that is not done as root.
///
/// # Errors
/// It is not root who runs this.
pub fn check_root() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "the demo makes network namespaces and loads eBPF programs; run it as root: \
             sudo -E env \"PATH=$PATH\" cargo xtask demo"
        );
    }
    Ok(())
}

/// Sets up, builds, and shows it. SIGINT, SIGTERM and SIGHUP clean up and end the process with 128
/// and the signal's number.
///
/// # Errors
/// Something is missing or fails, or syn-guard did not do what the demo is there to show.
pub fn run(options: &Options, paths: &Paths) -> Result<()> {
    check_root()?;
    let interrupt = Interrupt::watch()?;
    let result = prepare(&interrupt, paths).and_then(|()| perform(*options, &interrupt));
    interrupt.end(result)
}

fn prepare(interrupt: &Interrupt, paths: &Paths) -> Result<()> {
    let tools = setup::run(Need::Demo, paths)?;
    interrupt.check()?;
    build::run(&tools, paths, true)?;
    interrupt.check()
}

fn perform(options: Options, interrupt: &Interrupt) -> Result<()> {
    let style = Style {
        colour: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    };
    say(&show::introduction(style, options));
    let mut outcomes = Vec::new();
    for round in [Round::NoGuard, Round::KernelCookies] {
        say(&show::heading(style, round));
        let (lab, nginx) = fresh(round, interrupt)?;
        round::check_honest(&lab, &nginx, interrupt)?;
        outcomes.push(round::flood(&lab, &nginx, options, interrupt, |_| Ok(()))?);
        nginx.stop()?;
    }
    say(&show::heading(style, Round::SynGuard));
    let (lab, nginx) = fresh(Round::SynGuard, interrupt)?;
    let (outcome, observed) = guarded::run(&lab, &nginx, options, interrupt)?;
    outcomes.push(outcome);
    nginx.stop()?;
    drop(lab);
    interrupt.check()?;

    say(&show::results(style, &outcomes));
    say(&show::observed(style, &observed));
    let share = outcomes.last().map_or(0.0, |it| it.honest.share());
    say(&show::left(style, &observed.left));
    judge(share, observed.switched(), &observed.left)?;
    say(&show::verdict(style, share));
    Ok(())
}

/// A lab for this round alone: half-open connections outlive their listener, but not their
/// namespace.
fn fresh(round: Round, interrupt: &Interrupt) -> Result<(Lab, Nginx)> {
    interrupt.making()?;
    let lab = Lab::new()?;
    interrupt.made(lab.cleaner())?;
    lab.separate_cores()?;
    lab.server()
        .set_sysctl("net.ipv4.tcp_syncookies", round.syncookies())?;
    interrupt.check()?;
    let nginx = Nginx::start(&lab)?;
    interrupt.check()?;
    Ok((lab, nginx))
}

fn judge(share: f64, switched: bool, left: &[String]) -> Result<()> {
    if !switched {
        bail!("the demo failed: syn-guard did not start to protect by itself");
    }
    if share < WANTED {
        bail!(
            "the demo failed: syn-guard brought {} of the honest connections through, wanted {}",
            show::percent(share),
            show::percent(WANTED)
        );
    }
    if !left.is_empty() {
        bail!("the demo failed: syn-guard left {}", left.join(", "));
    }
    Ok(())
}

/// Prints at once, also into a pipe; who stopped reading does not stop the clean-up.
fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes());
    let _ = stdout.flush();
}

#[cfg(test)]
mod tests {
    use super::judge;

    #[test]
    fn each_failure_has_its_line() {
        assert!(judge(0.99, true, &[]).is_ok());
        let failure = |share, switched, left: &[String]| {
            judge(share, switched, left).unwrap_err().to_string()
        };
        assert!(failure(1.0, false, &[]).contains("by itself"));
        assert!(failure(0.987, true, &[]).contains("98.7 % of the honest"));
        assert!(failure(1.0, true, &["a pin".to_owned()]).contains("left a pin"));
    }
}
