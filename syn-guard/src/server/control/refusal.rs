//! What is answered when a request cannot be fulfilled.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::super::answer::NoAnswer;
use crate::control::Refused;

/// A status and one line.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    error: String,
}

impl Refusal {
    /// What was asked for may stand in `error`: it is made one line.
    pub(super) fn new(status: StatusCode, error: impl AsRef<str>) -> Self {
        let error = error.as_ref().replace(char::is_control, " ");
        Self { status, error }
    }

    pub(super) fn bad_request(error: impl AsRef<str>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }
}

impl From<NoAnswer> for Refusal {
    fn from(error: NoAnswer) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(Refused { error: self.error })).into_response()
    }
}
