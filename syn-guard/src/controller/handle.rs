//! Asking the controller from other tasks.

use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot};

use super::ModeError;
use crate::config::{Applied, ConfigError, ConfigReport};
use crate::events::{Followed, Position};
use crate::prefixes::{ListError, PrefixReport};
use crate::report::{ModeReport, Report, SourceReport};
use syn_guard_common::abi::{ListKind, Mode};

/// Requests that may wait at a time; more wait in their senders.
const QUEUE: usize = 16;

/// Where an answer goes.
pub type Reply<T> = oneshot::Sender<T>;

/// What the controller is asked for.
#[derive(Debug)]
pub enum Request {
    /// The whole report.
    Report(Reply<Report>),
    /// Only whether it answers.
    Alive(Reply<()>),
    /// All sources.
    Sources(Reply<Vec<SourceReport>>),
    /// The events after a position.
    Events(Position, Reply<Followed>),
    /// The configuration that holds.
    Config(Reply<ConfigReport>),
    /// Read the configuration again.
    Reload(Reply<Result<Applied, ConfigError>>),
    /// Set a key until the next reload.
    Set {
        /// As `detection.hold`.
        key: String,
        /// As on the command line.
        value: String,
        /// For what became of it.
        reply: Reply<Result<Applied, ConfigError>>,
    },
    /// A page of the prefixes on a list.
    Prefixes {
        /// Which list; none: a page of each.
        list: Option<ListKind>,
        /// The last one of the page before.
        after: Option<IpNet>,
        /// For the prefixes.
        reply: Reply<Vec<PrefixReport>>,
    },
    /// Put a prefix on a list.
    AddPrefix {
        /// Which list.
        list: ListKind,
        /// As somebody wrote it.
        prefix: String,
        /// How long; none: until it is taken off.
        lasting: Option<Duration>,
        /// For what became of it.
        reply: Reply<Result<PrefixReport, ListError>>,
    },
    /// Take a prefix off a list.
    RemovePrefix {
        /// Which list.
        list: ListKind,
        /// As somebody wrote it.
        prefix: String,
        /// For what holds of it still.
        reply: Reply<Result<Option<PrefixReport>, ListError>>,
    },
    /// What a service may do from now on.
    SetMode {
        /// The service's port.
        port: u16,
        /// None: what the configuration says.
        mode: Option<Mode>,
        /// For what became of it.
        reply: Reply<Result<ModeReport, ModeError>>,
    },
}

/// Asks the controller. Cheap to clone. Every answer is none when the
/// controller has stopped.
#[derive(Clone, Debug)]
pub struct ControllerHandle(mpsc::Sender<Request>);

/// A handle and where its requests arrive.
#[must_use]
pub fn requests() -> (ControllerHandle, mpsc::Receiver<Request>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (ControllerHandle(sender), receiver)
}

impl ControllerHandle {
    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        self.0.send(request(sender)).await.ok()?;
        receiver.await.ok()
    }

    /// The report of now.
    pub async fn report(&self) -> Option<Report> {
        self.ask(Request::Report).await
    }

    /// An answer without content.
    pub async fn alive(&self) -> Option<()> {
        self.ask(Request::Alive).await
    }

    /// The sources of now.
    pub async fn sources(&self) -> Option<Vec<SourceReport>> {
        self.ask(Request::Sources).await
    }

    /// The events after a position, and what tells that there are more.
    pub async fn events(&self, after: Position) -> Option<Followed> {
        self.ask(|reply| Request::Events(after, reply)).await
    }

    /// The configuration that holds.
    pub async fn config(&self) -> Option<ConfigReport> {
        self.ask(Request::Config).await
    }

    /// Has the configuration read again.
    pub async fn reload(&self) -> Option<Result<Applied, ConfigError>> {
        self.ask(Request::Reload).await
    }

    /// Sets a key until the next reload.
    pub async fn set(&self, key: String, value: String) -> Option<Result<Applied, ConfigError>> {
        self.ask(|reply| Request::Set { key, value, reply }).await
    }

    /// A page of the prefixes on a list, after that one; none: of each list.
    pub async fn prefixes(
        &self,
        list: Option<ListKind>,
        after: Option<IpNet>,
    ) -> Option<Vec<PrefixReport>> {
        self.ask(|reply| Request::Prefixes { list, after, reply })
            .await
    }

    /// Puts a prefix on a list, until it is taken off or for `lasting`.
    pub async fn add_prefix(
        &self,
        list: ListKind,
        prefix: String,
        lasting: Option<Duration>,
    ) -> Option<Result<PrefixReport, ListError>> {
        self.ask(|reply| Request::AddPrefix {
            list,
            prefix,
            lasting,
            reply,
        })
        .await
    }

    /// Takes a prefix off a list; what holds of it still.
    pub async fn remove_prefix(
        &self,
        list: ListKind,
        prefix: String,
    ) -> Option<Result<Option<PrefixReport>, ListError>> {
        self.ask(|reply| Request::RemovePrefix {
            list,
            prefix,
            reply,
        })
        .await
    }

    /// Says what a service may do from now on; none: what the configuration
    /// says.
    pub async fn set_mode(
        &self,
        port: u16,
        mode: Option<Mode>,
    ) -> Option<Result<ModeReport, ModeError>> {
        self.ask(|reply| Request::SetMode { port, mode, reply })
            .await
    }
}
