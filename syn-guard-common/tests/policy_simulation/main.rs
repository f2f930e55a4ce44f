//! Half an hour of mixed traffic, accelerated, through the policy: it says what
//! a person would say of each part, and when.

mod random;
mod server;
mod traffic;

use std::fmt::Write as _;

use random::Random;
use server::{SECOND, Server};
use syn_guard_common::abi::{Mode, State};
use syn_guard_common::policy::{Assessment, Kind, Limits, Reason, Rules, Trigger, Wanted, Why};
use traffic::Traffic;

/// How long a part may last until its kind is said: the second that is not
/// over, the one that handshakes have, two to be sure, five where a flood ends
/// and three until its last SYNs are forgotten.
const SAID: u64 = 10;
/// How long the hold is, seconds.
const HOLD: u64 = 60;
const LIFE: u64 = 63;

/// A part of the half-hour.
struct Part {
    name: &'static str,
    seconds: u64,
    traffic: Traffic,
    /// What a person would call it.
    kind: Kind,
    /// Whether it is more than the service takes; none: it depends.
    protects: Option<bool>,
}

/// Half an hour: every kind of flood, and calm between them.
fn script(limits: &Limits, random: &mut Random) -> Vec<Part> {
    let mut parts = Vec::new();
    let honest = Traffic::honest(random);
    let calm = |parts: &mut Vec<Part>, random: &mut Random| {
        parts.push(Part {
            name: "honest",
            seconds: LIFE + HOLD + random.between(15, 30),
            // Few enough at a time for the limit.
            traffic: Traffic {
                honest: random.between(0, 600),
                ..Traffic::honest(random)
            },
            kind: Kind::None,
            protects: None,
        });
    };
    let crowd = Traffic {
        honest: random.between(15_000, 20_000),
        round_trip_ms: random.between(5, 300),
        lost: random.between(0, 30),
        ..Traffic::default()
    };
    let spoofed = random.between(5_000, 300_000);
    let concentrated = random.between(5_000, 100_000);
    let attackers = random.between(1, 20);
    let mut attack = |name, kind, traffic: Traffic, seconds| {
        calm(&mut parts, random);
        parts.push(Part {
            name,
            seconds,
            traffic,
            kind,
            protects: Some(true),
        });
    };
    attack("spoofed", Kind::Spoofed, Traffic { spoofed, ..honest }, 60);
    attack(
        "concentrated",
        Kind::Concentrated,
        Traffic {
            concentrated,
            attackers,
            ..honest
        },
        60,
    );
    attack(
        "both",
        Kind::Mixed,
        Traffic {
            spoofed,
            concentrated: spoofed,
            attackers,
            ..honest
        },
        60,
    );
    attack(
        "pulses",
        Kind::Spoofed,
        Traffic {
            spoofed,
            pulse: 1,
            ..honest
        },
        30,
    );
    attack(
        "slow",
        Kind::Spoofed,
        Traffic {
            // Within 20 s it fills what the limit allows.
            spoofed: limits.half_open.on.div_ceil(20),
            honest: 20,
            ..honest
        },
        60,
    );
    attack(
        "answered by resets",
        Kind::Spoofed,
        Traffic {
            reset: 2 * limits.unanswered.on,
            round_trip_ms: 20,
            honest: 20,
            ..honest
        },
        60,
    );
    attack(
        "spoofed under a crowd",
        Kind::Spoofed,
        Traffic {
            spoofed: crowd.honest,
            ..crowd
        },
        60,
    );
    calm(&mut parts, random);
    parts.push(Part {
        name: "flash crowd",
        seconds: 120,
        traffic: crowd,
        kind: Kind::None,
        protects: None,
    });
    let so_far: u64 = parts.iter().map(|part| part.seconds).sum();
    parts.push(Part {
        name: "honest",
        seconds: 1800_u64.saturating_sub(so_far).max(30),
        traffic: honest,
        kind: Kind::None,
        protects: None,
    });
    parts
}

fn rules(backlog: u64) -> Rules {
    Rules {
        mode: Mode::Auto,
        limits: Limits::new(backlog, &Wanted::default(), 65_536),
        hold_ns: HOLD * SECOND,
        life_ns: LIFE * SECOND,
    }
}

/// What was said, and when.
#[derive(Default)]
struct Told {
    text: String,
    assessments: Vec<(u64, Assessment)>,
    /// Changes of state, and why.
    states: Vec<(u64, State, Why)>,
}

/// Runs the script and checks each part; what was said.
fn run(backlog: u64, seed: u64) -> Told {
    let mut random = Random::new(seed);
    let rules = rules(backlog);
    let script = script(&rules.limits, &mut random);
    let mut server = Server::new(rules, backlog, seed);
    let mut told = Told::default();
    let (mut now, mut attacks) = (0, 0);
    let mut before = Kind::None;
    for part in &script {
        let context = format!("backlog {backlog}, seed {seed}: {} at {now} s", part.name);
        let _ = writeln!(told.text, "{now:5} s {}: {:?}", part.name, part.traffic);
        let mut unsaid = 0;
        for second in 0..part.seconds {
            let (outcome, switched) = server.second(&part.traffic.in_second(second));
            now += 1;
            if let Some(assessment) = outcome.flood {
                let _ = writeln!(told.text, "{now:5} s   {assessment:?}");
                told.assessments.push((now, assessment));
            }
            if switched || outcome.change.is_some() {
                let (state, why) = (server.service.state(), server.service.why());
                let _ = writeln!(told.text, "{now:5} s   {}: {why:?}", state.name());
                told.states.push((now, state, why));
            }
            let kind = server.service.flood().kind;
            if kind == part.kind {
                unsaid = 0;
            } else {
                unsaid += 1;
                let still = kind == before;
                let part_of_it = part.kind != Kind::None && kind != Kind::None;
                assert!(
                    second < SAID + slow(part) && (still || part_of_it),
                    "{context}: {} in second {second}, {:?}\n{}",
                    kind.name(),
                    server.service.flood().numbers,
                    told.text
                );
            }
        }
        assert_eq!(unsaid, 0, "{context}: never said\n{}", told.text);
        if let Some(protects) = part.protects {
            let state = server.service.state();
            assert_eq!(
                state == State::Protecting,
                protects,
                "{context}\n{}",
                told.text
            );
        }
        if part.kind != Kind::None {
            attacks += 1;
        }
        assert_eq!(
            server.service.attacks(),
            attacks,
            "{context}\n{}",
            told.text
        );
        before = part.kind;
    }
    // The guard's own clients are served, whatever goes on.
    let (begun, completed) = server.honest;
    assert!(completed * 1000 >= begun * 999, "{completed} of {begun}");
    told
}

/// A slow flood fills the queue first.
fn slow(part: &Part) -> u64 {
    if part.name == "slow" { 25 } else { 0 }
}

#[test]
fn half_an_hour_of_mixed_traffic_is_told_as_a_person_would() {
    for (backlog, seed) in [(4096, 1), (511, 2), (1024, 3), (65_535, 4), (4096, 5)] {
        let told = run(backlog, seed);
        println!("backlog {backlog}, seed {seed}\n{}", told.text);
        let switches_on = told
            .states
            .iter()
            .filter(|(_, state, _)| *state == State::Protecting)
            .count();
        // One for each flood; a crowd may bring more, each after another hold.
        assert!((7..=10).contains(&switches_on), "{}", told.text);
        // Never less than the hold between a switch on and the next one off.
        for pair in told.states.windows(2) {
            if let [(on, State::Protecting, _), (off, State::Observing, _)] = pair {
                assert!(off - on >= HOLD, "{}", told.text);
            }
        }
    }
}

#[test]
fn a_flash_crowd_is_no_flood_even_where_it_fills_the_queue() {
    for round_trip_ms in [1, 20, 100, 300] {
        for backlog in [128, 4096, 65_535] {
            let mut server = Server::new(rules(backlog), backlog, round_trip_ms);
            let crowd = Traffic {
                honest: 20_000,
                round_trip_ms,
                lost: 10,
                ..Traffic::default()
            };
            for second in 0..200 {
                let traffic = if (20..140).contains(&second) {
                    crowd
                } else {
                    Traffic {
                        honest: 50,
                        ..crowd
                    }
                };
                let (outcome, _) = server.second(&traffic);
                assert_eq!(outcome.flood, None, "{round_trip_ms} ms, {backlog}");
                if let Why::Reached(Reason { trigger, .. }) = server.service.why() {
                    assert_ne!(trigger, Trigger::UnansweredRate);
                    let crowded = server.service.is_crowded();
                    let since = server.service.since_ns() / SECOND;
                    let known = second > since + 5 && second > 25;
                    assert!(
                        crowded || !known || server.service.state() != State::Protecting,
                        "{round_trip_ms} ms, {backlog}, second {second}"
                    );
                }
            }
            assert_eq!(server.service.attacks(), 0);
        }
    }
}

#[test]
fn a_flood_that_pulses_switches_once_on_and_once_off() {
    for (on_and_off, hold) in [(1, 5), (1, 60), (3, 10), (10, 30)] {
        let mut server = Server::new(
            Rules {
                hold_ns: hold * SECOND,
                life_ns: 3 * SECOND,
                ..rules(511)
            },
            511,
            7,
        );
        let pulses = Traffic {
            spoofed: 50_000,
            pulse: on_and_off,
            honest: 100,
            round_trip_ms: 20,
            ..Traffic::default()
        };
        let mut changes = Vec::new();
        for second in 0..200 {
            let traffic = if second < 30 {
                pulses.in_second(second)
            } else {
                Traffic {
                    spoofed: 0,
                    ..pulses
                }
            };
            let (outcome, switched) = server.second(&traffic);
            if switched {
                changes.push((second, State::Protecting));
            }
            changes.extend(outcome.change.map(|change| (second, change.to)));
        }
        let states: Vec<_> = changes.iter().map(|(_, state)| *state).collect();
        let once = [State::Protecting, State::Observing];
        assert_eq!(states, once, "{on_and_off} s, hold {hold} s: {changes:?}");
    }
}
