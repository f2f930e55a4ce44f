//! Lists of prefixes.

use std::time::Duration;

use axum::{
    Json,
    extract::{RawQuery, State},
    http::StatusCode,
};
use syn_guard_common::abi::ListKind;

use super::{Control, Refusal, answer, body::Body};
use crate::{
    control::{AddPrefix, ListName, RemovePrefix, Removed},
    prefixes::{ListError, PrefixReport},
};

/// One list, or both where none is asked for.
pub(super) async fn get(
    State(control): State<Control>,
    RawQuery(query): RawQuery,
) -> Result<Json<Vec<PrefixReport>>, Refusal> {
    let list = wanted(query.as_deref().unwrap_or("")).map_err(Refusal::bad_request)?;
    Ok(Json(answer(control.controller.prefixes(list)).await?))
}

fn wanted(query: &str) -> Result<Option<ListKind>, String> {
    match query {
        "" => Ok(None),
        "list=allow" => Ok(Some(ListName::Allow.kind())),
        "list=deny" => Ok(Some(ListName::Deny.kind())),
        _ => Err(format!(
            "unknown parameter \"{query}\": there are list=allow and list=deny"
        )),
    }
}

pub(super) async fn add(
    State(control): State<Control>,
    Body(asked): Body<AddPrefix>,
) -> Result<Json<PrefixReport>, Refusal> {
    let lasting = asked.seconds.map(Duration::from_secs);
    let added = control
        .controller
        .add_prefix(asked.list.kind(), asked.prefix, lasting);
    answer(added).await?.map(Json).map_err(refusal)
}

pub(super) async fn remove(
    State(control): State<Control>,
    Body(asked): Body<RemovePrefix>,
) -> Result<Json<Removed>, Refusal> {
    let removed = control
        .controller
        .remove_prefix(asked.list.kind(), asked.prefix);
    let left = answer(removed).await?.map_err(refusal)?;
    Ok(Json(Removed { left }))
}

fn refusal(error: ListError) -> Refusal {
    let status = match error {
        ListError::Prefix(_) | ListError::NoTime => StatusCode::BAD_REQUEST,
        ListError::NotListed { .. } => StatusCode::NOT_FOUND,
        ListError::NotByRunTime { .. } => StatusCode::CONFLICT,
        ListError::DataPath(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    Refusal::new(status, error.to_string())
}
