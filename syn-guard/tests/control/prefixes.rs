//! Prefixes that are allowed and denied while the guard runs.

use std::net::TcpStream;
use std::time::Duration;

use xtask::lab::{Guard, Lab, Nginx};

use super::{events, fails, text};
use crate::common::{verdict, wait_until};

#[test]
fn prefixes_are_denied_for_a_time_allowed_and_taken_off() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &["--set", "lists.allow=203.0.113.0/24"]).unwrap();
    let ask = |arguments: &[&str]| lab.syn_guard_output(arguments).unwrap();
    let connects = |within| {
        let connect = || TcpStream::connect_timeout(&nginx.ipv4(), within).is_ok();
        lab.client().run(connect).unwrap()
    };
    let short = Duration::from_millis(700);
    assert!(connects(short));
    assert_eq!(ask(&["deny", "list"]), "nothing is on the list `deny`\n");
    let added = ask(&["deny", "add", "198.18.0.2", "--for", "10s"]);
    assert!(
        added.starts_with("deny   198.18.0.2/32  run time  ends in "),
        "{added}"
    );
    assert!(!connects(short));
    assert!(verdict(&guard, &lab, "denied") > 0);
    let status = guard.status(&lab).unwrap();
    assert_eq!(status["prefixes"]["deny"], 1, "{status}");
    let listed = ask(&["deny", "list", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["prefix"], "198.18.0.2/32");
    assert_eq!(listed[0]["origin"], "run time");
    assert!(listed[0]["ends_in_seconds"].as_u64().unwrap() <= 10);
    wait_until("its time is over", Duration::from_secs(15), || {
        ask(&["deny", "list"]).starts_with("nothing")
    });
    assert!(connects(short));

    ask(&["deny", "add", "198.18.0.0/24"]);
    assert!(!connects(short));
    // The longest decides.
    ask(&["allow", "add", "198.18.0.2"]);
    assert!(connects(short));
    assert_eq!(
        ask(&["allow", "list"]),
        "allow  198.18.0.2/32   run time\nallow  203.0.113.0/24  config\n"
    );
    assert_eq!(
        ask(&["allow", "del", "198.18.0.2"]),
        "no longer on the list `allow`\n"
    );
    assert!(!connects(short));
    ask(&["deny", "del", "198.18.0.0/24"]);
    assert!(connects(short));

    for (arguments, says) in [
        (
            &["deny", "add", "198.18.0.7/24"][..],
            "198.18.0.7/24 has host bits set: did you mean 198.18.0.0/24?",
        ),
        (
            &["deny", "del", "198.18.0.0/24"],
            "198.18.0.0/24 is not on the list `deny`: `syn-guard deny list` shows what is",
        ),
        (
            &["allow", "del", "203.0.113.0/24"],
            "203.0.113.0/24 is on the list `allow` by config: take it out there, ",
        ),
    ] {
        let said = fails(&lab, 1, arguments);
        assert!(said.starts_with(&format!("syn-guard: {says}")), "{said}");
    }
    let said = fails(&lab, 2, &["deny", "add", "192.0.2.1", "--for", "soon"]);
    assert!(said.contains("expected a time from 1s on"), "{said}");
    let told: Vec<_> = events(&lab)
        .iter()
        .filter(|event| event["kind"] == "prefix")
        .map(|event| text(event, "text"))
        .collect();
    for part in [
        "198.18.0.2/32 was put on the list `deny` for 10 s",
        "the time of 198.18.0.2/32 on the list `deny` is over",
        "198.18.0.0/24 was taken off the list `deny`",
    ] {
        assert!(told.iter().any(|text| text == part), "{part}: {told:?}");
    }
    assert!(guard.stop_at_once().unwrap().success());
}
