//! A guarded service as the controller sees it: why it is in its state, and
//! when it may leave it. Pure but for its inputs.

use std::collections::VecDeque;
use std::time::Duration;

use syn_guard_common::abi::{Event, EventKind, Mode, ServiceCounters, State};
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
    number_lost: bool,
    began_ns: u64,
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
            number_lost: false,
            began_ns: now_ns,
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

    /// The data path says that the service started to protect; whether that
    /// is news. Several CPUs may tell of one switch, and what they tell may
    /// come after the state was read, or after the service was released.
    pub fn protecting(&mut self, event: &Event, now_ns: u64, hold_ns: u64) -> bool {
        let untracked = match event.untracked {
            0 => String::new(),
            count => format!(" and {count} untracked SYNs of this second"),
        };
        let reason = if event.kind() == Some(EventKind::UnansweredRate) {
            format!(
                "{} unanswered SYNs a second reached the limit of {}",
                event.value, event.limit
            )
        } else {
            format!(
                "{} half-open connections{untracked} reached {}",
                event.value,
                self.limit_words()
            )
        };
        if self.state == State::Protecting {
            if self.number_lost {
                self.number_lost = false;
                self.reason = reason;
            }
            return false;
        }
        if event.at_ns <= self.since_ns {
            return false;
        }
        self.protecting_because(reason, event.at_ns, now_ns, hold_ns);
        true
    }

    /// The state was found to be protecting, without the event that says why.
    pub fn found_protecting(&mut self, since_ns: u64, now_ns: u64, hold_ns: u64) {
        let reason = format!(
            "half-open connections reached {} (their number was lost)",
            self.limit_words()
        );
        self.protecting_because(reason, since_ns, now_ns, hold_ns);
        self.number_lost = true;
    }

    /// The service has been protecting since `since_ns`. It holds from now
    /// on: what the pressure was before is not known.
    pub fn protecting_because(&mut self, reason: String, since_ns: u64, now_ns: u64, hold_ns: u64) {
        self.enter(State::Protecting, reason, since_ns);
        self.hold = Some(Hold::new(now_ns, hold_ns));
        self.samples.clear();
        self.drained_at = None;
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

    /// Why the service must protect though the data path counted less: the
    /// kernel itself has `kernel_half_open` half-open connections. An ACK that
    /// somebody forged ends one for the data path, not for the kernel.
    #[must_use]
    pub fn kernel_demands(&self, kernel_half_open: u64) -> Option<String> {
        (self.mode == Mode::Auto
            && self.state == State::Observing
            && kernel_half_open >= self.limits.on)
            .then(|| {
                format!(
                    "{kernel_half_open} half-open connections in the kernel reached {}",
                    self.limit_words()
                )
            })
    }

    /// The service was released.
    pub fn released(&mut self, hold_seconds: u64, now_ns: u64) {
        let reason = format!(
            "the pressure of {} stayed below {} for {hold_seconds} s",
            self.pressure, self.limits.off
        );
        self.stopped(State::Observing, reason, now_ns);
    }

    /// The service left its state for another one than protecting.
    pub fn stopped(&mut self, to: State, reason: String, now_ns: u64) {
        if self.state == State::Protecting {
            self.drained_at = Some(now_ns + DRAIN_NS);
        }
        self.enter(to, reason, now_ns);
        self.hold = None;
    }

    fn enter(&mut self, state: State, reason: String, now_ns: u64) {
        self.state = state;
        self.reason = reason;
        self.since_ns = now_ns;
        self.number_lost = false;
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
            // One sample says nothing of unanswered cookies.
            && self.samples.len() > 1
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
    use syn_guard_common::address::Address;

    const SECOND: u64 = 1_000_000_000;
    const LIFE: u64 = 63 * SECOND;
    const HOLD: u64 = 10 * SECOND;

    fn observing() -> Guarded {
        let mut guarded = Guarded::new(80, 0, Mode::Auto, 0);
        guarded.limits = Limits::new(511, None, 1000);
        guarded.backlog = 511;
        guarded
    }

    fn event(at_ns: u64, half_open: u64) -> Event {
        Event {
            at_ns,
            value: half_open,
            limit: 255,
            source: Address::default(),
            slot: 0,
            untracked: 0,
            kind: 1,
            suppressed: 0,
        }
    }

    fn protecting() -> Guarded {
        let mut guarded = observing();
        assert!(guarded.protecting(&event(1, 255), 1, HOLD));
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
    fn one_switch_is_told_once() {
        let mut guarded = protecting();
        assert!(!guarded.protecting(&event(1, 256), 2, HOLD), "another CPU");
        assert!(!guarded.protecting(&event(2, 257), 2, HOLD), "another CPU");
        assert!(guarded.reason.starts_with("255 "), "{}", guarded.reason);
        guarded.released(10, 9);
        assert!(!guarded.protecting(&event(9, 255), 10, HOLD), "stale");
        assert_eq!(guarded.state, State::Observing);
        assert!(guarded.protecting(&event(10, 300), 11, HOLD));
    }

    #[test]
    fn a_late_event_still_says_the_number() {
        let mut guarded = observing();
        guarded.found_protecting(5, 6, HOLD);
        assert!(guarded.reason.contains("number was lost"));
        assert!(!guarded.protecting(&event(5, 255), 7, HOLD));
        assert!(guarded.reason.starts_with("255 "), "{}", guarded.reason);
        assert_eq!(guarded.since_ns, 5);
    }

    #[test]
    fn the_kernels_own_count_demands_protection_in_mode_auto() {
        let mut guarded = observing();
        assert_eq!(guarded.kernel_demands(254), None);
        assert_eq!(
            guarded.kernel_demands(255).unwrap(),
            "255 half-open connections in the kernel reached the limit of 255 (half of the backlog of 511)"
        );
        assert_eq!(protecting().kernel_demands(300), None);
        guarded.mode = Mode::Observe;
        assert_eq!(guarded.kernel_demands(300), None);
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

    #[test]
    fn a_takeover_in_a_long_flood_does_not_release() {
        let mut guarded = observing();
        let now = 1000 * SECOND;
        guarded.protecting_because("left protecting".to_owned(), 0, now, HOLD);
        assert_eq!(guarded.since_ns, 0);
        for second in 0..30 {
            let sent = counters(100_000 + second * 1000, 0);
            let action = guarded.second(0, &sent, LIFE, now + second * SECOND);
            assert_eq!(action, Action::None, "second {second}");
        }
    }

    #[test]
    fn one_sample_releases_nothing() {
        let mut guarded = observing();
        guarded.protecting_because("left protecting".to_owned(), 0, 0, HOLD);
        let (late, sent) = (100 * SECOND, counters(5, 0));
        assert_eq!(guarded.second(0, &sent, LIFE, late), Action::None);
        assert_eq!(
            guarded.second(0, &sent, LIFE, late + SECOND),
            Action::Release
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
        assert_eq!(released, Some(11));
    }

    #[test]
    fn mode_protect_is_never_released() {
        let mut guarded = Guarded::new(80, 0, Mode::Protect, 0);
        guarded.protecting_because("mode protect".to_owned(), 0, 0, HOLD);
        for second in 1..100 {
            let action = guarded.second(0, &counters(0, 0), LIFE, second * SECOND);
            assert_eq!(action, Action::None);
        }
    }
}
