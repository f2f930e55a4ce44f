//! What a service's counters say, second by second.

use super::Sources;
use crate::abi::ServiceCounters;

/// Samples that are kept: those of the last five seconds and where they began.
const KEPT: usize = 6;
/// Seconds that the kind of a flood goes by.
const KIND_SECONDS: usize = 3;
/// One cookie of so many may be lost on its way: the client sends its SYN
/// again and gets another one, where the stack would have had one half-open
/// connection for a second or two.
const LOST: u64 = 20;
/// Tracked connections that never completed are thought to be so many more than
/// there are: a few that did complete say nothing of thousands untracked.
const SMALL_SAMPLE: u64 = 16;

/// Counts of a service since it is guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counts {
    /// SYNs, without those sent again.
    pub syns: u64,
    /// SYNs of heavy sources.
    pub heavy: u64,
    /// Half-open connections that were tracked.
    pub tracked: u64,
    /// SYNs that passed to the stack untracked.
    pub untracked: u64,
    /// Tracked ones that completed.
    pub completed: u64,
    /// Cookies sent, and SYNs that got none because their source or prefix is
    /// over its limit.
    pub sent: u64,
    /// Cookies that came back and became connections.
    pub validated: u64,
}

impl From<&ServiceCounters> for Counts {
    fn from(counters: &ServiceCounters) -> Self {
        Self {
            syns: counters.syns.saturating_sub(counters.syn_retransmissions),
            heavy: counters.heavy_syns,
            tracked: counters.tracked,
            untracked: counters.untracked,
            completed: counters.completed,
            sent: counters
                .cookies_sent
                .saturating_add(counters.source_limited)
                .saturating_add(counters.reply_limited),
            validated: counters.cookies_validated,
        }
    }
}

impl Counts {
    /// What came since `earlier`.
    fn since(self, earlier: Self) -> Self {
        Self {
            syns: self.syns.saturating_sub(earlier.syns),
            heavy: self.heavy.saturating_sub(earlier.heavy),
            tracked: self.tracked.saturating_sub(earlier.tracked),
            untracked: self.untracked.saturating_sub(earlier.untracked),
            completed: self.completed.saturating_sub(earlier.completed),
            sent: self.sent.saturating_sub(earlier.sent),
            validated: self.validated.saturating_sub(earlier.validated),
        }
    }

    /// Connections that began: their SYN went to the stack, or was to be
    /// answered with a cookie.
    const fn begun(self) -> u64 {
        self.tracked
            .saturating_add(self.untracked)
            .saturating_add(self.sent)
    }

    /// How many of those that began here `completed`. Of untracked ones nobody
    /// sees the end: as many as of the tracked ones, a fair sample of them
    /// where it is not too small.
    fn answered(self, completed: Self) -> u64 {
        let tracked = completed.completed.min(self.tracked);
        let of = u128::from(self.tracked.saturating_add(SMALL_SAMPLE));
        let untracked = u128::from(self.untracked) * u128::from(tracked) / of;
        tracked
            .saturating_add(u64::try_from(untracked).unwrap_or(u64::MAX))
            .saturating_add(completed.validated.min(self.sent))
    }
}

/// The samples of the last seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    samples: [(u64, Counts, Sources); KEPT],
    length: usize,
}

/// What happened within a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Happened {
    /// How long it is, nanoseconds.
    pub(super) window_ns: u64,
    /// SYNs, without those sent again.
    pub(super) syns: u64,
    /// SYNs of heavy sources.
    pub(super) heavy: u64,
    /// Connections that began.
    pub(super) begun: u64,
    /// Those of them that did not complete.
    pub(super) unanswered: u64,
    /// The samples of its sources.
    pub(super) sources: Sources,
}

impl Window {
    pub(super) const fn new() -> Self {
        let nothing = Counts {
            syns: 0,
            heavy: 0,
            tracked: 0,
            untracked: 0,
            completed: 0,
            sent: 0,
            validated: 0,
        };
        let nobody = Sources {
            syns: 0,
            unanswered: 0,
        };
        Self {
            samples: [(0, nothing, nobody); KEPT],
            length: 0,
        }
    }

    /// Takes the counts of another second.
    pub(super) fn push(&mut self, now_ns: u64, counts: Counts, sources: Sources) {
        if self.length == KEPT {
            self.samples.rotate_left(1);
            self.length -= 1;
        }
        if let Some(place) = self.samples.get_mut(self.length) {
            *place = (now_ns, counts, sources);
            self.length += 1;
        }
    }

    fn kept(&self) -> &[(u64, Counts, Sources)] {
        self.samples.get(..self.length).unwrap_or_default()
    }

    /// Cookies of the whole window that did not come back, but for those that
    /// are lost everywhere, and its length in nanoseconds; none while there is
    /// one sample only.
    pub(super) fn cookies_unanswered(&self) -> Option<(u64, u64)> {
        let [(first_ns, first, _), .., (last_ns, last, _)] = self.kept() else {
            return None;
        };
        let open = |counts: &Counts| counts.sent.saturating_sub(counts.validated);
        let unanswered = open(last).saturating_sub(open(first));
        let lost = last.since(*first).sent / LOST;
        Some((
            unanswered.saturating_sub(lost),
            last_ns.saturating_sub(*first_ns),
        ))
    }

    /// What happened in the seconds before the last one, so that handshakes
    /// under way are not called unanswered; none while that is not known.
    pub(super) fn happened(&self) -> Option<Happened> {
        let kept = self.kept();
        let last = kept.len().checked_sub(2)?;
        let first = last.checked_sub(last.min(KIND_SECONDS))?;
        if first == last {
            return None;
        }
        let (first_ns, at_first, _) = kept.get(first)?;
        let (last_ns, at_last, _) = kept.get(last)?;
        let began = at_last.since(*at_first);
        // Handshakes of these SYNs completed at once, or up to a second later:
        // the first fits where traffic ends, the second where it begins.
        let later = kept.get(last + 1)?.1.since(kept.get(first + 1)?.1);
        let answered = began.answered(began).max(began.answered(later));
        let mut sources = Sources::default();
        for (.., of_second) in kept.get(first + 1..=last)? {
            sources.syns = sources.syns.saturating_add(of_second.syns);
            sources.unanswered = sources.unanswered.saturating_add(of_second.unanswered);
        }
        Some(Happened {
            window_ns: last_ns.saturating_sub(*first_ns),
            syns: began.syns,
            heavy: began.heavy,
            begun: began.begun(),
            unanswered: began.begun().saturating_sub(answered),
            sources,
        })
    }
}

/// A count within `window_ns` as one of a second, rounded.
pub(super) fn per_second(count: u64, window_ns: u64) -> u64 {
    let window = u128::from(window_ns.max(1));
    let rate = (u128::from(count) * 1_000_000_000 + window / 2) / window;
    u64::try_from(rate).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// A window of honest connections: so many begin and complete in each
    /// second.
    fn window(seconds: &[(u64, u64)]) -> Window {
        let mut window = Window::new();
        let mut counts = Counts::default();
        window.push(0, counts, Sources::default());
        for (second, (begun, completed)) in seconds.iter().enumerate() {
            counts.syns += begun;
            counts.tracked += begun;
            counts.completed += completed;
            window.push((second as u64 + 1) * SECOND, counts, Sources::default());
        }
        window
    }

    fn unanswered(seconds: &[(u64, u64)]) -> u64 {
        window(seconds).happened().unwrap().unanswered
    }

    #[test]
    fn one_second_says_nothing_yet() {
        assert_eq!(Window::new().happened(), None);
        assert_eq!(window(&[]).happened(), None);
        assert_eq!(window(&[(5, 0)]).happened(), None);
        assert_eq!(unanswered(&[(5, 0), (0, 0)]), 5);
    }

    #[test]
    fn handshakes_under_way_are_not_unanswered() {
        // 20,000 a second with a round trip of 300 ms begin, go on and end.
        assert_eq!(unanswered(&[(20_000, 14_000), (20_000, 20_000)]), 0);
        let steady = [(20_000, 20_000); 4];
        assert_eq!(unanswered(&steady), 0);
        assert_eq!(
            unanswered(&[(20_000, 20_000), (20_000, 20_000), (0, 6_000)]),
            0
        );
        let mut ended = steady.to_vec();
        ended.extend([(0, 6_000), (0, 0), (0, 0)]);
        assert_eq!(unanswered(&ended), 0);
    }

    #[test]
    fn an_honest_crowd_does_not_hide_a_flood() {
        assert_eq!(unanswered(&[(30_000, 20_000); 5]), 30_000);
    }

    #[test]
    fn untracked_ones_complete_as_tracked_ones_do() {
        let began = Counts {
            tracked: 10_000,
            untracked: 90_000,
            sent: 7,
            ..Counts::default()
        };
        let half = Counts {
            completed: 5_000,
            ..Counts::default()
        };
        assert!((49_900..=50_000).contains(&began.answered(half)));
        let more = Counts {
            completed: 50_000,
            validated: 700,
            ..Counts::default()
        };
        assert!((99_800..=100_007).contains(&began.answered(more)));
        let one_of_many = Counts {
            tracked: 1,
            untracked: 100_000,
            ..Counts::default()
        };
        assert!(one_of_many.answered(more) < 10_000);
    }

    #[test]
    fn the_window_forgets() {
        let mut seconds = vec![(1000, 0); 20];
        seconds.extend([(0, 0); 4]);
        assert_eq!(unanswered(&seconds), 0);
        assert_eq!(window(&seconds).happened().unwrap().window_ns, 3 * SECOND);
    }

    #[test]
    fn rates_are_rounded() {
        assert_eq!(per_second(10, 3 * SECOND), 3);
        assert_eq!(per_second(11, 3 * SECOND), 4);
        assert_eq!(per_second(u64::MAX, 1), u64::MAX);
    }
}
