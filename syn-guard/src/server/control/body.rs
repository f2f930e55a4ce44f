//! Bodies of requests.

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::StatusCode,
};
use serde::de::DeserializeOwned;

use super::{BODY, Refusal};

/// A body of JSON, whatever its `Content-Type` says: `curl -d` says another.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let bytes =
            Bytes::from_request(request, state)
                .await
                .map_err(|rejection| match rejection.status() {
                    StatusCode::PAYLOAD_TOO_LARGE => Refusal::new(
                        StatusCode::PAYLOAD_TOO_LARGE,
                        format!("the body is longer than {BODY} bytes"),
                    ),
                    _ => Refusal::bad_request("the body broke off"),
                })?;
        if bytes.is_empty() {
            return Err(Refusal::bad_request(
                "the body is empty: expected a JSON object",
            ));
        }
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| Refusal::bad_request(format!("the body is not as expected: {error}")))
    }
}
