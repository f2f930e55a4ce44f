//! A request and its answer.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::ClientError;
use crate::control::Refused;

/// For one question, from connecting to the last byte, besides what the guard
/// is asked to wait.
const LIMIT: Duration = Duration::from_secs(5);

/// Bytes of an answer at most: four times what the most sources take.
const ANSWER: usize = 64 << 20;

/// A request in the making.
pub(super) struct Question {
    method: Method,
    /// The path, which errors name.
    what: String,
    query: Option<String>,
    body: Bytes,
    limit: Duration,
}

impl Question {
    pub(super) fn get(what: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            what: what.into(),
            query: None,
            body: Bytes::new(),
            limit: LIMIT,
        }
    }

    pub(super) fn method(self, method: Method) -> Self {
        Self { method, ..self }
    }

    pub(super) fn query(self, query: String) -> Self {
        Self {
            query: Some(query),
            ..self
        }
    }

    pub(super) fn body(self, method: Method, body: &impl Serialize) -> Result<Self, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.http(error))?;
        Ok(Self {
            method,
            body: body.into(),
            ..self
        })
    }

    /// The guard may take so much longer.
    pub(super) fn wait(self, wait: Duration) -> Self {
        Self {
            limit: LIMIT + wait,
            ..self
        }
    }

    pub(super) async fn ask<T: DeserializeOwned>(self, socket: &Path) -> Result<T, ClientError> {
        let (status, body) = timeout(self.limit, self.exchange(socket))
            .await
            .map_err(|_| ClientError::NoAnswer {
                path: socket.to_owned(),
                seconds: self.limit.as_secs(),
            })??;
        if !status.is_success() {
            return Err(self.refused(status, &body));
        }
        serde_json::from_slice(&body).map_err(|source| ClientError::Json {
            what: self.what,
            source,
        })
    }

    fn refused(self, status: StatusCode, body: &[u8]) -> ClientError {
        let Ok(Refused { error }) = serde_json::from_slice(body) else {
            return ClientError::Unknown {
                what: self.what,
                status: status.as_u16(),
            };
        };
        if status.is_client_error() {
            ClientError::Refused { error }
        } else {
            ClientError::Unable {
                what: self.what,
                status: status.as_u16(),
                error,
            }
        }
    }

    async fn exchange(&self, socket: &Path) -> Result<(StatusCode, Bytes), ClientError> {
        let stream = UnixStream::connect(socket)
            .await
            .map_err(|source| ClientError::connect(socket, source))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.http(error))?;
        // What ends the connection is told by the request that it ends.
        tokio::spawn(connection);
        let uri = match &self.query {
            Some(query) => format!("{}?{query}", self.what),
            None => self.what.clone(),
        };
        let request = Request::builder()
            .method(self.method.clone())
            .uri(uri)
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(self.body.clone()))
            .map_err(|error| self.http(error))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| self.http(error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER)
            .collect()
            .await
            .map_err(|error| self.http(error))?;
        Ok((status, body.to_bytes()))
    }

    fn http(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
        ClientError::Http {
            what: self.what.clone(),
            source: source.into(),
        }
    }
}
