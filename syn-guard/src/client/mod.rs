//! Asks the running guard over its control socket.

mod error;

pub use error::ClientError;

use std::{path::Path, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{net::UnixStream, time::timeout};

use crate::config::ConfigReport;
use crate::report::{Report, SourceReport};

/// For one question, from connecting to the last byte.
const LIMIT: Duration = Duration::from_secs(5);

/// Bytes of an answer at most: four times what the most sources take.
const ANSWER: usize = 64 << 20;

/// The guard's report.
///
/// # Errors
///
/// When no guard answers in time, or not with a report.
pub async fn status(socket: &Path) -> Result<Report, ClientError> {
    ask(socket, "/v1/status").await
}

/// The guard's sources.
///
/// # Errors
///
/// When no guard answers in time, or not with sources.
pub async fn sources(socket: &Path) -> Result<Vec<SourceReport>, ClientError> {
    ask(socket, "/v1/sources").await
}

/// The configuration that holds.
///
/// # Errors
///
/// When no guard answers in time, or not with a configuration.
pub async fn config(socket: &Path) -> Result<ConfigReport, ClientError> {
    ask(socket, "/v1/config").await
}

async fn ask<T: DeserializeOwned>(socket: &Path, what: &'static str) -> Result<T, ClientError> {
    let (status, body) =
        timeout(LIMIT, exchange(socket, what))
            .await
            .map_err(|_| ClientError::NoAnswer {
                path: socket.to_owned(),
                seconds: LIMIT.as_secs(),
            })??;
    if status != StatusCode::OK {
        return Err(ClientError::Refused {
            what,
            status: status.as_u16(),
            message: String::from_utf8_lossy(&body).trim().to_owned(),
        });
    }
    serde_json::from_slice(&body).map_err(|source| ClientError::Json { what, source })
}

async fn exchange(socket: &Path, what: &'static str) -> Result<(StatusCode, Bytes), ClientError> {
    let http = |source| ClientError::Http { what, source };
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|source| ClientError::connect(socket, source))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| http(error.into()))?;
    // What ends the connection is told by the request that it ends.
    tokio::spawn(connection);
    let request = Request::get(what)
        .header(HOST, "localhost")
        .body(Empty::<Bytes>::new())
        .map_err(|error| http(error.into()))?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| http(error.into()))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER)
        .collect()
        .await
        .map_err(http)?;
    Ok((status, body.to_bytes()))
}
