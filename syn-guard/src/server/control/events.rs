//! Events, for whoever reads them once and for whoever follows.

use std::time::Duration;

use axum::{
    Json,
    extract::{RawQuery, State},
    http::StatusCode,
};
use tokio::time::timeout;

use super::{Control, FOLLOWERS, Refusal, answer};
use crate::{
    events::{EventPage, Position},
    server::answer::NoAnswer,
};

/// Seconds that a request waits at most: well within the time that a connection
/// may take.
const LONGEST_WAIT: u64 = 8;

/// The events after a position. A follower asks again and again, and each
/// request waits here until there are some: no connection lasts, and the
/// controller is asked only when there is something to tell.
pub(super) async fn get(
    State(control): State<Control>,
    RawQuery(query): RawQuery,
) -> Result<Json<EventPage>, Refusal> {
    let asked = Asked::parse(query.as_deref().unwrap_or("")).map_err(Refusal::bad_request)?;
    let mut followed = answer(control.controller.events(asked.position.clone())).await?;
    let page = &followed.page;
    if !page.events.is_empty()
        || asked.wait.is_zero()
        || !asked.position.is_of(&page.run, page.last)
    {
        return Ok(Json(followed.page));
    }
    let _place = control.followers.try_acquire().map_err(|_| {
        Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{FOLLOWERS} others wait for events: ask again later, or without wait"),
        )
    })?;
    match timeout(asked.wait, followed.last.changed()).await {
        Ok(Ok(())) => {
            let followed = answer(control.controller.events(asked.position)).await?;
            Ok(Json(followed.page))
        }
        Ok(Err(_)) => Err(NoAnswer::Stopped.into()),
        Err(_) => Ok(Json(followed.page)),
    }
}

/// What a query asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    position: Position,
    wait: Duration,
}

impl Asked {
    fn parse(query: &str) -> Result<Self, String> {
        let mut asked = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "after" => {
                    asked.position.after = value.parse().map_err(|_| {
                        format!("after={value}: expected the sequence number of an event, or 0")
                    })?;
                }
                "run" => asked.position.run = Some(value.to_owned()),
                "wait" => {
                    let seconds: Option<u64> = value.parse().ok();
                    let seconds = seconds.filter(|seconds| *seconds <= LONGEST_WAIT);
                    asked.wait = seconds.map(Duration::from_secs).ok_or_else(|| {
                        format!("wait={value}: expected seconds from 0 to {LONGEST_WAIT}")
                    })?;
                }
                _ => {
                    return Err(format!(
                        "unknown parameter \"{name}\": there are after, run and wait"
                    ));
                }
            }
        }
        Ok(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_or_said_to_be_wrong() {
        assert_eq!(Asked::parse("").unwrap(), Asked::default());
        let asked = Asked::parse("after=7&wait=8&run=1a").unwrap();
        let run = Some("1a".to_owned());
        assert_eq!(asked.position, Position { run, after: 7 });
        assert_eq!(asked.wait, Duration::from_secs(8));
        for (query, says) in [
            (
                "after=-1",
                "after=-1: expected the sequence number of an event, or 0",
            ),
            ("wait=9", "wait=9: expected seconds from 0 to 8"),
            ("wait", "wait=: expected seconds from 0 to 8"),
            (
                "follow",
                "unknown parameter \"follow\": there are after, run and wait",
            ),
        ] {
            assert_eq!(Asked::parse(query).unwrap_err(), says);
        }
    }
}
