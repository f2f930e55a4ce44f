use super::*;
use crate::policy::Wanted;

const SECOND: u64 = 1_000_000_000;
const HOLD: u64 = 10;

fn rules(mode: Mode) -> Rules {
    Rules {
        mode,
        limits: Limits::new(511, &Wanted::default(), 65_536),
        hold_ns: HOLD * SECOND,
        life_ns: 63 * SECOND,
    }
}

/// A second in which the data path is in the service's own state.
fn sample(service: &Service, second: u64) -> Sample {
    Sample {
        now_ns: second * SECOND,
        state: service.state(),
        since_ns: service.since_ns(),
        half_open: 0,
        in_kernel: 0,
        retransmitted: 0,
        refused: 0,
        counts: Counts::default(),
        sources: Sources::default(),
    }
}

fn switch(at_ns: u64, value: u64) -> Switch {
    Switch {
        at_ns,
        reason: Reason {
            trigger: Trigger::HalfOpen,
            value,
            limit: 255,
            untracked: 0,
        },
    }
}

fn protecting() -> Service {
    let mut service = Service::new(0);
    assert!(service.switched(&switch(1, 255), 1).is_some());
    service
}

fn cookies(sent: u64, validated: u64) -> Counts {
    Counts {
        syns: sent,
        sent,
        validated,
        ..Counts::default()
    }
}

/// The second, of some, in which a service is released.
fn released(
    service: &mut Service,
    mode: Mode,
    seconds: std::ops::Range<u64>,
    counts: impl Fn(u64) -> Counts,
) -> Option<u64> {
    seconds.into_iter().find(|second| {
        let sample = Sample {
            counts: counts(*second),
            ..sample(service, *second)
        };
        let outcome = service.second(&sample, &rules(mode));
        outcome
            .change
            .is_some_and(|change| change.to == State::Observing)
    })
}

#[test]
fn one_switch_is_told_once() {
    let mut service = protecting();
    assert_eq!(service.switched(&switch(1, 256), 2), None, "another CPU");
    assert_eq!(service.switched(&switch(2, 257), 2), None, "another CPU");
    assert_eq!(service.why(), Why::Reached(switch(1, 255).reason));
    let now = released(&mut service, Mode::Auto, 1..60, |_| cookies(0, 0)).unwrap() * SECOND;
    assert_eq!(service.switched(&switch(now, 255), now + 1), None, "stale");
    assert_eq!(service.state(), State::Observing);
    assert!(service.switched(&switch(now + 1, 300), now + 2).is_some());
}

#[test]
fn a_late_event_still_says_the_number() {
    let mut service = Service::new(0);
    let found = Sample {
        state: State::Protecting,
        since_ns: 5,
        ..sample(&service, 1)
    };
    let outcome = service.second(&found, &rules(Mode::Auto));
    assert_eq!(outcome.change.unwrap().why, Why::Lost);
    assert_eq!(outcome.tell, None, "it is so already");
    assert_eq!(service.switched(&switch(5, 255), SECOND), None);
    assert_eq!(service.why(), Why::Reached(switch(5, 255).reason));
    assert_eq!(service.since_ns(), 5);
}

#[test]
fn each_signal_of_the_kernel_demands_protection_in_mode_auto() {
    type Set = fn(&mut Sample, u64);
    let signals: [(Trigger, u64, Set); 3] = [
        (Trigger::HalfOpenInKernel, 255, |sample, value| {
            sample.in_kernel = value;
        }),
        (Trigger::Retransmitted, 204, |sample, value| {
            sample.retransmitted = value;
        }),
        (Trigger::Refused, 5, |sample, value| {
            sample.in_kernel = 128;
            sample.refused = value;
        }),
    ];
    for (trigger, limit, set) in signals {
        let mut service = Service::new(0);
        let mut below = sample(&service, 1);
        set(&mut below, limit - 1);
        assert_eq!(service.second(&below, &rules(Mode::Auto)).change, None);
        let mut reached = sample(&service, 2);
        set(&mut reached, limit);
        for mode in [Mode::Observe, Mode::Off] {
            let mut service = service;
            assert_eq!(service.second(&reached, &rules(mode)).change, None);
        }
        let outcome = service.second(&reached, &rules(Mode::Auto));
        let expected = Reason {
            trigger,
            value: limit,
            limit,
            untracked: 0,
        };
        assert_eq!(outcome.change.unwrap().why, Why::Reached(expected));
        assert_eq!(outcome.tell, Some(State::Protecting));
    }
}

#[test]
fn connections_refused_elsewhere_are_no_reason() {
    let mut service = Service::new(0);
    let elsewhere = Sample {
        in_kernel: 127,
        refused: 1000,
        ..sample(&service, 1)
    };
    assert_eq!(service.second(&elsewhere, &rules(Mode::Auto)).change, None);
    assert_eq!(service.signals().refused, 0);
}

#[test]
fn a_takeover_in_a_long_flood_does_not_release() {
    let mut service = Service::new(1000 * SECOND);
    service.left(State::Protecting, 0, 1000 * SECOND);
    assert_eq!(service.since_ns(), 0);
    let counts = |second| cookies(second * 1000, 0);
    let found = released(&mut service, Mode::Auto, 1000..1030, counts);
    assert_eq!(found, None);
}

#[test]
fn one_sample_releases_nothing() {
    let mut service = Service::new(0);
    service.left(State::Protecting, 0, 0);
    let counts = |_| cookies(5, 0);
    let found = released(&mut service, Mode::Auto, 100..110, counts);
    assert_eq!(found, Some(101));
}

#[test]
fn it_holds_while_the_flood_lasts_and_releases_after_the_hold_time() {
    let mut service = protecting();
    let counts = |second: u64| cookies(second.min(60) * 1000, 0);
    let found = released(&mut service, Mode::Auto, 1..100, counts).unwrap();
    // The window of 5 s empties first.
    assert!((70..=76).contains(&found), "{found}");
    assert!(service.has_cookies_out());
    let later = Sample {
        now_ns: found * SECOND + DRAIN_NS,
        counts: counts(found),
        ..sample(&service, 0)
    };
    assert!(service.second(&later, &rules(Mode::Auto)).stop_validating);
    assert!(!service.has_cookies_out());
}

#[test]
fn honest_clients_alone_are_no_pressure() {
    let counts = |second| cookies(second * 5000, second * 5000);
    let found = released(&mut protecting(), Mode::Auto, 1..60, counts);
    assert_eq!(found, Some(11));
}

#[test]
fn mode_protect_is_never_released() {
    let mut service = Service::new(0);
    let change = service.demand(Mode::Protect, 1).unwrap();
    assert_eq!(change.why, Why::Mode(Mode::Protect));
    let found = released(&mut service, Mode::Protect, 1..100, |_| cookies(0, 0));
    assert_eq!(found, None);
    // In mode auto it is, when it was calm.
    assert_eq!(service.demand(Mode::Auto, 100 * SECOND), None);
    let found = released(&mut service, Mode::Auto, 100..200, |_| cookies(0, 0));
    assert_eq!(found, Some(100), "it was calm all the time");
}

#[test]
fn a_flood_in_mode_protect_is_held_in_mode_auto_as_well() {
    let mut service = Service::new(0);
    service.demand(Mode::Protect, 1).unwrap();
    let counts = |second: u64| cookies(second.min(60) * 1000, 0);
    // The mode becomes auto when the window of the flood, 5 s, has just emptied.
    let found = released(&mut service, Mode::Protect, 1..66, counts);
    assert_eq!(found, None);
    let found = released(&mut service, Mode::Auto, 66..100, counts).unwrap();
    assert!((70..=76).contains(&found), "{found}");
}

#[test]
fn a_mode_demands_a_state_or_leaves_it() {
    let states = [State::Off, State::Observing, State::Protecting];
    for (mode, expected) in [
        (Mode::Off, [None, Some(State::Off), Some(State::Off)]),
        (
            Mode::Observe,
            [Some(State::Observing), None, Some(State::Observing)],
        ),
        (Mode::Auto, [Some(State::Observing), None, None]),
        (
            Mode::Protect,
            [Some(State::Protecting), Some(State::Protecting), None],
        ),
    ] {
        assert_eq!(states.map(|state| demanded_state(mode, state)), expected);
    }
}

#[test]
fn what_was_not_told_is_told_again() {
    let mut service = protecting();
    let forgotten = Sample {
        state: State::Observing,
        ..sample(&service, 1)
    };
    let outcome = service.second(&forgotten, &rules(Mode::Auto));
    assert_eq!(outcome.tell, Some(State::Protecting));
    assert_eq!(outcome.change, None);
    service.demand(Mode::Observe, 2 * SECOND);
    let not_told = Sample {
        state: State::Protecting,
        since_ns: SECOND,
        ..sample(&service, 3)
    };
    let outcome = service.second(&not_told, &rules(Mode::Observe));
    assert_eq!(outcome.tell, Some(State::Observing));
    assert_eq!(outcome.change, None);
}

#[test]
fn a_flood_is_one_attack_until_it_is_over() {
    let mut service = Service::new(0);
    let mut begun = 0;
    for second in 1..60 {
        if second < 20 {
            begun += 10_000;
        }
        let flood = Sample {
            counts: Counts {
                syns: begun,
                untracked: begun,
                ..Counts::default()
            },
            sources: Sources {
                syns: 4096,
                unanswered: 4000,
            },
            ..sample(&service, second)
        };
        service.second(&flood, &rules(Mode::Observe));
        assert_eq!(service.attacks(), u64::from(second >= 5), "{second}");
        let expected = if (5..28).contains(&second) {
            Kind::Spoofed
        } else {
            Kind::None
        };
        assert_eq!(service.flood().kind, expected, "{second}");
    }
    assert_eq!(service.state(), State::Observing);
}
