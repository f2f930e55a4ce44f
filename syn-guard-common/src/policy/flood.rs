//! What kind of flood a service is under, and the numbers that say so.

use super::Limits;
use super::counts::{Happened, per_second};

/// Up to this share of the SYNs, percent, unanswered ones are no flood: some
/// clients always go away, or their packets do.
pub(super) const LEAST_UNANSWERED: u64 = 10;
/// From this share of heavy sources on, percent, a flood is concentrated.
const CONCENTRATED_HEAVY: u64 = 80;
/// Up to this share of heavy sources, percent, a flood may be spoofed.
const SPOOFED_HEAVY: u64 = 20;
/// From this share of ever new sources on, percent, it is.
const SPOOFED_NEW: u64 = 50;
/// Up to this share of ever new sources, percent, a flood is concentrated,
/// though its sources are too slow to be heavy.
const CONCENTRATED_NEW: u64 = 10;
/// How long another kind must hold before it is said, nanoseconds: what comes
/// each second comes up to half a second late.
const CONFIRM_NS: u64 = 1_500_000_000;
/// How long there must be no flood before that is said.
const CONFIRM_NONE_NS: u64 = 4_500_000_000;

/// A kind of flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Kind {
    /// No flood: a crowd too completes its handshakes.
    #[default]
    None,
    /// Ever new sources that nobody hears of again: most likely forged.
    Spoofed,
    /// A few sources.
    Concentrated,
    /// Both.
    Mixed,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::None, Self::Spoofed, Self::Concentrated, Self::Mixed];

    /// The word in logs, the CLI and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Spoofed => "spoofed",
            Self::Concentrated => "concentrated",
            Self::Mixed => "mixed",
        }
    }
}

/// What the kind is told by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Numbers {
    /// SYNs a second, without those sent again.
    pub syns: u64,
    /// Unanswered SYNs a second.
    pub unanswered: u64,
    /// Share of the SYNs that were answered, percent.
    pub answered_percent: u64,
    /// SYNs of heavy sources as a share of the unanswered ones, percent.
    pub heavy_percent: u64,
    /// Different sources of unanswered SYNs in a second's sample as a share of
    /// these SYNs, percent.
    pub new_percent: u64,
}

/// A kind with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Assessment {
    /// The kind.
    pub kind: Kind,
    /// Its numbers.
    pub numbers: Numbers,
}

impl Numbers {
    pub(super) fn of(happened: &Happened) -> Self {
        let unanswered = happened.unanswered;
        // Of the SYNs in the sample as many are unanswered as of all.
        let sampled = scale(happened.sources.syns, unanswered, happened.begun);
        Self {
            syns: per_second(happened.syns, happened.window_ns),
            unanswered: per_second(unanswered, happened.window_ns),
            answered_percent: 100 - share(unanswered, happened.begun),
            heavy_percent: share(happened.heavy, unanswered),
            new_percent: if happened.sources.syns == 0 && unanswered > 0 {
                // Nothing is known of them: who is not heavy counts as new.
                100 - share(happened.heavy, unanswered)
            } else {
                share(happened.sources.unanswered, sampled)
            },
        }
    }

    /// The kind that these numbers speak for, where a flood has at least
    /// `least` unanswered SYNs a second.
    const fn kind(&self, least: u64) -> Kind {
        if self.unanswered < least || self.answered_percent >= 100 - LEAST_UNANSWERED {
            return Kind::None;
        }
        if self.heavy_percent >= CONCENTRATED_HEAVY {
            Kind::Concentrated
        } else if self.heavy_percent <= SPOOFED_HEAVY && self.new_percent >= SPOOFED_NEW {
            Kind::Spoofed
        } else if self.new_percent <= CONCENTRATED_NEW {
            Kind::Concentrated
        } else {
            Kind::Mixed
        }
    }
}

/// Watches which kind of flood a service is under.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Watch {
    assessment: Assessment,
    /// Another kind, and since when.
    candidate: Option<(Kind, u64)>,
}

impl Watch {
    /// The assessment of now.
    pub(super) const fn assessment(&self) -> Assessment {
        self.assessment
    }

    /// Takes another second, in which so many unanswered SYNs a second were
    /// the least that make a flood; the assessment, when its kind changes.
    pub(super) fn second(
        &mut self,
        now_ns: u64,
        happened: &Happened,
        least: u64,
    ) -> Option<Assessment> {
        let numbers = Numbers::of(happened);
        let kind = numbers.kind(least);
        self.assessment.numbers = numbers;
        if kind == self.assessment.kind {
            self.candidate = None;
            return None;
        }
        // That there is a flood at all is sure before its kind is.
        let same = |candidate| candidate == kind || self.assessment.kind == Kind::None;
        let since_ns = match self.candidate {
            Some((candidate, since_ns)) if same(candidate) => since_ns,
            _ => now_ns,
        };
        self.candidate = Some((kind, since_ns));
        let confirm_ns = match kind {
            Kind::None => CONFIRM_NONE_NS,
            _ => CONFIRM_NS,
        };
        if now_ns.saturating_sub(since_ns) < confirm_ns {
            return None;
        }
        self.candidate = None;
        self.assessment.kind = kind;
        Some(self.assessment)
    }
}

/// The least unanswered SYNs a second that make a flood: below the calm limit of
/// their rate there is none. But where the service is over its limit, as many
/// do as keep it there: a slow flood fills a queue too.
pub(super) fn least_rate(limits: &Limits, over_its_limit: bool, life_ns: u64) -> u64 {
    if !over_its_limit {
        return limits.unanswered.off;
    }
    let refill = per_second(limits.half_open.off, life_ns).max(1);
    refill.min(limits.unanswered.off)
}

/// `part` of `whole`, percent, 100 at most.
fn share(part: u64, whole: u64) -> u64 {
    if whole == 0 {
        return 0;
    }
    scale(100, part, whole).min(100)
}

/// `value` x `part` / `whole`, rounded.
fn scale(value: u64, part: u64, whole: u64) -> u64 {
    let whole = u128::from(whole.max(1));
    let scaled = (u128::from(value) * u128::from(part) + whole / 2) / whole;
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Sources, Wanted};

    const SECOND: u64 = 1_000_000_000;

    fn happened(begun: u64, unanswered: u64, heavy: u64, sources: (u64, u64)) -> Happened {
        Happened {
            window_ns: SECOND,
            syns: begun,
            heavy,
            begun,
            unanswered,
            sources: Sources {
                syns: sources.0,
                unanswered: sources.1,
            },
        }
    }

    fn kind(happened: &Happened) -> Kind {
        Numbers::of(happened).kind(500)
    }

    #[test]
    fn kinds_of_floods() {
        for (expected, begun, unanswered, heavy, sources) in [
            (Kind::Spoofed, 300_000, 300_000, 0, (4096, 4090)),
            (Kind::Concentrated, 300_000, 300_000, 299_990, (4096, 4)),
            (Kind::Mixed, 300_000, 300_000, 150_000, (4096, 2050)),
            // Under an honest crowd of the same rate.
            (Kind::Spoofed, 40_000, 20_000, 0, (4096, 2048)),
            (Kind::Concentrated, 40_000, 20_000, 20_000, (4096, 4)),
            // Four slow sources.
            (Kind::Concentrated, 1000, 1000, 0, (1000, 4)),
            // A crowd, of which some packets are lost.
            (Kind::None, 20_000, 0, 0, (4096, 0)),
            (Kind::None, 20_000, 1_900, 0, (4096, 390)),
            (Kind::None, 400, 400, 0, (400, 400)),
            (Kind::None, 0, 0, 0, (0, 0)),
        ] {
            let happened = happened(begun, unanswered, heavy, sources);
            assert_eq!(kind(&happened), expected, "{:?}", Numbers::of(&happened));
        }
    }

    #[test]
    fn the_numbers_are_those_of_a_second() {
        let mut happened = happened(30_000, 15_000, 3_000, (8_000, 3_000));
        happened.window_ns = 3 * SECOND;
        let expected = Numbers {
            syns: 10_000,
            unanswered: 5_000,
            answered_percent: 50,
            heavy_percent: 20,
            new_percent: 75,
        };
        assert_eq!(Numbers::of(&happened), expected);
    }

    #[test]
    fn an_assessment_changes_only_when_it_held() {
        let spoofed = happened(9000, 9000, 0, (4000, 4000));
        let mixed = happened(9000, 9000, 4500, (4000, 2000));
        let calm = happened(10, 0, 0, (10, 0));
        let mut watch = Watch::default();
        let mut at = |second: u64, what| watch.second(second * SECOND, what, 500);
        assert_eq!(at(1, &spoofed), None);
        assert_eq!(at(2, &calm), None);
        assert_eq!(at(3, &spoofed), None);
        assert_eq!(at(4, &spoofed), None);
        assert_eq!(at(5, &spoofed).unwrap().kind, Kind::Spoofed);
        assert_eq!(at(6, &mixed), None);
        assert_eq!(at(7, &spoofed), None);
        for second in 8..13 {
            assert_eq!(at(second, &calm), None, "{second}");
        }
        assert_eq!(at(13, &calm).unwrap().kind, Kind::None);
    }

    #[test]
    fn a_slow_flood_is_one_when_it_fills_the_queue() {
        let limits = Limits::new(511, &Wanted::default(), 65_536);
        assert_eq!(least_rate(&limits, false, 63 * SECOND), 500);
        assert_eq!(least_rate(&limits, true, 63 * SECOND), 2);
        assert_eq!(least_rate(&limits, true, SECOND), 128);
    }
}
