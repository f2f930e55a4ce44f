//! Asks the running guard over its control socket.

mod error;
mod exchange;

pub use error::ClientError;

use std::path::Path;
use std::time::Duration;

use hyper::Method;

use crate::config::{Applied, ConfigReport};
use crate::control::{
    AddPrefix, ListName, PREFIX_PAGE, ProtectMode, RemovePrefix, Removed, SetKey, SetMode,
};
use crate::events::{EventPage, Position};
use crate::prefixes::PrefixReport;
use crate::report::{ModeReport, Report, SourceReport};
use exchange::Question;

/// The guard's report.
///
/// # Errors
///
/// When no guard answers in time, or not with a report.
pub async fn status(socket: &Path) -> Result<Report, ClientError> {
    Question::get("/v1/status").ask(socket).await
}

/// The guard's sources.
///
/// # Errors
///
/// When no guard answers in time, or not with sources.
pub async fn sources(socket: &Path) -> Result<Vec<SourceReport>, ClientError> {
    Question::get("/v1/sources").ask(socket).await
}

/// The events after a position; where there are none, those that come within
/// `wait` (8 s at most).
///
/// # Errors
///
/// When no guard answers in time, or not with events.
pub async fn events(
    socket: &Path,
    position: &Position,
    wait: Duration,
) -> Result<EventPage, ClientError> {
    let mut query = format!("after={}&wait={}", position.after, wait.as_secs());
    if let Some(run) = &position.run {
        query.push_str("&run=");
        query.push_str(run);
    }
    Question::get("/v1/events")
        .query(query)
        .wait(wait)
        .ask(socket)
        .await
}

/// Says what a service is to do.
///
/// # Errors
///
/// When no guard answers in time, or it guards no such service.
pub async fn set_mode(
    socket: &Path,
    port: u16,
    mode: ProtectMode,
) -> Result<ModeReport, ClientError> {
    Question::get(format!("/v1/services/{port}/mode"))
        .body(Method::POST, &SetMode { mode })?
        .ask(socket)
        .await
}

/// The configuration that holds.
///
/// # Errors
///
/// When no guard answers in time, or not with a configuration.
pub async fn config(socket: &Path) -> Result<ConfigReport, ClientError> {
    Question::get("/v1/config").ask(socket).await
}

/// Sets a key of the configuration until the next reload; what changed.
///
/// # Errors
///
/// When no guard answers in time, or it takes no such key or value.
pub async fn set(socket: &Path, key: &str, value: &str) -> Result<Applied, ClientError> {
    let set = SetKey {
        key: key.to_owned(),
        value: value.into(),
    };
    Question::get("/v1/config")
        .body(Method::POST, &set)?
        .ask(socket)
        .await
}

/// Has the configuration read again; what changed.
///
/// # Errors
///
/// When no guard answers in time, or the file is wrong.
pub async fn reload(socket: &Path) -> Result<Applied, ClientError> {
    Question::get("/v1/reload")
        .method(Method::POST)
        .ask(socket)
        .await
}

/// What is on a list.
///
/// # Errors
///
/// When no guard answers in time, or not with prefixes.
pub async fn prefixes(socket: &Path, list: ListName) -> Result<Vec<PrefixReport>, ClientError> {
    let mut all: Vec<PrefixReport> = Vec::new();
    loop {
        let mut query = format!("list={}", list.kind().name());
        if let Some(last) = all.last() {
            query.push_str("&after=");
            query.push_str(&last.prefix);
        }
        let question = Question::get("/v1/prefixes").query(query);
        let page: Vec<_> = question.ask(socket).await?;
        let last = page.len() < PREFIX_PAGE;
        all.extend(page);
        if last {
            return Ok(all);
        }
    }
}

/// Puts a prefix on a list, until it is taken off or for `lasting`, whole
/// seconds.
///
/// # Errors
///
/// When no guard answers in time, or it is no prefix.
pub async fn add_prefix(
    socket: &Path,
    list: ListName,
    prefix: &str,
    lasting: Option<Duration>,
) -> Result<PrefixReport, ClientError> {
    let add = AddPrefix {
        list,
        prefix: prefix.to_owned(),
        seconds: lasting.map(|lasting| lasting.as_secs()),
    };
    Question::get("/v1/prefixes")
        .body(Method::POST, &add)?
        .ask(socket)
        .await
}

/// Takes a prefix off a list that was put on at run time.
///
/// # Errors
///
/// When no guard answers in time, or it was not.
pub async fn remove_prefix(
    socket: &Path,
    list: ListName,
    prefix: &str,
) -> Result<Removed, ClientError> {
    let remove = RemovePrefix {
        list,
        prefix: prefix.to_owned(),
    };
    Question::get("/v1/prefixes")
        .body(Method::DELETE, &remove)?
        .ask(socket)
        .await
}
