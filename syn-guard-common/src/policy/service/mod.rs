//! A service's state machine: counts of a second and the data path's own
//! switches in, changes of state and of the kind of flood out.

use super::counts::{Window, per_second};
use super::flood::{LEAST_UNANSWERED, Watch, least_rate};
use super::{Assessment, Counts, Hold, Kind, Limits, Load, Reason, Sources, Trigger, Why};
use crate::abi::{Mode, State};

/// How long cookies are validated after the last was sent, nanoseconds: a
/// client retransmits its ACK or first data for some seconds.
pub const DRAIN_NS: u64 = 30_000_000_000;

/// When the kind of what made a service protect is known, nanoseconds: a second
/// that is not over, one that handshakes have, two to be sure.
const KIND_KNOWN_NS: u64 = 5_000_000_000;

/// What a service goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What it may do.
    pub mode: Mode,
    /// Its limits.
    pub limits: Limits,
    /// How long it must be calm before it stops protecting, nanoseconds.
    pub hold_ns: u64,
    /// How long the kernel keeps a half-open connection, nanoseconds.
    pub life_ns: u64,
}

/// What is known of a service at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When, `CLOCK_MONOTONIC` nanoseconds.
    pub now_ns: u64,
    /// The data path's state of it.
    pub state: State,
    /// Since when it has that.
    pub since_ns: u64,
    /// Half-open connections as the data path counts them.
    pub half_open: u64,
    /// Half-open connections as the kernel counts them.
    pub in_kernel: u64,
    /// Those of them that were retransmitted at least once.
    pub retransmitted: u64,
    /// Connections that the stack refused for want of backlog since the sample
    /// before, a second, whatever the service.
    pub refused: u64,
    /// Counts since it is guarded.
    pub counts: Counts,
    /// The sources of this second.
    pub sources: Sources,
}

/// What a limit says of the data path's switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch {
    /// When it switched.
    pub at_ns: u64,
    /// Why.
    pub reason: Reason,
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it was.
    pub from: State,
    /// What it is.
    pub to: State,
    /// Why.
    pub why: Why,
}

/// What is to be done after a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Outcome {
    /// The state changed.
    pub change: Option<Change>,
    /// The state that the data path must be told; none where it has it.
    pub tell: Option<State>,
    /// Cookies need not be validated any more.
    pub stop_validating: bool,
    /// The kind of flood changed.
    pub flood: Option<Assessment>,
}

/// The signals of the last second, each with a limit of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Signals {
    /// Half-open connections there would be without protection.
    pub pressure: u64,
    /// Half-open connections retransmitted at least once.
    pub retransmitted: u64,
    /// Connections refused a second, where they may be the service's.
    pub refused: u64,
}

/// A service.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    state: State,
    why: Why,
    since_ns: u64,
    signals: Signals,
    hold: Hold,
    window: Window,
    watch: Watch,
    attacks: u64,
    /// How many attacks there were before it began to protect.
    attacks_before: u64,
    crowded: bool,
    drained_at: Option<u64>,
}

impl Service {
    /// A service that is guarded from now on, and observes.
    #[must_use]
    pub fn new(now_ns: u64) -> Self {
        Self {
            state: State::Observing,
            why: Why::Begins,
            since_ns: now_ns,
            signals: Signals::default(),
            hold: Hold::new(now_ns),
            window: Window::new(),
            watch: Watch::default(),
            attacks: 0,
            attacks_before: 0,
            crowded: false,
            drained_at: None,
        }
    }

    /// An earlier guard left it in `state` since `since_ns`. It holds from now
    /// on: what the pressure was before is not known.
    pub const fn left(&mut self, state: State, since_ns: u64, now_ns: u64) {
        self.state = state;
        self.why = Why::Left;
        self.since_ns = since_ns;
        self.hold = Hold::new(now_ns);
    }

    /// Its state.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Why it is in that state.
    #[must_use]
    pub const fn why(&self) -> Why {
        self.why
    }

    /// Since when.
    #[must_use]
    pub const fn since_ns(&self) -> u64 {
        self.since_ns
    }

    /// The signals of the last second.
    #[must_use]
    pub const fn signals(&self) -> Signals {
        self.signals
    }

    /// The kind of flood that it is under, with the numbers of now.
    #[must_use]
    pub const fn flood(&self) -> Assessment {
        self.watch.assessment()
    }

    /// How often a flood began.
    #[must_use]
    pub const fn attacks(&self) -> u64 {
        self.attacks
    }

    /// Whether it protects though there was no flood: a crowd is more than its
    /// limit allows.
    #[must_use]
    pub const fn is_crowded(&self) -> bool {
        self.crowded
    }

    /// Whether cookies may still come back.
    #[must_use]
    pub const fn has_cookies_out(&self) -> bool {
        matches!(self.state, State::Protecting) || self.drained_at.is_some()
    }

    /// The change that its mode demands, made; the data path must be told.
    pub fn demand(&mut self, mode: Mode, now_ns: u64) -> Option<Change> {
        let to = demanded_state(mode, self.state)?;
        Some(self.enter(to, Why::Mode(mode), now_ns, now_ns))
    }

    /// The data path says that it started to protect; the change, if that is
    /// news. Several CPUs may tell of one switch, and what they tell may come
    /// after the state was read, or after the service was released.
    pub fn switched(&mut self, switch: &Switch, now_ns: u64) -> Option<Change> {
        let why = Why::Reached(switch.reason);
        if self.state == State::Protecting {
            if self.why == Why::Lost {
                self.why = why;
            }
            return None;
        }
        if switch.at_ns <= self.since_ns || self.state == State::Off {
            return None;
        }
        Some(self.enter(State::Protecting, why, switch.at_ns, now_ns))
    }

    /// Takes the counts of another second.
    pub fn second(&mut self, sample: &Sample, rules: &Rules) -> Outcome {
        let mut outcome = Outcome::default();
        if sample.state != self.state {
            if sample.state == State::Protecting
                && self.state == State::Observing
                && sample.since_ns > self.since_ns
            {
                // The ring buffer was full, or nobody read it yet.
                let change =
                    self.enter(State::Protecting, Why::Lost, sample.since_ns, sample.now_ns);
                outcome.change = Some(change);
            } else {
                // What it was told last did not arrive.
                outcome.tell = Some(self.state);
            }
        }
        self.window
            .push(sample.now_ns, sample.counts, sample.sources);
        let load = self.measure(sample, rules);
        // Whatever the mode: it may become auto in the middle of a flood.
        let calm = self.is_calm(load, rules);
        let is_over = self.state == State::Protecting
            && self.hold.is_over(sample.now_ns, calm, rules.hold_ns);
        match (rules.mode, self.state) {
            (Mode::Auto, State::Observing) => {
                if let Some(reason) = self.reached(sample, rules) {
                    let now = sample.now_ns;
                    outcome.change =
                        Some(self.enter(State::Protecting, Why::Reached(reason), now, now));
                    outcome.tell = Some(State::Protecting);
                }
            }
            // One sample says nothing of unanswered cookies.
            (Mode::Auto, State::Protecting)
                if is_over && load.is_some() && outcome.change.is_none() =>
            {
                let why = Why::Calm {
                    pressure: self.signals.pressure,
                    limit: rules.limits.half_open.off,
                    hold_ns: rules.hold_ns,
                };
                let now = sample.now_ns;
                outcome.change = Some(self.enter(State::Observing, why, now, now));
                outcome.tell = Some(State::Observing);
            }
            _ => {}
        }
        if self.state != State::Protecting && self.drained_at.is_some_and(|at| sample.now_ns >= at)
        {
            self.drained_at = None;
            outcome.stop_validating = true;
        }
        outcome.flood = self.judge(sample.now_ns, rules);
        self.crowded = self.is_crowd(sample.now_ns);
        outcome
    }

    fn is_crowd(&self, now_ns: u64) -> bool {
        let numbers = self.flood().numbers;
        self.state == State::Protecting
            && matches!(self.why, Why::Reached(_) | Why::Lost)
            && self.attacks == self.attacks_before
            && now_ns.saturating_sub(self.since_ns) >= KIND_KNOWN_NS
            && numbers.syns > 0
            && numbers.answered_percent >= 100 - LEAST_UNANSWERED
    }

    /// Works the signals out; the unanswered cookies, where they are known.
    fn measure(&mut self, sample: &Sample, rules: &Rules) -> Option<Load> {
        let half_open = sample.half_open.max(sample.in_kernel);
        let load = self
            .window
            .cookies_unanswered()
            .map(|(unanswered, window_ns)| Load {
                half_open,
                unanswered,
                window_ns,
            });
        let is_near = sample.in_kernel >= rules.limits.near;
        self.signals = Signals {
            pressure: load.map_or(half_open, |load| load.pressure(rules.life_ns)),
            retransmitted: sample.retransmitted,
            refused: if is_near { sample.refused } else { 0 },
        };
        load
    }

    /// The limit that the kernel's own signals reached. Half-open connections
    /// among them: an ACK that somebody forged ends one for the data path, not
    /// for the kernel.
    fn reached(&self, sample: &Sample, rules: &Rules) -> Option<Reason> {
        let limits = &rules.limits;
        [
            (
                Trigger::HalfOpenInKernel,
                sample.in_kernel,
                limits.half_open,
            ),
            (
                Trigger::Retransmitted,
                self.signals.retransmitted,
                limits.retransmitted,
            ),
            (Trigger::Refused, self.signals.refused, limits.refused),
        ]
        .into_iter()
        .find(|(_, value, limit)| limit.is_reached(*value))
        .map(|(trigger, value, limit)| Reason {
            trigger,
            value,
            limit: limit.on,
            untracked: 0,
        })
    }

    fn is_calm(&self, load: Option<Load>, rules: &Rules) -> bool {
        let limits = &rules.limits;
        let unanswered = load.map_or(0, |load| per_second(load.unanswered, load.window_ns));
        limits.half_open.is_calm(self.signals.pressure)
            && limits.retransmitted.is_calm(self.signals.retransmitted)
            && limits.refused.is_calm(self.signals.refused)
            && limits.unanswered.is_calm(unanswered)
    }

    /// Watches the kind of flood.
    fn judge(&mut self, now_ns: u64, rules: &Rules) -> Option<Assessment> {
        let over_its_limit = rules.limits.half_open.is_reached(self.signals.pressure)
            || (rules.mode == Mode::Auto && self.state == State::Protecting);
        let least = least_rate(&rules.limits, over_its_limit, rules.life_ns);
        let was = self.flood().kind;
        let assessment = self.watch.second(now_ns, &self.window.happened()?, least)?;
        if was == Kind::None {
            self.attacks += 1;
        }
        Some(assessment)
    }

    fn enter(&mut self, to: State, why: Why, since_ns: u64, now_ns: u64) -> Change {
        let from = self.state;
        if to == State::Protecting {
            self.hold = Hold::new(now_ns);
            self.drained_at = None;
            self.attacks_before = match self.flood().kind {
                Kind::None => self.attacks,
                // Under this one already.
                _ => self.attacks.saturating_sub(1),
            };
        } else if from == State::Protecting {
            self.drained_at = Some(now_ns.saturating_add(DRAIN_NS));
        }
        self.crowded = false;
        self.state = to;
        self.why = why;
        self.since_ns = since_ns;
        Change { from, to, why }
    }
}

/// The state that a mode demands of a service; none where it has it, or may
/// choose it.
const fn demanded_state(mode: Mode, state: State) -> Option<State> {
    match (mode, state) {
        (Mode::Off, State::Observing | State::Protecting) => Some(State::Off),
        (Mode::Observe, State::Off | State::Protecting) | (Mode::Auto, State::Off) => {
            Some(State::Observing)
        }
        (Mode::Protect, State::Off | State::Observing) => Some(State::Protecting),
        (Mode::Off, State::Off)
        | (Mode::Observe, State::Observing)
        | (Mode::Auto, State::Observing | State::Protecting)
        | (Mode::Protect, State::Protecting) => None,
    }
}

#[cfg(test)]
mod tests;
