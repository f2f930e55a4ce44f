//! The control socket: docs/control.md says what it answers.

mod body;
mod config;
mod events;
mod prefixes;
mod refusal;
mod services;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::{Method, StatusCode, Uri},
    routing::{get, post},
};
use tokio::sync::Semaphore;

use super::{ControlSocket, answer::answer, connections};
use crate::{
    controller::ControllerHandle,
    report::{Report, SourceReport},
};
use refusal::Refusal;

/// Connections at a time; more wait in the listener's backlog.
pub(super) const CONNECTIONS: usize = 192;

/// Requests that wait for events at a time: the other connections are for those
/// who want an answer now.
pub(super) const FOLLOWERS: usize = 128;

/// Bytes of a request's body at most.
const BODY: usize = 64 << 10;

/// What every request may need.
#[derive(Clone)]
struct Control {
    controller: ControllerHandle,
    followers: Arc<Semaphore>,
}

/// Serves the control socket until dropped; then its file is gone.
pub async fn serve_control(socket: ControlSocket, controller: ControllerHandle) {
    let (listener, _file) = socket.into_parts();
    connections::serve(listener, router(controller), CONNECTIONS).await;
}

fn router(controller: ControllerHandle) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/sources", get(sources))
        .route("/v1/events", get(events::get))
        .route("/v1/services/{port}/mode", post(services::set_mode))
        .route("/v1/config", get(config::get).post(config::set))
        .route(
            "/v1/prefixes",
            get(prefixes::get)
                .post(prefixes::add)
                .delete(prefixes::remove),
        )
        .route("/v1/reload", post(config::reload))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(BODY))
        .with_state(Control {
            controller,
            followers: Arc::new(Semaphore::new(FOLLOWERS)),
        })
}

async fn status(State(control): State<Control>) -> Result<Json<Report>, Refusal> {
    Ok(Json(answer(control.controller.report()).await?))
}

async fn sources(State(control): State<Control>) -> Result<Json<Vec<SourceReport>>, Refusal> {
    Ok(Json(answer(control.controller.sources()).await?))
}

async fn no_route(uri: Uri) -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        format!(
            "there is no {}: docs/control.md has all that there is",
            uri.path()
        ),
    )
}

async fn no_method(method: Method, uri: Uri) -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!(
            "{} takes no {method}: docs/control.md has what it takes",
            uri.path()
        ),
    )
}

#[cfg(test)]
mod tests;
