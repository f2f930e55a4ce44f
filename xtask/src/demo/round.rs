//! One round: the flood, and honest clients meanwhile.

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{Options, interrupt::Interrupt, say, show};
use crate::lab::{Flood, HonestClients, HonestReport, Lab, Nginx, RunningClients};

/// Honest connections a second.
pub(super) const HONEST_RATE: u32 = 100;
/// How long an honest client waits for its page.
pub(super) const HONEST_TIMEOUT: Duration = Duration::from_secs(3);
/// The flood must outlast the last honest client.
const MARGIN: Duration = Duration::from_secs(5);
const SECOND: Duration = Duration::from_secs(1);

/// What stands against the flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Round {
    NoGuard,
    KernelCookies,
    SynGuard,
}

impl Round {
    /// The value of `net.ipv4.tcp_syncookies`.
    pub(super) fn syncookies(self) -> &'static str {
        match self {
            Self::NoGuard => "0",
            Self::KernelCookies | Self::SynGuard => "1",
        }
    }
}

/// What came of a round.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub honest: HonestReport,
    /// Spoofed SYNs a second.
    pub sent: u64,
    /// SYN-ACKs a second that came back to their sources.
    pub answered: u64,
}

/// That nothing is half-open yet and honest clients get their pages, before the flood.
pub(super) fn check_honest(lab: &Lab, nginx: &Nginx, interrupt: &Interrupt) -> Result<()> {
    let half_open = lab
        .server()
        .output("ss", &["-Htn", "state", "syn-recv"])?
        .lines()
        .count();
    ensure!(
        half_open == 0,
        "{half_open} connections are half-open before the flood"
    );
    let report = join(
        HonestClients {
            rate: HONEST_RATE,
            duration: SECOND / 2,
            timeout: HONEST_TIMEOUT,
            target: nginx.ipv4(),
        }
        .start(lab),
        interrupt,
    )?;
    say(&show::before(&report));
    ensure!(
        report.succeeded == report.tried,
        "honest connections fail before the flood began: {:?}",
        report.errors
    );
    Ok(())
}

/// Floods nginx, with honest clients at the same time; `look` is called once in the middle.
pub(super) fn flood(
    lab: &Lab,
    nginx: &Nginx,
    options: Options,
    interrupt: &Interrupt,
    mut look: impl FnMut(&Interrupt) -> Result<()>,
) -> Result<Outcome> {
    interrupt.check()?;
    say(&show::flooding(nginx.ipv4()));
    let flood = Flood::new(nginx.ipv4())
        .rate(options.rate)
        .duration(options.duration() + HONEST_TIMEOUT + MARGIN)
        .start(lab)?;
    let clients = HonestClients {
        rate: HONEST_RATE,
        duration: options.duration(),
        timeout: HONEST_TIMEOUT,
        target: nginx.ipv4(),
    }
    .start(lab);
    let counts = || -> Result<(Instant, u64, u64)> {
        Ok((Instant::now(), flood.sent()?, lab.syn_acks_received()?))
    };
    let first = counts()?;
    let mut last = first;
    for second in 1..=options.seconds {
        if second == options.seconds.div_ceil(2) {
            look(interrupt)?;
        }
        let due = first.0 + u32::try_from(second)? * SECOND;
        interrupt.sleep(due.saturating_duration_since(Instant::now()))?;
        let now = counts()?;
        let (sent, answered) = rates(last, now);
        say(&show::second(second, sent, answered));
        last = now;
    }
    let (sent, answered) = rates(first, last);
    let honest = join(clients, interrupt)?;
    flood.stop()?;
    say(&show::after(&honest));
    Ok(Outcome {
        honest,
        sent,
        answered,
    })
}

/// Both counts' growth a second.
fn rates(from: (Instant, u64, u64), to: (Instant, u64, u64)) -> (u64, u64) {
    let seconds = (to.0 - from.0).as_secs_f64().max(1e-9);
    let rate = |from: u64, to: u64| (to.saturating_sub(from) as f64 / seconds).round() as u64;
    (rate(from.1, to.1), rate(from.2, to.2))
}

/// Waits for the last honest client, or a signal.
fn join(clients: RunningClients, interrupt: &Interrupt) -> Result<HonestReport> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        // Nobody receives it after a signal.
        let _ = sender.send(clients.join());
    });
    loop {
        match receiver.recv_timeout(SECOND / 20) {
            Ok(report) => return report,
            Err(mpsc::RecvTimeoutError::Timeout) => interrupt.check()?,
            Err(error) => return Err(error).context("the honest clients are gone"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_a_second() {
        let start = Instant::now();
        let later = start + Duration::from_millis(500);
        assert_eq!(rates((start, 100, 5), (later, 1100, 5)), (2000, 0));
    }
}
