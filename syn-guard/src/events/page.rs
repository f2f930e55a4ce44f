//! Reading events from where one stopped.

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{Event, EventLog};

/// Where a reader stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The guard's run that it read of; none: whichever there is.
    pub run: Option<String>,
    /// The sequence number of the last event it has, 0 for none.
    pub after: u64,
}

impl Position {
    /// Whether it is one of the run with that name, whose latest event is `last`.
    #[must_use]
    pub fn is_of(&self, run: &str, last: u64) -> bool {
        self.run.as_ref().is_none_or(|own| own == run) && self.after <= last
    }
}

/// Events after a position.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventPage {
    /// Names the run of the guard: another one counts events from 1 again.
    pub run: String,
    /// The sequence number of the latest event, 0 before the first.
    pub last: u64,
    /// The events, oldest first: all that are kept where the position is none
    /// of this run.
    pub events: Vec<Event>,
}

/// The events after a position, and what changes when there are more.
#[derive(Debug)]
pub struct Followed {
    /// The events.
    pub page: EventPage,
    /// The sequence number of the latest event.
    pub last: watch::Receiver<u64>,
}

impl EventLog {
    /// The events after a position. To wait for more needs nobody to ask again.
    pub fn follow(&self, position: &Position) -> Followed {
        let after = if position.is_of(&self.run, self.last()) {
            position.after
        } else {
            0
        };
        Followed {
            page: EventPage {
                run: self.run.clone(),
                last: self.last(),
                events: self.after(after).cloned().collect(),
            },
            last: self.last.subscribe(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{EventKind, Level};
    use super::*;

    fn log(events: usize) -> EventLog {
        let mut log = EventLog::default();
        for _ in 0..events {
            log.push(EventKind::State, Level::Info, Some(80), "x", &[]);
        }
        log
    }

    fn sequences(log: &EventLog, run: Option<&str>, after: u64) -> Vec<u64> {
        let run = run.map(str::to_owned);
        let page = log.follow(&Position { run, after }).page;
        page.events.iter().map(|event| event.sequence).collect()
    }

    #[test]
    fn a_position_of_another_run_is_none() {
        let log = log(3);
        assert_eq!(sequences(&log, None, 1), [2, 3]);
        assert_eq!(sequences(&log, Some(&log.run.clone()), 2), [3]);
        assert!(sequences(&log, None, 3).is_empty());
        assert_eq!(sequences(&log, Some("another"), 2), [1, 2, 3]);
        assert_eq!(sequences(&log, None, 4), [1, 2, 3]);
    }

    #[tokio::test]
    async fn whoever_waits_is_told_of_what_was_not_in_the_page() {
        let mut log = log(1);
        let mut followed = log.follow(&Position::default());
        assert!(!followed.last.has_changed().unwrap());
        log.push(EventKind::Flood, Level::Warn, None, "y", &[]);
        followed.last.changed().await.unwrap();
        assert_eq!(*followed.last.borrow(), 2);
        drop(log);
        followed.last.changed().await.unwrap_err();
    }
}
