//! Asks the running guard over its control socket.

mod error;
mod exchange;

pub use error::ClientError;

use std::path::Path;
use std::time::Duration;

use hyper::Method;

use crate::config::{Applied, ConfigReport};
use crate::control::{ProtectMode, SetKey, SetMode};
use crate::events::{EventPage, Position};
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
