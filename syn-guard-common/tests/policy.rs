//! Properties of the policy that hold whatever arrives, tried on generated
//! seconds.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

use proptest::collection::vec;
use proptest::prelude::*;
use syn_guard_common::abi::{Mode, State};
use syn_guard_common::policy::{
    Change, Counts, Kind, Limits, Outcome, Reason, Rules, Sample, Service, Sources, Switch,
    Trigger, Wanted, Why, harden,
};

const SECOND: u64 = 1_000_000_000;

/// What comes in a second.
#[derive(Clone, Copy, Debug, Default)]
struct Traffic {
    tracked: u64,
    untracked: u64,
    completed: u64,
    sent: u64,
    validated: u64,
    heavy: u64,
    new_sources: u64,
    half_open: u64,
    in_kernel: u64,
    retransmitted: u64,
    refused: u64,
    /// The data path switches in this second, where it may.
    switches: bool,
    /// How late the controller is, nanoseconds.
    late_ns: u64,
}

prop_compose! {
    fn traffic(most: u64)(
        tracked in 0..=most,
        untracked in 0..=most,
        completed in 0..=most,
        sent in 0..=most,
        validated in 0..=most,
        heavy in 0..=most,
        new_sources in 0..=4096_u64,
        half_open in 0..=most,
        in_kernel in 0..=most,
        retransmitted in 0..=most,
        refused in 0..=most,
        switches in any::<bool>(),
        late_ns in 0..SECOND / 2,
    ) -> Traffic {
        Traffic {
            tracked, untracked, completed, sent, validated, heavy, new_sources,
            half_open, in_kernel, retransmitted, refused, switches, late_ns,
        }
    }
}

/// Every kind of second, calm ones among them, so that states change.
fn seconds() -> impl Strategy<Value = Vec<Traffic>> {
    let one = prop_oneof![
        3 => Just(Traffic::default()),
        2 => traffic(10),
        2 => traffic(400),
        1 => traffic(100_000),
        1 => traffic(u64::MAX),
    ];
    // Several of a kind after each other.
    vec((one, 1..12_usize), 1..25).prop_map(|runs| {
        runs.into_iter()
            .flat_map(|(traffic, times)| vec![traffic; times])
            .collect()
    })
}

fn rules(mode: Mode) -> impl Strategy<Value = Rules> {
    let wanted = (
        proptest::option::of(0..2000_u64),
        proptest::option::of(0..2000_u64),
        0..20_u64,
        proptest::option::of(0..5000_u64),
        0..=100_u64,
    );
    (wanted, 0..5000_u64, 0..90_u64, 1..90_u64).prop_map(move |(wanted, backlog, hold, life)| {
        let wanted = Wanted {
            half_open: wanted.0,
            retransmitted: wanted.1,
            refused_rate: wanted.2,
            unanswered_rate: wanted.3,
            calm_percent: wanted.4,
        };
        Rules {
            mode,
            limits: Limits::new(backlog, &wanted, 65_536),
            hold_ns: hold * SECOND,
            life_ns: life * SECOND,
        }
    })
}

fn modes() -> impl Strategy<Value = Mode> {
    prop_oneof![
        1 => Just(Mode::Off),
        1 => Just(Mode::Observe),
        4 => Just(Mode::Auto),
        4 => Just(Mode::Protect),
    ]
}

/// A service with its data path.
struct Run {
    service: Service,
    rules: Rules,
    counts: Counts,
    state: State,
    since_ns: u64,
    second: u64,
    /// When it last began to protect.
    began_ns: u64,
}

impl Run {
    fn new(rules: Rules) -> Self {
        Self {
            service: Service::new(0),
            rules,
            counts: Counts::default(),
            state: State::Observing,
            since_ns: 0,
            second: 0,
            began_ns: 0,
        }
    }

    fn sample(&mut self, traffic: &Traffic) -> Sample {
        self.second += 1;
        let begun = traffic
            .tracked
            .saturating_add(traffic.untracked)
            .saturating_add(traffic.sent);
        let counts = &mut self.counts;
        for (count, more) in [
            (&mut counts.syns, begun),
            (&mut counts.tracked, traffic.tracked),
            (&mut counts.untracked, traffic.untracked),
            (&mut counts.completed, traffic.completed),
            (&mut counts.sent, traffic.sent),
            (&mut counts.validated, traffic.validated),
            (&mut counts.heavy, traffic.heavy),
        ] {
            *count = count.saturating_add(more);
        }
        let syns = begun.min(4096);
        Sample {
            now_ns: self.second * SECOND + traffic.late_ns,
            state: self.state,
            since_ns: self.since_ns,
            half_open: traffic.half_open,
            in_kernel: traffic.in_kernel,
            retransmitted: traffic.retransmitted,
            refused: traffic.refused,
            counts: self.counts,
            sources: Sources {
                syns,
                unanswered: traffic.new_sources.min(syns),
            },
        }
    }

    /// The operator says another mode.
    fn enter_mode(&mut self, mode: Mode) {
        let now_ns = self.second * SECOND + 3 * SECOND / 4;
        self.rules.mode = mode;
        if let Some(change) = self.service.demand(mode, now_ns) {
            self.state = change.to;
            self.since_ns = now_ns;
            if change.to == State::Protecting {
                self.began_ns = now_ns;
            }
        }
    }

    /// The data path switches, as it does in mode auto at a limit.
    fn switch(&mut self) {
        let at_ns = self.second * SECOND + SECOND / 2;
        let limit = self.rules.limits.half_open.on;
        self.state = State::Protecting;
        self.since_ns = at_ns;
        self.began_ns = at_ns;
        let reason = Reason {
            trigger: Trigger::HalfOpen,
            value: limit,
            limit,
            untracked: 0,
        };
        self.service.switched(&Switch { at_ns, reason }, at_ns);
    }

    fn take(&mut self, traffic: &Traffic) -> (Sample, Outcome) {
        let may = self.rules.mode == Mode::Auto && self.state == State::Observing;
        if traffic.switches && may {
            self.switch();
        }
        let sample = self.sample(traffic);
        let outcome = self.service.second(&sample, &self.rules);
        if let Some(state) = outcome.tell {
            self.state = state;
            self.since_ns = sample.now_ns;
            if state == State::Protecting {
                self.began_ns = sample.now_ns;
            }
        }
        (sample, outcome)
    }
}

/// Cut to what reaches no limit.
fn below_limits(traffic: &Traffic, limits: &Limits) -> Traffic {
    let below = |value: u64, limit: u64| value % limit.max(1);
    Traffic {
        half_open: below(traffic.half_open, limits.half_open.on),
        in_kernel: below(traffic.in_kernel, limits.half_open.on),
        retransmitted: below(traffic.retransmitted, limits.retransmitted.on),
        refused: below(traffic.refused, limits.refused.on),
        switches: false,
        ..*traffic
    }
}

/// With `more` handshakes, each of them begun and completed in this second.
fn with_handshakes(traffic: &Traffic, more: u64, by_cookie: bool) -> Traffic {
    let mut with = *traffic;
    let (begun, completed) = if by_cookie {
        (&mut with.sent, &mut with.validated)
    } else {
        (&mut with.tracked, &mut with.completed)
    };
    *begun += more;
    *completed += more;
    with
}

proptest! {
    #[test]
    fn nothing_protects_below_every_limit(rules in rules(Mode::Auto), seconds in seconds()) {
        let mut run = Run::new(rules);
        for traffic in &seconds {
            let (_, outcome) = run.take(&below_limits(traffic, &rules.limits));
            prop_assert_eq!(outcome.change, None);
            prop_assert_eq!(run.service.state(), State::Observing);
        }
    }

    #[test]
    fn who_protects_says_which_limit_was_reached(rules in rules(Mode::Auto), seconds in seconds()) {
        let mut run = Run::new(rules);
        for traffic in &seconds {
            let (sample, outcome) = run.take(traffic);
            let Some(change) = outcome.change.filter(|change| change.to == State::Protecting) else {
                continue;
            };
            let Why::Reached(reason) = change.why else {
                return Err(TestCaseError::fail(format!("{change:?}")));
            };
            let limits = &rules.limits;
            let (value, limit) = match reason.trigger {
                Trigger::HalfOpenInKernel => (sample.in_kernel, limits.half_open),
                Trigger::Retransmitted => (sample.retransmitted, limits.retransmitted),
                Trigger::Refused => {
                    prop_assert!(sample.in_kernel >= limits.near);
                    (sample.refused, limits.refused)
                }
                other => return Err(TestCaseError::fail(format!("{other:?}"))),
            };
            prop_assert_eq!((reason.value, reason.limit), (value, limit.on));
            prop_assert!(value >= limit.on);
        }
    }

    #[test]
    fn mode_observe_never_protects(rules in rules(Mode::Observe), seconds in seconds()) {
        let mut run = Run::new(rules);
        for traffic in &seconds {
            let (_, outcome) = run.take(traffic);
            prop_assert_eq!((outcome.change, outcome.tell), (None, None));
        }
        prop_assert_eq!(run.service.state(), State::Observing);
    }

    #[test]
    fn between_on_and_off_lies_the_hold_and_calm(rules in rules(Mode::Auto), seconds in seconds()) {
        let mut run = Run::new(rules);
        // Until when it was pressed for certain.
        let mut pressed_ns = 0;
        for traffic in &seconds {
            let (sample, outcome) = run.take(traffic);
            let pressure = run.service.signals().pressure;
            if !rules.limits.half_open.is_calm(pressure) {
                pressed_ns = sample.now_ns;
            }
            if outcome.change.is_some_and(|change| change.to == State::Observing) {
                prop_assert!(sample.now_ns - run.began_ns >= rules.hold_ns, "{} s", run.second);
                prop_assert!(sample.now_ns - pressed_ns >= rules.hold_ns);
                prop_assert!(rules.limits.half_open.is_calm(pressure));
            }
        }
    }

    #[test]
    fn nothing_is_released_within_the_hold_of_a_loud_second_whatever_the_modes(
        rules in rules(Mode::Auto),
        seconds in seconds(),
        modes in vec((modes(), 1..20_usize), 1..25),
    ) {
        let mut run = Run::new(rules);
        let modes = modes.into_iter().flat_map(|(mode, times)| vec![mode; times]);
        // When it was loud last while it protected.
        let mut loud_ns = 0;
        for (traffic, mode) in seconds.iter().zip(modes) {
            run.enter_mode(mode);
            let (sample, outcome) = run.take(traffic);
            let signals = run.service.signals();
            let limits = &rules.limits;
            let calm = limits.half_open.is_calm(signals.pressure)
                && limits.retransmitted.is_calm(signals.retransmitted)
                && limits.refused.is_calm(signals.refused);
            if !calm {
                loud_ns = sample.now_ns;
            }
            if let Some(Change { why: Why::Calm { .. }, .. }) = outcome.change {
                prop_assert_eq!(mode, Mode::Auto);
                prop_assert!(sample.now_ns - loud_ns >= rules.hold_ns, "{} s", run.second);
                prop_assert!(sample.now_ns - run.began_ns >= rules.hold_ns, "{} s", run.second);
            }
        }
    }

    #[test]
    fn calm_always_ends_in_observing(rules in rules(Mode::Auto), seconds in seconds()) {
        let mut run = Run::new(rules);
        for traffic in &seconds {
            run.take(traffic);
        }
        let was_protecting = run.service.state() == State::Protecting;
        // The window of the pressure is five seconds.
        let most = rules.hold_ns / SECOND + 8;
        let mut released = 0;
        for _ in 0..most {
            let (_, outcome) = run.take(&Traffic::default());
            released += u32::from(outcome.change.is_some());
        }
        prop_assert_eq!(run.service.state(), State::Observing);
        prop_assert_eq!(released, u32::from(was_protecting));
        // That of the kind is three, and another second; five more to be sure.
        for _ in most..10 {
            run.take(&Traffic::default());
        }
        prop_assert_eq!(run.service.flood().kind, Kind::None, "after {} s", most);
    }

    #[test]
    fn a_completed_handshake_raises_no_pressure(
        rules in rules(Mode::Auto),
        seconds in seconds(),
        more in vec(0..100_000_u64, 300),
    ) {
        let (mut without, mut with) = (Run::new(rules), Run::new(rules));
        for (traffic, more) in seconds.iter().zip(more) {
            let traffic = Traffic { switches: false, ..below_huge(traffic) };
            without.take(&traffic);
            with.take(&with_handshakes(&traffic, more, true));
            prop_assert!(with.service.signals().pressure <= without.service.signals().pressure);
            let protects = |run: &Run| run.service.state() == State::Protecting;
            prop_assert!(protects(&without) || !protects(&with));
        }
    }

    #[test]
    fn a_crowd_of_completed_handshakes_makes_no_flood(
        rules in rules(Mode::Observe),
        seconds in seconds(),
        more in 1..50_000_u64,
        from in 0..40_usize,
        by_cookie in any::<bool>(),
    ) {
        let (mut without, mut with) = (Run::new(rules), Run::new(rules));
        let mut was_none = true;
        for (index, traffic) in seconds.iter().enumerate() {
            let traffic = below_huge(traffic);
            without.take(&traffic);
            let more = if index >= from { more } else { 0 };
            with.take(&with_handshakes(&traffic, more, by_cookie));
            let (a, b) = (without.service.flood(), with.service.flood());
            prop_assert!(
                b.numbers.unanswered <= a.numbers.unanswered,
                "{:?} became {:?}", a, b
            );
            prop_assert!(b.numbers.answered_percent >= a.numbers.answered_percent);
            was_none &= a.kind == Kind::None;
            if was_none {
                prop_assert_eq!(b.kind, Kind::None);
            }
        }
    }

    #[test]
    fn a_crowd_alone_is_never_a_flood(
        rules in rules(Mode::Auto),
        crowd in vec(0..50_000_u64, 1..60),
    ) {
        let mut run = Run::new(rules);
        for handshakes in crowd {
            let traffic = with_handshakes(&Traffic::default(), handshakes, handshakes % 2 == 0);
            run.take(&traffic);
            prop_assert_eq!(run.service.flood().kind, Kind::None);
            prop_assert_eq!(run.service.state(), State::Observing);
        }
        prop_assert_eq!(run.service.attacks(), 0);
    }

    #[test]
    fn hardening_ends_after_calm_and_never_before(
        at in 0..200_u64,
        calm in 0..=100_u64,
        hold in 0..90_u64,
        shares in vec(0..300_u64, 1..200),
    ) {
        let mut ladder = harden::Ladder::new(at, calm, hold * SECOND);
        let mut hardened_at = None;
        for (second, share) in shares.iter().enumerate() {
            let now = second as u64 * SECOND;
            match ladder.second(now, *share) {
                Some(true) => {
                    prop_assert!(*share >= at);
                    prop_assert_eq!(hardened_at.replace(now), None);
                }
                Some(false) => {
                    let began = hardened_at.take().unwrap();
                    prop_assert!(now - began >= hold * SECOND);
                }
                None => {}
            }
            prop_assert_eq!(ladder.is_hardened(), hardened_at.is_some());
        }
        let end = shares.len() as u64;
        for second in end..=end + hold + 1 {
            let _ = ladder.second(second * SECOND, 0);
        }
        prop_assert!(!ladder.is_hardened());
    }
}

/// Numbers that a machine may really count, so that sums do not saturate.
fn below_huge(traffic: &Traffic) -> Traffic {
    let below = |value: u64| value % 10_000_000;
    let tracked = below(traffic.tracked);
    let sent = below(traffic.sent);
    Traffic {
        tracked,
        sent,
        untracked: below(traffic.untracked),
        completed: below(traffic.completed).min(tracked),
        validated: below(traffic.validated).min(sent),
        heavy: below(traffic.heavy),
        ..*traffic
    }
}
