//! Keys that are set while the guard runs, and the file that is read again.

use std::fs;
use std::time::Duration;

use xtask::lab::{Flood, Guard, Lab, Nginx};

use super::{events, fails, state, text};
use crate::common::wait_until;

#[test]
fn a_threshold_that_is_set_during_a_flood_holds_at_once_until_a_reload() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    // A half-open connection lives for 3 s: 100 SYNs a second keep 300 of them,
    // within the backlog of 511.
    lab.server()
        .set_sysctl("net.ipv4.tcp_synack_retries", "1")
        .unwrap();
    let nginx = Nginx::start(&lab).unwrap();
    let file = lab.path("config.toml");
    let good = "[detection]\nmax_half_open = 2000\nhold = 1\n[harden]\nenabled = false\n";
    fs::write(&file, good).unwrap();
    let guard = Guard::start(&lab, &["--config", file.to_str().unwrap()]).unwrap();
    let flood = Flood::new(nginx.ipv4())
        .rate(100)
        .duration(Duration::from_secs(60))
        .start(&lab)
        .unwrap();
    wait_until("the flood is seen", Duration::from_secs(30), || {
        guard.service(&lab, 80).unwrap()["half_open"].as_u64() > Some(150)
    });
    assert_eq!(state(&guard, &lab), "observing");
    let set = |key, value| lab.syn_guard_output(&["set", key, value]).unwrap();
    assert_eq!(
        set("detection.max_half_open", "100"),
        "detection.max_half_open: 2000 -> 100\n"
    );
    wait_until("the new limit holds", Duration::from_secs(30), || {
        state(&guard, &lab) == "protecting"
    });
    assert_eq!(guard.service(&lab, 80).unwrap()["limit"], 100);
    flood.stop().unwrap();
    assert_eq!(set("detection.max_half_open", "100"), "nothing changed\n");
    assert_eq!(
        set("detection.max_half_open", "default"),
        "detection.max_half_open: 100 -> 2000\n"
    );
    assert_eq!(set("detection.hold", "30"), "detection.hold: 1 -> 30\n");

    for (key, value, says) in [
        (
            "detection.hodl",
            "5",
            "unknown key \"hodl\" in [detection]: did you mean \"hold\"?",
        ),
        (
            "detection.hold",
            "soon",
            "detection.hold = soon: expected seconds from 1 to 86400",
        ),
        (
            "guard.engine",
            "kernel",
            "guard.engine cannot change while the guard runs: ",
        ),
    ] {
        let said = fails(&lab, 1, &["set", key, value]);
        assert!(said.starts_with(&format!("syn-guard: {says}")), "{said}");
    }

    fs::write(&file, format!("{good}max_syn_backlog = 1\n")).unwrap();
    let said = fails(&lab, 1, &["reload"]);
    let place = format!(
        "{}:6:19: harden.max_syn_backlog = 1: expected",
        file.display()
    );
    assert!(said.contains(&place), "{said}");
    let last = events(&lab).pop().unwrap();
    assert_eq!(
        (text(&last, "kind"), text(&last, "level")),
        ("config".into(), "warn".into())
    );
    fs::write(&file, good).unwrap();
    assert_eq!(
        lab.syn_guard_output(&["reload"]).unwrap(),
        "detection.hold: 30 -> 1\nno longer set at run time: detection.hold\n"
    );
    assert_eq!(
        lab.syn_guard_output(&["reload"]).unwrap(),
        "nothing changed\n"
    );
    assert!(guard.stop_at_once().unwrap().success());
}
