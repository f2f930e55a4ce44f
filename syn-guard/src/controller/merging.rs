//! When the lists of prefixes are merged and told the data path: a million of
//! them take seconds.

use std::time::{Duration, Instant};

/// How long nothing is merged again only because one that was left out may find
/// room.
const ROOM_EVERY: Duration = Duration::from_secs(10);
/// How long it is waited after the kernel refused, at first: each refusal doubles
/// it.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// What is to be merged, and when it was tried.
#[derive(Debug, Default)]
pub struct Merging {
    /// The data path does not go by the lists.
    untold: bool,
    /// Some place became free.
    room: bool,
    tried: Option<Instant>,
    /// How long from `tried` to the next time.
    wait: Duration,
    /// Why the kernel refused, the last time.
    refused: Option<String>,
}

impl Merging {
    /// The lists say something else: that is told at once.
    pub const fn changed(&mut self) {
        self.untold = true;
        self.wait = Duration::ZERO;
    }

    /// The data path was not told of one of them.
    pub const fn missed(&mut self) {
        self.untold = true;
    }

    /// One that was left out may find room.
    pub const fn may_find_room(&mut self) {
        self.room = true;
    }

    /// Whether to merge now.
    pub fn is_due(&self, now: Instant) -> bool {
        let waited = |wait| {
            self.tried
                .is_none_or(|tried| now.saturating_duration_since(tried) >= wait)
        };
        self.untold && waited(self.wait) || self.room && waited(self.wait.max(ROOM_EVERY))
    }

    /// The data path goes by the lists, since `now`.
    pub fn done(&mut self, now: Instant) {
        *self = Self {
            tried: Some(now),
            ..Self::default()
        };
    }

    /// The kernel refused, at `now`; whether it said something else the last time.
    pub fn refused(&mut self, now: Instant, why: &str) -> bool {
        self.untold = true;
        self.tried = Some(now);
        self.wait = (self.wait * 2).clamp(FIRST_WAIT, LONGEST_WAIT);
        let new = self.refused.as_deref() != Some(why);
        self.refused = Some(why.to_owned());
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// In which of so many seconds it is due, where each time has this outcome.
    fn due(
        merging: &mut Merging,
        from: Instant,
        seconds: u32,
        mut outcome: impl FnMut(&mut Merging, Instant),
    ) -> Vec<u32> {
        (0..seconds)
            .filter(|&second| {
                let now = from + SECOND * second;
                let due = merging.is_due(now);
                if due {
                    outcome(merging, now);
                }
                due
            })
            .collect()
    }

    #[test]
    fn a_refusal_is_said_once_and_tried_again_ever_less_often() {
        let mut merging = Merging::default();
        let begin = Instant::now();
        assert!(!merging.is_due(begin));
        merging.changed();
        let mut said = 0;
        let tried = due(&mut merging, begin, 300, |merging, now| {
            said += u32::from(merging.refused(now, "no memory"));
        });
        assert_eq!(tried, [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]);
        assert_eq!(said, 1);
        let later = begin + SECOND * 300;
        assert!(merging.refused(later, "not permitted"), "another reason");
        assert!(!merging.is_due(later + SECOND));
        merging.changed();
        assert!(merging.is_due(later + SECOND), "other lists are new");
        merging.done(later + SECOND);
        assert!(!merging.is_due(later + SECOND * 1_000));
        assert!(merging.refused(later, "not permitted"), "new after success");
    }

    #[test]
    fn what_may_find_room_waits_for_a_while() {
        let mut merging = Merging::default();
        let begin = Instant::now();
        merging.changed();
        merging.done(begin);
        // Something ends each second.
        let merged: Vec<_> = (1..=35)
            .filter(|&second| {
                merging.may_find_room();
                let now = begin + SECOND * second;
                let due = merging.is_due(now);
                if due {
                    merging.done(now);
                }
                due
            })
            .collect();
        assert_eq!(merged, [10, 20, 30]);
        merging.changed();
        assert!(merging.is_due(begin + SECOND * 36), "that does not wait");
    }
}
