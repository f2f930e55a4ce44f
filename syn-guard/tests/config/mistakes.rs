//! Where values come from, and what is wrong: said with its place, and changes
//! nothing.

use std::{fs, time::Duration};

use nix::sys::signal::Signal;
use xtask::lab::{Guard, HandMade, Lab, Nginx, SERVER_INTERFACE, TcpOptions, binary};

use super::common::spoofed;
use super::{Configured, SOON, said};

#[test]
fn flags_override_the_file_and_show_says_where_values_come_from() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let text = "[detection]\nhold = 5\ncalm_percent = 40\n\n[services.80]\nmode = \"observe\"\n";
    let lab = Configured::new(lab, text);
    let with_file =
        |key, flags: &[&str]| lab.entry(key, &[&["--config", lab.file()], flags].concat());
    assert_eq!(
        with_file("detection.hold", &[]),
        (5.into(), "line 2".into())
    );
    assert_eq!(
        with_file("detection.hold", &["--hold", "7"]),
        (7.into(), "--hold".into())
    );
    assert_eq!(
        with_file("detection.hold", &["--set", "detection.hold=8"]),
        (8.into(), "--set".into())
    );
    assert_eq!(
        with_file("services.80.mode", &[]),
        ("observe".into(), "line 6".into())
    );
    assert_eq!(
        with_file("limits.source_rate", &[]),
        (200.into(), "default".into())
    );

    let _nginx = Nginx::start(&lab.lab).unwrap();
    let guard = lab.start(&["--hold", "7"]);
    // Now it is the guard that is asked.
    assert_eq!(
        lab.entry("detection.hold", &[]),
        (7.into(), "--hold".into())
    );
    assert_eq!(
        lab.entry("detection.calm_percent", &[]),
        (40.into(), "line 3".into())
    );
    assert_eq!(
        lab.entry("guard.interfaces", &[]),
        (vec![SERVER_INTERFACE].into(), "--iface".into())
    );
    let text = lab.lab.syn_guard_output(&["config", "show"]).unwrap();
    assert!(text.starts_with("# The running guard; file: "), "{text}");
    assert!(text.contains("\ncalm_percent = 40  "), "{text}");
    // What it prints is a file that says the same.
    let shown = lab.lab.path("shown.toml");
    fs::write(&shown, &text).unwrap();
    let shown = shown.to_str().unwrap();
    let checked = lab
        .lab
        .syn_guard_output(&["config", "check", shown])
        .unwrap();
    assert_eq!(checked, format!("{shown}: no mistakes\n"));
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_status_1() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let lab = Configured::new(lab, "[detection]\nhold = 0\n\n[gaurd]\nports = [80]\n");
    let file = lab.file();
    let run = |arguments: &[&str]| lab.lab.syn_guard(arguments).unwrap().output().unwrap();

    let check = run(&["config", "check", file]);
    assert_eq!(check.status.code(), Some(1));
    assert_eq!(
        said(&check),
        format!(
            "{file}:2:8: detection.hold = 0: expected seconds from 1 to 86400\n\
             {file}:4:2: unknown table [gaurd]: did you mean [guard]?\n\
             syn-guard: {file}: 2 mistakes\n"
        )
    );
    for arguments in [
        &["run", "--config", file][..],
        &["config", "show", "--config", file],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            said(&output),
            format!(
                "syn-guard: {file}:2:8: detection.hold = 0: expected seconds from 1 to 86400 (and 1 more: syn-guard config check {file})\n"
            )
        );
    }
    let missing = run(&["run", "--config", "/nonexistent/config.toml"]);
    assert_eq!(missing.status.code(), Some(1));
    assert_eq!(
        said(&missing),
        "syn-guard: /nonexistent/config.toml: No such file or directory (os error 2)\n"
    );
    let usage = run(&["run", "--set", "detection.hodl=5"]);
    assert_eq!(usage.status.code(), Some(2));
    let usage = said(&usage);
    assert!(
        usage.contains("did you mean \"hold\"?") && usage.lines().count() == 1,
        "{usage}"
    );
    assert!(!lab.lab.guard_state().exists(), "nothing was begun");
    assert!(binary().unwrap().exists());
}

#[test]
fn a_bad_file_changes_nothing_and_the_next_good_one_does() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let lab = Configured::new(lab, "[detection]\nhold = 5\n");
    let _nginx = Nginx::start(&lab.lab).unwrap();
    let mut guard = lab.start(&[]);
    let before = lab.lab.syn_guard_output(&["config", "show"]).unwrap();
    let said = lab.reload(
        &mut guard,
        "[detection]\nhold = 6\nmode = \"on\"\n",
        "the configuration stays as it was",
    );
    let place = format!("{}:3:8: detection.mode = \"on\": expected", lab.file());
    assert!(said.contains(" WARN ") && said.contains(&place), "{said}");
    let after = lab.lab.syn_guard_output(&["config", "show"]).unwrap();
    assert_eq!(after, before);

    lab.reload(
        &mut guard,
        "[detection]\nhold = 7\n[guard]\nxdp_mode = \"generic\"\n",
        "detection.hold: 5 -> 7",
    );
    let waits = "needs a restart: guard.xdp_mode: \"auto\" -> \"generic\"";
    guard.child().wait_for_line(waits, SOON).unwrap();
    assert_eq!(
        lab.entry("detection.hold", &[]),
        (7.into(), "line 2".into())
    );
    assert_eq!(lab.entry("guard.xdp_mode", &[]).0, "auto");
    let text = lab.lab.syn_guard_output(&["config", "show"]).unwrap();
    assert!(text.contains("\"generic\" after a restart"), "{text}");
    fs::remove_file(&lab.file).unwrap();
    guard.child().signal(Signal::SIGHUP).unwrap();
    let gone = "No such file or directory";
    guard.child().wait_for_line(gone, SOON).unwrap();
    assert_eq!(lab.entry("detection.hold", &[]).0, 7);
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn lists_that_are_broken_or_missing_change_nothing() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let path = |name: &str| lab.path(name).display().to_string();
    let (good, bad, none) = (path("good"), path("bad"), path("none"));
    fs::write(&good, "10.7.0.0/16\n").unwrap();
    fs::write(&bad, "10.8.0.0/16\n10.8.0.1/16\n").unwrap();
    let in_force = format!("[detection]\nhold = 5\n[lists]\ndeny_files = [\"{good}\"]\n");
    let lab = Configured::new(lab, &in_force);
    let mut guard = lab.start(&[]);
    let mut hand_made = HandMade::new(&lab.lab).unwrap();
    let mut port = 10_000;
    let mut denied = |guard: &Guard| {
        port += 1;
        let source = (spoofed(false, 1), port).into();
        let mut flow = hand_made
            .syn(source, nginx.ipv4(), TcpOptions::FULL)
            .unwrap();
        let answered = hand_made
            .syn_ack(&mut flow, Duration::from_secs(1))
            .unwrap();
        !answered && guard.status(&lab.lab).unwrap()["prefixes"]["deny"] == 1
    };
    let run = |arguments: &[&str]| lab.lab.syn_guard(arguments).unwrap().output().unwrap();
    let show = || run(&["config", "show"]).stdout;
    let before = show();
    let missing = format!("lists.allow_files: {none}: No such file or directory");
    let broken = format!("{bad}:2: 10.8.0.1/16 has host bits set: did you mean 10.8.0.0/16?");
    for (list, says) in [(&none, &missing), (&bad, &broken)] {
        // Nothing else of such a file holds either.
        let text = in_force.replace("hold = 5", "hold = 6");
        let text = format!("{text}allow_files = [\"{list}\"]\n");
        fs::write(&lab.file, text).unwrap();
        for arguments in [&["reload"][..], &["set", "lists.allow_files", list]] {
            let output = run(arguments);
            let said = said(&output);
            assert_eq!(output.status.code(), Some(1), "{arguments:?} {said}");
            assert!(said.contains(says) && said.lines().count() == 1, "{said}");
            assert_eq!(show(), before, "{arguments:?}");
        }
        guard.child().signal(Signal::SIGHUP).unwrap();
        let line = guard.child().wait_for_line(says, SOON).unwrap();
        assert!(line.contains("the configuration stays as it was"), "{line}");
        assert!(denied(&guard), "what was in force is");
    }
    // The list in force may break as well.
    fs::remove_file(&good).unwrap();
    fs::write(&lab.file, &in_force).unwrap();
    let output = run(&["reload"]);
    let gone = format!("{}:4:15: lists.deny_files: {good}: ", lab.file());
    assert!(said(&output).contains(&gone), "{}", said(&output));
    assert_eq!(output.status.code(), Some(1));
    assert!(run(&["set", "detection.hold", "7"]).status.success());
    assert!(denied(&guard), "what it said is in force");
    fs::write(&good, "10.7.0.0/16\n").unwrap();
    assert!(run(&["reload"]).status.success());
    assert!(denied(&guard));
    assert!(guard.stop_at_once().unwrap().success());
}
