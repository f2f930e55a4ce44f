//! What the controller says, within a time limit.

use std::time::Duration;

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use tokio::time::timeout;

/// The controller answers in much less unless something is wrong.
const ANSWER: Duration = Duration::from_secs(2);

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("the controller has stopped")]
    Stopped,
    #[error("the controller does not answer")]
    Late,
}

impl IntoResponse for NoAnswer {
    fn into_response(self) -> Response {
        (StatusCode::SERVICE_UNAVAILABLE, format!("{self}\n")).into_response()
    }
}

/// The controller's answer.
pub(super) async fn answer<T>(asked: impl Future<Output = Option<T>>) -> Result<T, NoAnswer> {
    match timeout(ANSWER, asked).await {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => Err(NoAnswer::Stopped),
        Err(_) => Err(NoAnswer::Late),
    }
}
