//! What CPUs write for forged SYNs that other CPUs read: hardly anything, so that
//! cost does not grow with CPUs. The loaded programs run over forged SYNs, and the
//! maps that are not per CPU are compared before and after.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use xtask::lab::{Alone, Flood, Frames, Guard, Lab, Nginx, Part, Program, Programs, SharedMaps};

/// More cookies than a CPU remembers one by one in a tick, `SENT_MANY`.
const MANY: u32 = 150_000;
/// SYNs that run one by one.
const SINGLE: u32 = 40;
/// The listener's line is written once a jiffy, which has at least 1 ms.
const LOOK_UP: Duration = Duration::from_millis(1);
/// A tick of the cookies ends now and then.
const TRIES: usize = 5;

const DENY: &str = "lists.deny=10.200.0.0/16";

/// A guard whose controller stands still: what changes, the data path changed.
struct Rig {
    lab: Lab,
    nginx: Nginx,
    guard: Guard,
    programs: Programs,
    shared: SharedMaps,
}

impl Rig {
    fn start(mode: &str) -> Option<Self> {
        let lab = Lab::for_test().unwrap()?;
        // What is counted by each CPU is counted by this one.
        Lab::stay_on_first_core().unwrap();
        let nginx = Nginx::start(&lab).unwrap();
        let mut guard = Guard::start(&lab, &["--mode", mode, "--set", DENY]).unwrap();
        guard.child().signal(Signal::SIGSTOP).unwrap();
        Some(Self {
            programs: guard.programs().unwrap(),
            shared: guard.shared_maps().unwrap(),
            lab,
            nginx,
            guard,
        })
    }

    fn alone(&self, flood: Flood) -> Alone {
        Alone::new(Part::Xdp, &Frames::Flood(flood)).unwrap()
    }

    fn run(&self, alone: &mut Alone, syns: u32) {
        let guard = Program::Guard(&self.programs.xdp);
        alone.run(&self.lab, guard, syns).unwrap();
    }

    /// Lines that each of some SYNs changed, added up by map.
    fn one_by_one(&self, alone: &mut Alone, shared: &SharedMaps, syns: u32) -> Changes {
        let mut sum = Changes::default();
        let mut before = shared.read().unwrap();
        for _ in 0..syns {
            self.run(alone, 1);
            let after = shared.read().unwrap();
            for (map, lines) in before.changed(&after) {
                *sum.entry(map).or_default() += lines;
            }
            before = after;
        }
        sum
    }

    fn stop(mut self) {
        self.guard.child().signal(Signal::SIGCONT).unwrap();
        assert!(self.guard.stop_at_once().unwrap().success());
        self.nginx.stop().unwrap();
    }
}

type Changes = BTreeMap<String, usize>;

fn names(changes: &Changes) -> BTreeSet<&str> {
    changes.keys().map(String::as_str).collect()
}

fn say(what: &str, changes: &Changes, syns: u32) {
    let lines: usize = changes.values().sum();
    let thousand = lines as f64 * 1000.0 / f64::from(syns);
    println!("{what}: {thousand:.2} lines for 1,000 SYNs: {changes:?} for {syns}");
}

#[test]
fn a_forged_syn_that_gets_a_cookie_writes_no_line_that_cpus_share() {
    let Some(rig) = Rig::start("protect") else {
        return;
    };
    println!("shared: {}", rig.shared.names().join(", "));
    for target in [rig.nginx.ipv4(), rig.nginx.ipv6()] {
        let mut alone = rig.alone(Flood::new(target));

        // While few cookies go they are remembered one by one.
        let few = rig.one_by_one(&mut alone, &rig.shared, SINGLE);
        say("few", &few, SINGLE);
        let documented = BTreeSet::from(["COOKIE_SENT", "NEAR_LISTENERS"]);
        assert!(names(&few).is_subset(&documented), "{few:?}");
        assert!(few.get("COOKIE_SENT").copied().unwrap_or(0) <= SINGLE as usize);

        // In a flood they are not.
        let listeners = rig.guard.shared_maps().unwrap().only("NEAR_LISTENERS");
        let clean = (0..TRIES).any(|_| {
            rig.run(&mut alone, MANY);
            let many = rig.one_by_one(&mut alone, &rig.shared, SINGLE);
            say("many, one by one", &many, SINGLE);

            // The listener's line changes by time, not by SYN.
            let start = Instant::now();
            let looks = rig.one_by_one(&mut alone, &listeners, 10 * SINGLE);
            let most = start.elapsed().as_nanos() / LOOK_UP.as_nanos() + 1;
            say("many, listeners only", &looks, 10 * SINGLE);
            assert!(
                looks.values().sum::<usize>() as u128 <= most,
                "{looks:?}, {most}"
            );

            let before = rig.shared.read().unwrap();
            rig.run(&mut alone, MANY);
            let bulk = before.changed(&rig.shared.read().unwrap());
            say("many, at once", &bulk, MANY);
            let in_bulk: usize = bulk.values().sum();
            let documented = BTreeSet::from(["NEAR_LISTENERS"]);
            names(&many).is_subset(&documented)
                && names(&bulk).is_subset(&documented)
                && in_bulk <= 2
        });
        assert!(clean, "{target}: other maps changed each time");
    }
    rig.stop();
}

#[test]
fn a_forged_syn_that_is_dropped_writes_no_line_that_cpus_share() {
    let Some(rig) = Rig::start("protect") else {
        return;
    };
    let denied = Flood::new(rig.nginx.ipv4()).sources([10, 200, 0, 0].into(), 1 << 16);
    let mut alone = rig.alone(denied);
    let single = rig.one_by_one(&mut alone, &rig.shared, SINGLE);
    say("denied, one by one", &single, SINGLE);
    assert_eq!(single, Changes::new());
    let before = rig.shared.read().unwrap();
    rig.run(&mut alone, MANY);
    let bulk = before.changed(&rig.shared.read().unwrap());
    say("denied, at once", &bulk, MANY);
    assert_eq!(bulk, Changes::new());
    rig.stop();
}

#[test]
fn a_syn_that_is_only_observed_writes_what_is_documented() {
    let Some(rig) = Rig::start("observe") else {
        return;
    };
    let mut alone = rig.alone(Flood::new(rig.nginx.ipv4()));
    // Past what may be tracked at once.
    rig.run(&mut alone, MANY);
    let before = rig.shared.read().unwrap();
    rig.run(&mut alone, MANY);
    let bulk = before.changed(&rig.shared.read().unwrap());
    say("observed, at once", &bulk, MANY);
    // The kernel keeps 15 bytes of a map's name.
    let documented = BTreeSet::from([
        "CONNECTION_FILT",
        "COOKIE_SENT",
        "HALF_OPEN",
        "HALF_OPEN_FILTE",
        "NEAR_CONNECTION",
        "SERVICE_STATE",
        "SOURCES",
    ]);
    assert!(names(&bulk).is_subset(&documented), "{bulk:?}");
    rig.stop();
}
