//! The server that Prometheus scrapes.

use std::net::SocketAddr;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;

use super::{
    ServerError,
    answer::{NoAnswer, answer},
    connections,
};
use crate::{
    controller::ControllerHandle,
    metrics::{self, ProcessUsage},
    report::Report,
};

/// Connections at a time; more wait in the listener's backlog.
pub(super) const CONNECTIONS: usize = 64;

const INDEX: &str = "syn-guard\n\n/metrics  for Prometheus\n/healthz  200 when the guard works\n";

/// Listens for Prometheus.
///
/// # Errors
///
/// When the address is taken, or not one to listen on.
pub async fn bind_metrics(address: SocketAddr) -> Result<TcpListener, ServerError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ServerError::metrics(address, source))
}

/// Serves `/metrics`, `/healthz` and an index until dropped.
pub async fn serve_metrics(listener: TcpListener, handle: ControllerHandle) {
    let router = Router::new()
        .route("/", get(INDEX))
        .route("/metrics", get(scrape))
        .route("/healthz", get(health))
        .with_state(handle);
    connections::serve(listener, router, CONNECTIONS).await;
}

async fn scrape(State(handle): State<ControllerHandle>) -> Result<Response, Response> {
    let report = answer(handle.report())
        .await
        .map_err(IntoResponse::into_response)?;
    let text = render(&report).map_err(|error| {
        let text = format!("cannot render the metrics: {error}\n");
        (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
    })?;
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

fn render(report: &Report) -> Result<String, prometheus::Error> {
    let mut text = metrics::render(report)?;
    if let Some(usage) = ProcessUsage::read() {
        text += &metrics::render_process(usage)?;
    }
    Ok(text)
}

async fn health(State(handle): State<ControllerHandle>) -> Result<&'static str, NoAnswer> {
    answer(handle.alive()).await.map(|()| "ok\n")
}
