//! What happened, with reason and numbers: in the log, for `syn-guard events`,
//! and as counters.

mod line;
mod page;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::{info, warn};

pub use line::line;
pub use page::{EventPage, Followed, Position};

/// Events kept; older ones are forgotten.
const KEPT: usize = 1024;

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A service changed its state.
    State,
    /// What kind of flood a service is under.
    Flood,
    /// The system was hardened, or is no more.
    Harden,
    /// SYNs of a source began to be dropped.
    SourceDropped,
    /// The configuration changed, or was found bad.
    Config,
    /// A prefix was allowed, denied, or taken off a list.
    Prefix,
    /// Another engine makes cookies.
    Engine,
    /// A service stands back: connections made from cookies were lost.
    StandsBack,
}

impl EventKind {
    /// All kinds, for counters that begin at 0.
    pub const ALL: [Self; 8] = [
        Self::State,
        Self::Flood,
        Self::Harden,
        Self::SourceDropped,
        Self::Config,
        Self::Prefix,
        Self::Engine,
        Self::StandsBack,
    ];

    /// The word in the CLI and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Flood => "flood",
            Self::Harden => "harden",
            Self::SourceDropped => "source_dropped",
            Self::Config => "config",
            Self::Prefix => "prefix",
            Self::Engine => "engine",
            Self::StandsBack => "stands_back",
        }
    }
}

/// How much it matters to somebody who is asleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Good to know.
    Info,
    /// Something is wrong, or was done about it.
    Warn,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Counts up by one from 1 since the guard started.
    pub sequence: u64,
    /// Seconds since 1970.
    pub at: f64,
    /// What kind.
    pub kind: EventKind,
    /// How much it matters.
    pub level: Level,
    /// The service's port, where it is about one.
    pub service: Option<u16>,
    /// What happened and why, for people.
    pub text: String,
    /// The numbers behind it.
    pub numbers: BTreeMap<String, f64>,
}

/// The latest events.
#[derive(Debug)]
pub struct EventLog {
    run: String,
    /// Whoever waits for events is told by it.
    last: watch::Sender<u64>,
    kept: VecDeque<Event>,
    counts: BTreeMap<EventKind, u64>,
}

impl Default for EventLog {
    fn default() -> Self {
        Self {
            // No two runs begin in the same nanosecond.
            run: format!("{:x}", since_1970().as_nanos()),
            last: watch::Sender::new(0),
            kept: VecDeque::new(),
            counts: BTreeMap::new(),
        }
    }
}

impl EventLog {
    /// Takes note of something that happened now, and logs it.
    pub fn push(
        &mut self,
        kind: EventKind,
        level: Level,
        service: Option<u16>,
        text: impl Into<String>,
        numbers: &[(&str, f64)],
    ) {
        let text = text.into();
        let shown: String = numbers
            .iter()
            .map(|(name, value)| format!(" {name}={value}"))
            .collect();
        match (level, service) {
            (Level::Info, Some(service)) => info!(service, "{text}{shown}"),
            (Level::Info, None) => info!("{text}{shown}"),
            (Level::Warn, Some(service)) => warn!(service, "{text}{shown}"),
            (Level::Warn, None) => warn!("{text}{shown}"),
        }
        let sequence = self.last() + 1;
        *self.counts.entry(kind).or_default() += 1;
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(Event {
            sequence,
            at: since_1970().as_secs_f64(),
            kind,
            level,
            service,
            text,
            numbers: numbers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), *value))
                .collect(),
        });
        self.last.send_replace(sequence);
    }

    /// The events that are kept with a sequence number above `sequence`.
    pub fn after(&self, sequence: u64) -> impl Iterator<Item = &Event> {
        self.kept
            .iter()
            .filter(move |event| event.sequence > sequence)
    }

    /// The sequence number of the latest event, 0 before the first.
    #[must_use]
    pub fn last(&self) -> u64 {
        *self.last.borrow()
    }

    /// How many there were of a kind.
    #[must_use]
    pub fn count(&self, kind: EventKind) -> u64 {
        self.counts.get(&kind).copied().unwrap_or(0)
    }
}

fn since_1970() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_events_make_room_and_still_count() {
        let mut log = EventLog::default();
        for _ in 0..KEPT + 2 {
            log.push(EventKind::State, Level::Info, Some(80), "x", &[("a", 1.0)]);
        }
        let kept: Vec<_> = log.after(0).map(|event| event.sequence).collect();
        assert_eq!(kept.first(), Some(&3));
        assert_eq!(kept.last(), Some(&(KEPT as u64 + 2)));
        assert_eq!(log.after(log.last()).count(), 0);
        assert_eq!(log.count(EventKind::State), KEPT as u64 + 2);
        assert_eq!(log.count(EventKind::Flood), 0);
    }
}
