//! Lists of prefixes.

use std::time::Duration;

use axum::{
    Json,
    extract::{RawQuery, State},
    http::StatusCode,
};
use ipnet::IpNet;
use syn_guard_common::abi::ListKind;

use super::{Control, Refusal, answer, body::Body};
use crate::{
    control::{AddPrefix, RemovePrefix, Removed},
    prefixes::{ListError, PrefixReport, parse},
};

/// A page of one list, or of both where none is asked for.
pub(super) async fn get(
    State(control): State<Control>,
    RawQuery(query): RawQuery,
) -> Result<Json<Vec<PrefixReport>>, Refusal> {
    let query = query.unwrap_or_default();
    let (list, after) = wanted(&query).map_err(Refusal::bad_request)?;
    Ok(Json(
        answer(control.controller.prefixes(list, after)).await?,
    ))
}

fn wanted(query: &str) -> Result<(Option<ListKind>, Option<IpNet>), String> {
    let (mut list, mut after) = (None, None);
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.split_once('=') {
            Some(("list", "allow")) => list = Some(ListKind::Allow),
            Some(("list", "deny")) => list = Some(ListKind::Deny),
            Some(("after", prefix)) => {
                after = Some(parse(prefix).map_err(|error| format!("after: {error}"))?);
            }
            _ => {
                return Err(format!(
                    "unknown parameter \"{parameter}\": there are list=allow, list=deny and after=PREFIX"
                ));
            }
        }
    }
    if after.is_some() && list.is_none() {
        return Err("after=PREFIX is of one list: say list=allow or list=deny, too".to_owned());
    }
    Ok((list, after))
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
