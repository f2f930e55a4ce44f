//! Honest clients: ever new sources that each want one page.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicU32, Ordering},
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{Lab, PAGE, honest_ipv4, honest_ipv6, http, patience::patiently};

/// Most connections at a time; further ones count as failed. Below the usual limit of open files.
const MOST_IN_FLIGHT: usize = 900;

/// Connections at a steady rate, whether or not earlier ones are done.
#[derive(Clone, Copy, Debug)]
pub struct HonestClients {
    /// The service.
    pub target: SocketAddr,
    /// Connections a second.
    pub rate: u32,
    /// How long new connections start.
    pub duration: Duration,
    /// How long one connection may take, from its SYN to the last byte of the page.
    pub timeout: Duration,
}

/// What became of them.
#[derive(Clone, Debug, Default)]
pub struct HonestReport {
    /// Connections begun.
    pub tried: usize,
    /// Pages that came in whole.
    pub succeeded: usize,
    /// Median time from SYN to page of those that succeeded.
    pub p50: Duration,
    /// 99th percentile of the same.
    pub p99: Duration,
    /// Errors and how often they came.
    pub errors: BTreeMap<String, usize>,
}

impl HonestReport {
    /// Share of those that succeeded, from 0 to 1.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.succeeded as f64 / self.tried.max(1) as f64
    }
}

/// Clients at work on a thread of their own.
#[derive(Debug)]
pub struct RunningClients {
    thread: JoinHandle<Result<HonestReport>>,
}

impl RunningClients {
    /// Waits for the last of them.
    pub fn join(self) -> Result<HonestReport> {
        match self.thread.join() {
            Ok(report) => report,
            Err(_) => bail!("the honest clients panicked"),
        }
    }
}

impl HonestClients {
    /// 100 connections a second for 2 s, with 10 s for each: room for SYNs that are sent again after
    /// 1, 3 and 7 s, and for a machine that others keep busy.
    #[must_use]
    pub fn new(target: SocketAddr) -> Self {
        Self {
            target,
            rate: 100,
            duration: Duration::from_secs(2),
            timeout: Duration::from_secs(10),
        }
    }

    /// Starts them in the client's namespace.
    #[must_use]
    pub fn start(self, lab: &Lab) -> RunningClients {
        RunningClients {
            thread: lab.client().start(move || {
                http::runtime()
                    .context("starting the honest clients")?
                    .block_on(self.work())
            }),
        }
    }

    /// Starts them and waits for the last.
    pub fn run(self, lab: &Lab) -> Result<HonestReport> {
        self.start(lab).join()
    }

    async fn work(self) -> Result<HonestReport> {
        let mut report = HonestReport::default();
        let mut latencies = Vec::new();
        let mut connections = JoinSet::new();
        let mut ticks = interval(patiently(Duration::from_secs(1)) / self.rate.max(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let wanted = usize::try_from(
            (self.duration.as_nanos() * u128::from(self.rate)).div_ceil(1_000_000_000),
        )?;
        while report.tried < wanted {
            tokio::select! {
                biased;
                _ = ticks.tick() => {
                    report.tried += 1;
                    if connections.len() < MOST_IN_FLIGHT {
                        connections.spawn(connection(self.target, self.timeout));
                    } else {
                        *report.errors.entry("too many in flight".to_owned()).or_default() += 1;
                    }
                }
                Some(result) = connections.join_next() => note(result?, &mut latencies, &mut report),
            }
        }
        while let Some(result) = connections.join_next().await {
            note(result?, &mut latencies, &mut report);
        }
        latencies.sort_unstable();
        report.succeeded = latencies.len();
        report.p50 = percentile(&latencies, 50);
        report.p99 = percentile(&latencies, 99);
        Ok(report)
    }
}

async fn connection(target: SocketAddr, timeout: Duration) -> std::io::Result<Duration> {
    let start = Instant::now();
    let source = SocketAddr::new(new_source(target), 0);
    let page = http::within(timeout, http::get(Some(source), target, "/")).await?;
    if page != PAGE.as_bytes() {
        return Err(std::io::Error::other("another page"));
    }
    Ok(start.elapsed())
}

fn note(
    result: std::io::Result<Duration>,
    latencies: &mut Vec<Duration>,
    report: &mut HonestReport,
) {
    match result {
        Ok(latency) => latencies.push(latency),
        Err(error) => *report.errors.entry(error.to_string()).or_default() += 1,
    }
}

/// Never the same within a process, until all of 198.19.0.0/16 were used.
fn new_source(target: SocketAddr) -> IpAddr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let index = NEXT.fetch_add(1, Ordering::Relaxed);
    match target {
        SocketAddr::V4(_) => honest_ipv4(index as u16),
        SocketAddr::V6(_) => honest_ipv6(index),
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let latencies: Vec<_> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&latencies, 50), Duration::from_millis(100));
        assert_eq!(percentile(&latencies, 99), Duration::from_millis(198));
        assert_eq!(percentile(&latencies[..1], 99), Duration::from_millis(1));
        assert_eq!(percentile(&[], 50), Duration::ZERO);
    }
}
