//! A guarded service as the controller sees it.

use std::time::Duration;

use syn_guard_common::abi::{Event, EventKind, Mode, State};
use syn_guard_common::policy::{
    Change, Counts, Limits, Reason, Rules, Service, Switch, Trigger, Wanted,
};

use super::Detection;
use super::reasons::{Origins, crowd};

pub use syn_guard_common::policy::DRAIN_NS;

/// A guarded service.
#[derive(Clone, Debug)]
pub struct Guarded {
    /// Its port.
    pub port: u16,
    /// Its slot.
    pub slot: u32,
    /// What it goes by.
    pub rules: Rules,
    /// Where that comes from.
    pub origins: Origins,
    /// Its state, and the kind of flood that it is under.
    pub policy: Service,
    /// Whether it was said that a crowd made it protect.
    pub crowd_said: bool,
    syns: u64,
    began_ns: u64,
}

impl Guarded {
    /// A service that is guarded from now on, and observes.
    #[must_use]
    pub fn new(port: u16, slot: u32, mode: Mode, now_ns: u64) -> Self {
        Self {
            port,
            slot,
            rules: Rules {
                mode,
                limits: Limits::new(0, &Wanted::default(), 1),
                hold_ns: u64::MAX,
                life_ns: 0,
            },
            origins: Origins::default(),
            policy: Service::new(now_ns),
            crowd_said: false,
            syns: 0,
            began_ns: now_ns,
        }
    }

    /// Goes by other rules.
    pub fn follow(&mut self, detection: &Detection, origins: Origins, capacity: u64, life_ns: u64) {
        let wanted = Wanted {
            half_open: detection.max_half_open,
            retransmitted: detection.max_retransmitted,
            refused_rate: detection.max_refused_rate,
            unanswered_rate: detection.max_unanswered_rate,
            calm_percent: detection.calm_percent,
        };
        self.rules = Rules {
            mode: detection.mode,
            limits: Limits::new(origins.backlog, &wanted, capacity),
            hold_ns: u64::try_from(detection.hold.as_nanos()).unwrap_or(u64::MAX),
            life_ns,
        };
        self.origins = origins;
    }

    /// What it may do.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.rules.mode
    }

    /// Its state.
    #[must_use]
    pub const fn state(&self) -> State {
        self.policy.state()
    }

    /// Why it is in that state.
    #[must_use]
    pub fn reason(&self) -> String {
        let why = self.origins.words(&self.policy.why());
        if self.policy.is_crowded() {
            format!("{why}; {}", crowd(&self.policy.flood().numbers))
        } else {
            why
        }
    }

    /// A change in words.
    #[must_use]
    pub fn change_words(&self, change: &Change) -> String {
        format!(
            "{} -> {}: {}",
            change.from.name(),
            change.to.name(),
            self.origins.words(&change.why)
        )
    }

    /// The data path says that the service started to protect; the change, if
    /// that is news.
    pub fn switched(&mut self, event: &Event, now_ns: u64) -> Option<Change> {
        let trigger = match event.kind()? {
            EventKind::HalfOpen => Trigger::HalfOpen,
            EventKind::UnansweredRate => Trigger::UnansweredRate,
            EventKind::SourceHalfOpen | EventKind::SourceRate | EventKind::StandsBack => {
                return None;
            }
        };
        let switch = Switch {
            at_ns: event.at_ns,
            reason: Reason {
                trigger,
                value: event.value,
                limit: event.limit,
                untracked: u64::from(event.untracked),
            },
        };
        self.policy.switched(&switch, now_ns)
    }

    /// Whether SYNs came since the last call.
    pub const fn has_more_syns(&mut self, counts: &Counts) -> bool {
        let more = counts.syns != self.syns;
        self.syns = counts.syns;
        more
    }

    /// Whether a half-open connection of that age in the kernel began while
    /// the service was guarded. Older ones may be left by a listener that is
    /// no more: they fill nobody's queue, and end with their next time-out.
    #[must_use]
    pub fn saw_begin(&self, age: Duration, life_ns: u64, now_ns: u64) -> bool {
        let guarded_ns = now_ns.saturating_sub(self.began_ns);
        // Ages are estimates that grow with every SYN sent again: nothing
        // lives longer than `life_ns`.
        guarded_ns >= life_ns || age.as_nanos() < u128::from(guarded_ns)
    }

    /// The share of its limit of half-open connections that it has, or would
    /// have without protection, percent.
    #[must_use]
    pub fn share_percent(&self) -> u64 {
        let pressure = u128::from(self.policy.signals().pressure);
        let share = pressure * 100 / u128::from(self.rules.limits.half_open.on.max(1));
        u64::try_from(share).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn_guard_common::address::Address;
    use syn_guard_common::policy::Why;

    const SECOND: u64 = 1_000_000_000;
    const LIFE: u64 = 63 * SECOND;

    fn event(kind: EventKind) -> Event {
        Event {
            at_ns: 1,
            value: 255,
            limit: 254,
            source: Address::default(),
            slot: 0,
            untracked: 3,
            kind: kind as u32,
            suppressed: 0,
        }
    }

    #[test]
    fn a_switch_is_told_with_its_numbers() {
        for (kind, trigger) in [
            (EventKind::HalfOpen, Trigger::HalfOpen),
            (EventKind::UnansweredRate, Trigger::UnansweredRate),
        ] {
            let mut guarded = Guarded::new(80, 0, Mode::Auto, 0);
            let change = guarded.switched(&event(kind), 2).unwrap();
            let reason = Reason {
                trigger,
                value: 255,
                limit: 254,
                untracked: 3,
            };
            assert_eq!(change.why, Why::Reached(reason));
            assert!(
                guarded
                    .change_words(&change)
                    .starts_with("observing -> protecting: 255 ")
            );
        }
        let mut guarded = Guarded::new(80, 0, Mode::Auto, 0);
        assert_eq!(guarded.switched(&event(EventKind::SourceRate), 2), None);
        assert_eq!(guarded.state(), State::Observing);
    }

    #[test]
    fn what_was_half_open_before_does_not_count() {
        let guarded = Guarded::new(80, 0, Mode::Auto, 100 * SECOND);
        let saw = |age, now| guarded.saw_begin(Duration::from_secs(age), LIFE, now * SECOND);
        assert!(!saw(0, 100));
        assert!(!saw(5, 105));
        assert!(saw(4, 105));
        assert!(saw(247, 163), "an estimate");
    }
}
