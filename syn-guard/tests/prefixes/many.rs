//! A controller with many prefixes: they are in force when it begins; many that end
//! together, and more than there is room for. How long that takes, `cargo xtask bench
//! --check` compares.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use syn_guard::client;
use syn_guard::control::ListName;
use syn_guard_common::abi::MAX_PREFIXES;
use xtask::lab::{HandMade, Lab};

use super::common::{spoofed, wait_until};
use super::{Listed, MILLION, REREAD, SOON, hundred_thousand, listed};

#[test]
fn a_controller_has_a_hundred_thousand_prefixes_in_force_when_it_begins() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let listed_lab = Listed::new(lab);
    let lab = &listed_lab.lab;
    listed_lab.write("deny", &(hundred_thousand() + "10.7.0.0/16\n"));
    let guard = listed_lab.start(&["--mode", "observe"], &[]);
    assert!(listed(&guard, lab, "deny") > 95_000, "when it begins");
    let mut hand_made = HandMade::new(lab).unwrap();
    assert!(!listed_lab.answers(&mut hand_made, spoofed(false, 1), 10_000));
    // It says how long that took.
    let events = lab.syn_guard_output(&["events", "--json"]).unwrap();
    let seconds = events.lines().find_map(|line| {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        event["numbers"]["seconds"].as_f64()
    });
    assert!(seconds.is_some_and(|it| it > 0.0), "{events}");
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn many_that_end_together_do_not_hold_the_controller_up() {
    const MANY: u32 = 5_000;
    const LASTING: Duration = Duration::from_secs(60);
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let listed_lab = Listed::new(lab);
    let lab = &listed_lab.lab;
    listed_lab.write("deny", &hundred_thousand());
    let mut guard = listed_lab.start(&["--mode", "observe"], &[]);
    let by_file = listed(&guard, lab, "deny");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let socket = lab.guard_state().join("control.sock");
    let begun = Instant::now();
    for index in 0..MANY {
        let prefix = format!("2001:db8:2000:{index:x}::/64");
        let left = LASTING.saturating_sub(begun.elapsed());
        let add = client::add_prefix(&socket, ListName::Deny, &prefix, Some(left));
        runtime.block_on(add).unwrap();
    }
    println!("{MANY} more in {:.3?}", begun.elapsed());
    assert!(begun.elapsed() < LASTING, "the first ones are over already");
    assert_eq!(listed(&guard, lab, "deny"), by_file + u64::from(MANY));
    guard.child().signal(Signal::SIGSTOP).unwrap();
    std::thread::sleep((LASTING + Duration::from_secs(1)).saturating_sub(begun.elapsed()));
    guard.child().signal(Signal::SIGCONT).unwrap();
    wait_until("all are over", SOON, || {
        listed(&guard, lab, "deny") == by_file
    });
    let log = guard.log().unwrap();
    let said = log.matches("the time of ").count();
    assert!((2..100).contains(&said), "{log}");
    let mut hand_made = HandMade::new(lab).unwrap();
    assert!(listed_lab.answers(&mut hand_made, spoofed(true, 1), 10_000));
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn what_there_is_room_for_stays_in_force_and_the_rest_is_said_once() {
    const TOO_MANY: u32 = 1_000;
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let listed_lab = Listed::new(lab);
    let lab = &listed_lab.lab;
    // One is the configuration's.
    let mut text: String = (0..MAX_PREFIXES + TOO_MANY - 2)
        .map(|index| format!("{}\n", std::net::Ipv4Addr::from_bits((11 << 24) + index)))
        .collect();
    text.push_str("10.7.1.0/24\n");
    listed_lab.write("deny", &text);
    let guard = listed_lab.start(&["--mode", "observe"], &["10.7.0.0/24"]);
    let (first, last) = (spoofed(false, 1), spoofed(false, 0x101));
    let mut hand_made = HandMade::new(lab).unwrap();
    let mut port = 10_000;
    let mut answers = |source| {
        port += 1;
        listed_lab.answers(&mut hand_made, source, port)
    };
    assert_eq!(listed(&guard, lab, "deny"), u64::from(MAX_PREFIXES));
    assert_eq!(listed(&guard, lab, "left_out"), u64::from(TOO_MANY));
    assert!(!answers(first) && answers(last));
    let metrics = guard.metrics(lab).unwrap();
    assert!(metrics.contains("\nsyn_guard_prefixes_left_out 1000\n"));
    let status = lab.syn_guard_output(&["status"]).unwrap();
    assert!(
        status.contains("; 1000 not in force: list fewer"),
        "{status}"
    );

    // Also those are listed, page by page.
    let list = lab.syn_guard_output(&["deny", "list", "--json"]).unwrap();
    let list: Vec<serde_json::Value> = serde_json::from_str(&list).unwrap();
    assert_eq!(list.len(), (MAX_PREFIXES + TOO_MANY) as usize);
    let prefixes: BTreeSet<_> = list.iter().map(|it| it["prefix"].as_str()).collect();
    assert_eq!(prefixes.len(), list.len());
    // What is denied at run time is in force at once: the last of the file makes room.
    let late = spoofed(false, 0x201);
    assert!(answers(late));
    lab.syn_guard_output(&["deny", "add", &late.to_string()])
        .unwrap();
    assert!(!answers(late) && !answers(first));
    assert_eq!(listed(&guard, lab, "deny"), u64::from(MAX_PREFIXES));
    assert_eq!(listed(&guard, lab, "left_out"), u64::from(TOO_MANY) + 1);
    lab.syn_guard_output(&["deny", "del", &late.to_string()])
        .unwrap();
    assert!(answers(late));
    wait_until("one that was left out found room", MILLION, || {
        listed(&guard, lab, "left_out") == u64::from(TOO_MANY)
    });

    std::thread::sleep(REREAD);
    let log = guard.log().unwrap();
    let said = log.matches("prefixes are listed: the last ones").count();
    assert_eq!(
        (said, log.matches(" WARN prefixes").count()),
        (1, 0),
        "{log}"
    );

    listed_lab.write("deny", "10.7.1.0/24\n");
    wait_until("there is room", MILLION, || {
        listed(&guard, lab, "left_out") == 0 && listed(&guard, lab, "deny") == 2
    });
    assert!(!answers(first) && !answers(last));
    let log = guard.log().unwrap();
    let again = "all listed prefixes are in force again";
    assert_eq!(log.matches(again).count(), 1, "{log}");
    assert!(guard.stop_at_once().unwrap().success());
}
