//! Generated frames through the program and the model.
//!
//! `SYN_GUARD_SEED` sets the seed, which is printed, and `SYN_GUARD_FRAMES` the
//! number of frames.

use std::collections::{BTreeMap, HashSet};
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use syn_guard_common::abi::{Reason, State};
use xtask::lab::{Lab, patience};

use crate::generate::Generator;
use crate::reference::Engine;
use crate::regressions;
use crate::rig::{Disagreement, Rig, lab_for};
use crate::setting::{AUTO, set_up};

/// Frames in a run.
const FRAMES: u64 = 200_000;
/// How often each reason must come up among so many frames.
const ONE_IN: u64 = 2_000;
/// Frames after which the service that protects by itself is made to observe
/// again.
const CALM_EVERY: u64 = 4_000;

/// The program's filters forget after 65 s, the model never does: both begin anew
/// before.
const LONGEST: Duration = Duration::from_secs(50);

/// Kinds of disagreements after which the rest says nothing new.
const ENOUGH: usize = 10;

/// What XDP decides with either engine.
const REASONS: [Reason; 19] = [
    Reason::NotTcp,
    Reason::Unknown,
    Reason::NotGuarded,
    Reason::Segment,
    Reason::Observed,
    Reason::NoListener,
    Reason::KnownConnection,
    Reason::AcceptQueueFull,
    Reason::Unanswerable,
    Reason::CookieSent,
    Reason::Fragment,
    Reason::FragmentedSyn,
    Reason::Invalid,
    Reason::BadChecksum,
    Reason::BadSource,
    Reason::OtherHost,
    Reason::Allowed,
    Reason::Denied,
    Reason::StrayAck,
];

fn setting<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().ok().unwrap_or_else(|| panic!("{name}={text}")))
}

#[test]
fn the_program_does_what_the_model_says() {
    test(Engine::Reqsk);
}

#[test]
fn with_cookies_of_the_kernel_it_does_too() {
    test(Engine::Kernel);
}

fn test(engine: Engine) {
    let Some(lab) = lab_for(engine) else {
        return;
    };
    let seed = setting("SYN_GUARD_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        now.as_nanos() as u64
    });
    // An emulated machine is given fewer.
    let slower = u64::from(patience());
    let frames = setting("SYN_GUARD_FRAMES").unwrap_or(FRAMES / slower / slower);
    println!("SYN_GUARD_SEED={seed} SYN_GUARD_FRAMES={frames}");
    let work = || compare(&lab, engine, seed, frames);
    lab.server().run(work).unwrap();
}

fn compare(lab: &Lab, engine: Engine, seed: u64, frames: u64) {
    let mut generator = Generator::new(seed);
    let mut came_up: BTreeMap<&str, u64> = BTreeMap::new();
    let mut found = HashSet::new();
    let started = Instant::now();
    let mut index = 0;
    while index < frames {
        let mut rig = Rig::new(lab, engine);
        set_up(&mut rig, lab, seed);
        regressions::run(&mut rig);
        let (first, begun) = (index, Instant::now());
        while index < frames && begun.elapsed() < LONGEST {
            if index % CALM_EVERY == 0 {
                rig.forget_half_open(AUTO);
                rig.set_state(AUTO, State::Observing);
            }
            let frame = rig.fit(generator.frame());
            match rig.run(&frame) {
                Ok(reason) => *came_up.entry(reason.name()).or_default() += 1,
                Err(disagreement) => {
                    let kind = (
                        disagreement.program.reasons.clone(),
                        disagreement.model.reasons[0],
                    );
                    if found.insert(kind) {
                        let smaller = shrink(&mut rig, disagreement);
                        eprintln!("SYN_GUARD_SEED={seed} frame {index}\n{smaller}");
                    }
                    assert!(found.len() < ENOUGH, "many kinds of disagreements");
                }
            }
            index += 1;
        }
        assert!(found.is_empty(), "disagreements: {found:?}");
        for (port, (program, model)) in rig.counts() {
            assert_eq!(program, model, "port {port}");
        }
        let protections = rig.world.services[&AUTO].counts.protections;
        let least = (index - first) / CALM_EVERY / 2;
        assert!(protections >= least, "{protections}");
    }
    let took = started.elapsed();
    println!("{frames} frames in {took:.1?}: {came_up:#?}");
    let of_engine = (engine == Engine::Kernel).then_some(Reason::NoCookie);
    for reason in REASONS.into_iter().chain(of_engine) {
        let count = came_up.get(reason.name()).copied().unwrap_or(0);
        let least = frames / ONE_IN;
        assert!(count >= least, "{}: {count}", reason.name());
    }
}

/// Leaves out what the disagreement does not need: bytes from the end, and
/// values.
fn shrink(rig: &mut Rig, found: Box<Disagreement>) -> Box<Disagreement> {
    let mut best = found;
    let mut step = best.frame.bytes.len() / 2;
    while step > 0 {
        let mut frame = best.frame.clone();
        let length = frame.bytes.len().saturating_sub(step).max(14);
        frame.bytes.truncate(length);
        frame.linear = frame.linear.min(length);
        match rig.run(&frame) {
            Err(smaller) if frame.bytes.len() < best.frame.bytes.len() => best = smaller,
            _ => step /= 2,
        }
    }
    for at in 0..best.frame.bytes.len().min(200) {
        let mut frame = best.frame.clone();
        if std::mem::take(&mut frame.bytes[at]) != 0
            && let Err(smaller) = rig.run(&frame)
        {
            best = smaller;
        }
    }
    best
}
