//! Asking the controller for reports from other tasks.

use tokio::sync::{mpsc, oneshot};

use super::{Report, SourceReport};
use crate::config::{Applied, ConfigError, ConfigReport};

/// Requests that may wait at a time; more wait in their senders.
const QUEUE: usize = 16;

/// A question to the controller.
#[derive(Debug)]
pub enum ReportRequest {
    /// The whole report.
    Report(oneshot::Sender<Report>),
    /// Only whether it answers.
    Alive(oneshot::Sender<()>),
    /// All sources.
    Sources(oneshot::Sender<Vec<SourceReport>>),
    /// The configuration that holds.
    Config(oneshot::Sender<ConfigReport>),
    /// Read the configuration again.
    Reload(oneshot::Sender<Result<Applied, ConfigError>>),
    /// Set a key until the next reload.
    Set {
        /// As `detection.hold`.
        key: String,
        /// As on the command line.
        value: String,
        /// For what became of it.
        answer: oneshot::Sender<Result<Applied, ConfigError>>,
    },
}

/// Asks the controller. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ReportHandle(mpsc::Sender<ReportRequest>);

/// A handle and where its questions arrive.
#[must_use]
pub fn requests() -> (ReportHandle, mpsc::Receiver<ReportRequest>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (ReportHandle(sender), receiver)
}

impl ReportHandle {
    /// The report of now; none when the controller has stopped.
    pub async fn report(&self) -> Option<Report> {
        let (sender, receiver) = oneshot::channel();
        self.0.send(ReportRequest::Report(sender)).await.ok()?;
        receiver.await.ok()
    }

    /// An answer without content; none when the controller has stopped.
    pub async fn alive(&self) -> Option<()> {
        let (sender, receiver) = oneshot::channel();
        self.0.send(ReportRequest::Alive(sender)).await.ok()?;
        receiver.await.ok()
    }

    /// The sources of now; none when the controller has stopped.
    pub async fn sources(&self) -> Option<Vec<SourceReport>> {
        let (sender, receiver) = oneshot::channel();
        self.0.send(ReportRequest::Sources(sender)).await.ok()?;
        receiver.await.ok()
    }

    /// The configuration that holds; none when the controller has stopped.
    pub async fn config(&self) -> Option<ConfigReport> {
        let (sender, receiver) = oneshot::channel();
        self.0.send(ReportRequest::Config(sender)).await.ok()?;
        receiver.await.ok()
    }

    /// Has the configuration read again; none when the controller has stopped.
    pub async fn reload(&self) -> Option<Result<Applied, ConfigError>> {
        let (sender, receiver) = oneshot::channel();
        self.0.send(ReportRequest::Reload(sender)).await.ok()?;
        receiver.await.ok()
    }

    /// Sets a key until the next reload; none when the controller has stopped.
    pub async fn set(&self, key: String, value: String) -> Option<Result<Applied, ConfigError>> {
        let (answer, receiver) = oneshot::channel();
        self.0
            .send(ReportRequest::Set { key, value, answer })
            .await
            .ok()?;
        receiver.await.ok()
    }
}
