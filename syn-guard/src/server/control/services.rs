//! Modes of services.

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
};

use super::{Control, Refusal, answer, body::Body};
use crate::{config::schema, control::SetMode, controller::ModeError, report::ModeReport};

pub(super) async fn set_mode(
    State(control): State<Control>,
    port: Result<Path<String>, PathRejection>,
    Body(asked): Body<SetMode>,
) -> Result<Json<ModeReport>, Refusal> {
    let port = port.map_or_else(|_| String::new(), |Path(port)| port);
    let port = schema::port(&port).map_err(Refusal::bad_request)?;
    answer(control.controller.set_mode(port, asked.mode.mode()))
        .await?
        .map(Json)
        .map_err(|error| {
            let status = match error {
                ModeError::NotGuarded(_) => StatusCode::NOT_FOUND,
                ModeError::NoEngine(_) => StatusCode::CONFLICT,
            };
            Refusal::new(status, error.to_string())
        })
}
