//! The configuration.

use axum::{Json, extract::State, http::StatusCode};

use super::{Control, Refusal, answer, body::Body};
use crate::{
    config::{Applied, ConfigReport},
    control::SetKey,
};

pub(super) async fn get(State(control): State<Control>) -> Result<Json<ConfigReport>, Refusal> {
    Ok(Json(answer(control.controller.config()).await?))
}

pub(super) async fn set(
    State(control): State<Control>,
    Body(asked): Body<SetKey>,
) -> Result<Json<Applied>, Refusal> {
    let value = asked.text().map_err(Refusal::bad_request)?;
    answer(control.controller.set(asked.key, value))
        .await?
        .map(Json)
        .map_err(|error| Refusal::bad_request(error.to_string()))
}

/// What is wrong is the file, not the request.
pub(super) async fn reload(State(control): State<Control>) -> Result<Json<Applied>, Refusal> {
    answer(control.controller.reload())
        .await?
        .map(Json)
        .map_err(|error| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))
}
