//! A guarded service as the controller sees it: why it is in its state, and
//! when it may leave it. Pure but for its inputs.

use std::collections::VecDeque;

use syn_guard_common::abi::{Event, Mode, ServiceCounters, State};
use syn_guard_common::policy::{Hold, Limits, Load};

/// How long unanswered cookies are counted for the pressure, samples of one
/// second.
const WINDOW: usize = 5;
/// How long cookies are validated after the last was sent, nanoseconds: a
/// client retransmits its ACK or first data for some seconds.
pub const DRAIN_NS: u64 = 30_000_000_000;

/// What the controller must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    None,
    /// Stop protecting.
    Release,
    /// Stop validating cookies.
    StopValidating,
}

/// A guarded service.
#[derive(Clone, Debug)]
pub struct Guarded {
    /// Its port.
    pub port: u16,
    /// Its slot.
    pub slot: u32,
    /// What it may do.
    pub mode: Mode,
    /// Its limits.
    pub limits: Limits,
    /// The listeners' backlog.
    pub backlog: u64,
    /// Whether the operator set the limit.
    pub limit_is_set: bool,
    /// The state as last seen.
    pub state: State,
    /// Why it is in that state.
    pub reason: String,
    /// Since when, `CLOCK_MONOTONIC` nanoseconds.
    pub since_ns: u64,
    /// The pressure of the last second.
    pub pressure: u64,
    hold: Option<Hold>,
    samples: VecDeque<(u64, u64)>,
    drained_at: Option<u64>,
}

impl Guarded {
    /// A service that begins in `state`, as its mode or an earlier controller
    /// left it.
    #[must_use]
    pub fn new(port: u16, slot: u32, mode: Mode, now_ns: u64) -> Self {
        Self {
            port,
            slot,
            mode,
            limits: Limits::new(0, None, 1),
            backlog: 0,
            limit_is_set: false,
            state: State::Observing,
            reason: "guarding begins".to_owned(),
            since_ns: now_ns,
            pressure: 0,
            hold: None,
            samples: VecDeque::new(),
            drained_at: None,
        }
    }

    /// What the limit is half of, for people.
    #[must_use]
    pub fn limit_words(&self) -> String {
        if self.limit_is_set {
            format!("the limit of {} (--max-half-open)", self.limits.on)
        } else {
            format!(
                "the limit of {} (half of the backlog of {})",
                self.limits.on, self.backlog
            )
        }
    }

    /// The data path says that the service started to protect.
    pub fn protecting(&mut self, event: &Event, hold_ns: u64) {
        let untracked = match event.untracked {
            0 => String::new(),
            count => format!(" and {count} untracked SYNs of this second"),
        };
        let reason = format!(
            "{} half-open connections{untracked} reached {}",
            event.half_open,
            self.limit_words()
        );
        self.enter(State::Protecting, reason, event.at_ns);
        self.hold = Some(Hold::new(event.at_ns, hold_ns));
        self.samples.clear();
        self.drained_at = None;
    }

    /// The state was found or set to be protecting, for another reason.
    pub fn protecting_because(&mut self, reason: String, now_ns: u64, hold_ns: u64) {
        self.enter(State::Protecting, reason, now_ns);
        self.hold = Some(Hold::new(now_ns, hold_ns));
        self.samples.clear();
        self.drained_at = None;
    }

    /// The service was released.
    pub fn released(&mut self, hold_seconds: u64, now_ns: u64) {
        let reason = format!(
            "the pressure of {} stayed below {} for {hold_seconds} s",
            self.pressure, self.limits.off
        );
        self.enter(State::Observing, reason, now_ns);
        self.hold = None;
        self.drained_at = Some(now_ns + DRAIN_NS);
    }

    fn enter(&mut self, state: State, reason: String, now_ns: u64) {
        self.state = state;
        self.reason = reason;
        self.since_ns = now_ns;
    }

    /// Takes the counts of another second; what is to be done.
    pub fn second(
        &mut self,
        half_open: u64,
        counters: &ServiceCounters,
        life_ns: u64,
        now_ns: u64,
    ) -> Action {
        let unanswered = counters
            .cookies_sent
            .saturating_sub(counters.cookies_validated);
        self.samples.push_back((now_ns, unanswered));
        if self.samples.len() > WINDOW + 1 {
            self.samples.pop_front();
        }
        let (first_ns, first) = self
            .samples
            .front()
            .copied()
            .unwrap_or((now_ns, unanswered));
        let load = Load {
            half_open,
            unanswered: unanswered.saturating_sub(first),
            window_ns: now_ns.saturating_sub(first_ns),
        };
        self.pressure = load.pressure(life_ns);
        if self.mode == Mode::Auto
            && let Some(hold) = &mut self.hold
            && hold.is_over(now_ns, self.pressure, self.limits)
        {
            return Action::Release;
        }
        if self.state != State::Protecting
            && self
                .drained_at
                .is_some_and(|drained_at| now_ns >= drained_at)
        {
            self.drained_at = None;
            return Action::StopValidating;
        }
        Action::None
    }

    /// Whether cookies may still come back.
    #[must_use]
    pub const fn has_cookies_out(&self) -> bool {
        matches!(self.state, State::Protecting) || self.drained_at.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const LIFE: u64 = 63 * SECOND;
    const HOLD: u64 = 10 * SECOND;

    fn protecting() -> Guarded {
        let mut guarded = Guarded::new(80, 0, Mode::Auto, 0);
        guarded.limits = Limits::new(511, None, 1000);
        guarded.backlog = 511;
        let event = Event {
            at_ns: 0,
            half_open: 255,
            limit: 255,
            slot: 0,
            untracked: 0,
        };
        guarded.protecting(&event, HOLD);
        guarded
    }

    fn counters(sent: u64, validated: u64) -> ServiceCounters {
        ServiceCounters {
            cookies_sent: sent,
            cookies_validated: validated,
            ..ServiceCounters::default()
        }
    }

    #[test]
    fn the_reason_has_value_and_limit() {
        assert_eq!(
            protecting().reason,
            "255 half-open connections reached the limit of 255 (half of the backlog of 511)"
        );
    }

    #[test]
    fn it_holds_while_the_flood_lasts_and_releases_after_the_hold_time() {
        let mut guarded = protecting();
        for second in 1..=60 {
            let action = guarded.second(0, &counters(second * 1000, 0), LIFE, second * SECOND);
            assert_eq!(action, Action::None, "second {second}");
        }
        let sent = 60_000;
        let released = (61..100)
            .find(|second| {
                guarded.second(0, &counters(sent, 0), LIFE, second * SECOND) == Action::Release
            })
            .unwrap();
        // The window of 5 s empties first.
        assert!((70..=76).contains(&released), "{released}");
        guarded.released(10, released * SECOND);
        assert_eq!(guarded.state, State::Observing);
        assert!(guarded.has_cookies_out());
        let later = released * SECOND + DRAIN_NS;
        assert_eq!(
            guarded.second(0, &counters(sent, 0), LIFE, later),
            Action::StopValidating
        );
        assert!(!guarded.has_cookies_out());
    }

    #[test]
    fn honest_clients_alone_are_no_pressure() {
        let mut guarded = protecting();
        let released = (1..60).find(|second| {
            let both = counters(second * 5000, second * 5000);
            guarded.second(3, &both, LIFE, second * SECOND) == Action::Release
        });
        assert_eq!(released, Some(10));
    }

    #[test]
    fn mode_protect_is_never_released() {
        let mut guarded = Guarded::new(80, 0, Mode::Protect, 0);
        guarded.protecting_because("mode protect".to_owned(), 0, HOLD);
        for second in 1..100 {
            let action = guarded.second(0, &counters(0, 0), LIFE, second * SECOND);
            assert_eq!(action, Action::None);
        }
    }
}
