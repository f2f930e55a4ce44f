//! One source that opens many short connections and uses its ports again and again, as proxies and
//! load generators do.

use std::{collections::BTreeMap, net::SocketAddr, ops::Range, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tokio::task::JoinSet;

use super::{Lab, PAGE, http};

/// `count` fetches of the page. The server closes first and so holds the tuple in TIME_WAIT when
/// the port comes round again.
#[derive(Clone, Debug)]
pub struct ShortConnections {
    /// The source; its port is not used.
    pub source: SocketAddr,
    /// Ports that are used in turn.
    pub ports: Range<u16>,
    /// The service.
    pub target: SocketAddr,
    /// Connections in all.
    pub count: usize,
    /// Connections at a time.
    pub concurrency: u16,
    /// How long one may take.
    pub timeout: Duration,
}

/// What became of them.
#[derive(Clone, Debug, Default)]
pub struct ShortReport {
    /// Pages that came in whole.
    pub succeeded: usize,
    /// Errors and how often they came.
    pub errors: BTreeMap<String, usize>,
}

impl ShortReport {
    /// Connections that did not succeed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.errors.values().sum()
    }
}

impl ShortConnections {
    /// Runs them all in the client's namespace.
    pub fn run(&self, lab: &Lab) -> Result<ShortReport> {
        ensure!(self.concurrency > 0, "a concurrency of at least 1");
        ensure!(
            self.ports.len() >= usize::from(self.concurrency),
            "fewer ports than connections at a time"
        );
        lab.client().run(|| {
            http::runtime()
                .context("starting the connections")?
                .block_on(self.work())
        })?
    }

    async fn work(&self) -> Result<ShortReport> {
        let mut workers = JoinSet::new();
        let concurrency = usize::from(self.concurrency);
        for worker in 0..concurrency {
            // A worker has every so-many-th port to itself, and uses one at a time.
            let ports: Vec<u16> = self
                .ports
                .clone()
                .skip(worker)
                .step_by(concurrency)
                .collect();
            let count = (self.count + concurrency - 1 - worker) / concurrency;
            let (source, target, timeout) = (self.source.ip(), self.target, self.timeout);
            workers.spawn(async move {
                let mut report = ShortReport::default();
                for port in ports.into_iter().cycle().take(count) {
                    let source = Some(SocketAddr::new(source, port));
                    match http::within(timeout, http::get(source, target, "/")).await {
                        Ok(page) if page == PAGE.as_bytes() => report.succeeded += 1,
                        Ok(_) => *report.errors.entry("another page".to_owned()).or_default() += 1,
                        Err(error) => *report.errors.entry(error.to_string()).or_default() += 1,
                    }
                }
                report
            });
        }
        let mut all = ShortReport::default();
        while let Some(report) = workers.join_next().await {
            let report = report?;
            all.succeeded += report.succeeded;
            for (error, count) in report.errors {
                *all.errors.entry(error).or_default() += count;
            }
        }
        Ok(all)
    }
}
