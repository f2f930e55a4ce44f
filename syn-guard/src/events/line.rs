//! An event as a line for people.

use std::time::{Duration, UNIX_EPOCH};

use super::{Event, Level};

/// Time (UTC), service, kind, what happened, and the numbers behind it.
#[must_use]
pub fn line(event: &Event) -> String {
    let at = Duration::try_from_secs_f64(event.at).unwrap_or_default();
    let at = humantime::format_rfc3339_millis(UNIX_EPOCH + at);
    let service = event
        .service
        .map_or_else(|| "-".to_owned(), |port| port.to_string());
    let level = match event.level {
        Level::Info => "",
        Level::Warn => "! ",
    };
    let mut line = format!(
        "{at}  {service:>5}  {:<14}  {level}{}",
        event.kind.name(),
        event.text
    );
    for (name, value) in &event.numbers {
        line += &format!(" {name}={value}");
    }
    line
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::EventKind;
    use super::*;

    #[test]
    fn columns_are_aligned_and_numbers_follow() {
        let event = Event {
            sequence: 1,
            at: 1_784_545_323.25,
            kind: EventKind::State,
            level: Level::Warn,
            service: Some(80),
            text: "observing -> protecting: a reason".to_owned(),
            numbers: BTreeMap::from([("half_open".to_owned(), 255.0), ("limit".to_owned(), 0.5)]),
        };
        assert_eq!(
            line(&event),
            "2026-07-20T11:02:03.250Z     80  state           ! observing -> protecting: a reason half_open=255 limit=0.5"
        );
        let event = Event {
            kind: EventKind::SourceDropped,
            level: Level::Info,
            service: None,
            numbers: BTreeMap::new(),
            ..event
        };
        assert_eq!(
            line(&event),
            "2026-07-20T11:02:03.250Z      -  source_dropped  observing -> protecting: a reason"
        );
    }
}
