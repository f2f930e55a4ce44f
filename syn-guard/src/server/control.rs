//! What the control socket answers.

use axum::{Json, Router, extract::State, response::Response, routing::get};

use super::{ControlSocket, answer::answer, connections};
use crate::config::ConfigReport;
use crate::report::{Report, ReportHandle, SourceReport};

/// Serves the control socket until dropped; then its file is gone.
pub async fn serve_control(socket: ControlSocket, handle: ReportHandle) {
    let router = Router::new()
        .route("/v1/status", get(status))
        .route("/v1/sources", get(sources))
        .route("/v1/config", get(config))
        .with_state(handle);
    let (listener, _file) = socket.into_parts();
    connections::serve(listener, router).await;
}

async fn status(State(handle): State<ReportHandle>) -> Result<Json<Report>, Response> {
    answer(handle.report()).await.map(Json)
}

async fn sources(State(handle): State<ReportHandle>) -> Result<Json<Vec<SourceReport>>, Response> {
    answer(handle.sources()).await.map(Json)
}

async fn config(State(handle): State<ReportHandle>) -> Result<Json<ConfigReport>, Response> {
    answer(handle.config()).await.map(Json)
}
