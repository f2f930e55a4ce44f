//! What the controller says, within a time limit.

use std::time::Duration;

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use tokio::time::timeout;

/// The controller answers in much less unless something is wrong.
const ANSWER: Duration = Duration::from_secs(2);

/// The controller's answer, or the response that says there is none.
pub(super) async fn answer<T>(asked: impl Future<Output = Option<T>>) -> Result<T, Response> {
    match timeout(ANSWER, asked).await {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => Err(unavailable("the controller has stopped\n")),
        Err(_) => Err(unavailable("the controller does not answer\n")),
    }
}

fn unavailable(why: &'static str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}
