//! `syn-guard tune`: the advice, setting it and taking it back. Needs root;
//! without it the tests say so and pass, except where `CI=true`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

mod common;

use std::collections::BTreeMap;
use std::process::Output;
use std::time::Duration;

use common::{SOON, wait_until};
use nix::sys::signal::Signal;
use serde_json::Value;
use xtask::lab::{Flood, Guard, Lab, Nginx, NginxSetup, binary};

const RETRIES: &str = "net.ipv4.tcp_synack_retries";
/// What the tests find, none of it as recommended.
const BAD: [(&str, &str); 6] = [
    ("net.ipv4.tcp_syncookies", "0"),
    (RETRIES, "5"),
    ("net.ipv4.tcp_max_syn_backlog", "128"),
    ("net.core.somaxconn", "128"),
    ("net.ipv4.tcp_timestamps", "0"),
    ("net.ipv4.tcp_sack", "0"),
];

fn lab() -> Option<Lab> {
    let lab = Lab::for_test().unwrap()?;
    for (name, value) in BAD {
        lab.server().set_sysctl(name, value).unwrap();
    }
    Some(lab)
}

/// All settings of TCP and of the core in the server's namespace.
fn settings(lab: &Lab) -> BTreeMap<String, String> {
    let script = "grep -rH . /proc/sys/net/ipv4/tcp_* /proc/sys/net/core 2>/dev/null; true";
    let text = lab.server().output("sh", &["-c", script]).unwrap();
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn tune(lab: &Lab, flags: &[&str]) -> String {
    lab.syn_guard_output(&[&["tune"], flags].concat()).unwrap()
}

fn try_tune(lab: &Lab, flags: &[&str]) -> Output {
    let arguments = [&["tune"], flags].concat();
    lab.syn_guard(&arguments).unwrap().output().unwrap()
}

/// What is said of each setting, by its name.
fn advice(lab: &Lab) -> BTreeMap<String, Value> {
    let report: Value = serde_json::from_str(&tune(lab, &["--json"])).unwrap();
    let settings = report["settings"].as_array().unwrap();
    settings
        .iter()
        .map(|one| (one["setting"].as_str().unwrap().to_owned(), one.clone()))
        .collect()
}

fn stderr(output: &Output) -> &str {
    str::from_utf8(&output.stderr).unwrap()
}

#[test]
fn the_table_says_what_is_and_what_should_be_and_changes_nothing() {
    let Some(lab) = lab() else { return };
    let setup = NginxSetup {
        backlog: 64,
        ..NginxSetup::default()
    };
    let _nginx = Nginx::start_with(&lab, &setup).unwrap();
    let before = settings(&lab);
    let table = tune(&lab, &[]);
    let advice = advice(&lab);
    for (name, value) in BAD {
        let one = &advice[name];
        assert_eq!(one["current"], value, "{one}");
        let recommended = one["recommended"].as_str().unwrap();
        let line = table.lines().find(|line| line.starts_with(name)).unwrap();
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!(words[1..3], [value, recommended], "{line}");
        assert!(line.contains(one["reason"].as_str().unwrap()), "{line}");
    }
    assert!(advice["net.ipv4.tcp_window_scaling"]["recommended"].is_null());
    // A listener's own queue, with its program.
    let line = table.lines().find(|line| line.contains("queue of 64"));
    assert!(line.unwrap().starts_with("nginx (pid "), "{table}");
    assert_eq!(settings(&lab), before);
    assert!(!lab.guard_state().exists());
}

#[test]
fn what_is_applied_is_taken_back_exactly() {
    let Some(lab) = lab() else { return };
    let before = settings(&lab);
    let wanted = advice(&lab);
    let said = tune(&lab, &["--apply"]);
    for (name, value) in BAD {
        let recommended = wanted[name]["recommended"].as_str().unwrap();
        assert!(
            said.contains(&format!("{name}: {value} -> {recommended}\n"))
                && said.contains(&format!("\n{name} = {recommended}\n")),
            "{said}"
        );
        assert_eq!(lab.server().sysctl(name).unwrap(), recommended);
    }
    assert!(said.contains("until the next boot") && said.contains("/etc/sysctl.d/"));
    let applied = settings(&lab);
    let said = tune(&lab, &["--apply"]);
    assert!(said.contains("as recommended already"), "{said}");
    assert_eq!(settings(&lab), applied);
    // What somebody made worse since is set again; the first old value counts.
    lab.server().set_sysctl(RETRIES, "6").unwrap();
    tune(&lab, &["--apply"]);
    assert_eq!(settings(&lab), applied);

    let said = tune(&lab, &["--revert"]);
    assert!(
        said.contains("net.ipv4.tcp_syncookies is 0 again"),
        "{said}"
    );
    assert_eq!(settings(&lab), before);
    assert!(tune(&lab, &["--revert"]).contains("nothing was applied"));
    assert_eq!(settings(&lab), before);
    assert!(!lab.guard_state().exists());
}

#[test]
fn what_others_changed_since_is_left_and_said() {
    let Some(lab) = lab() else { return };
    let mut before = settings(&lab);
    tune(&lab, &["--apply"]);
    lab.server().set_sysctl(RETRIES, "4").unwrap();
    let said = try_tune(&lab, &["--revert"]);
    let said = format!("{}{}", String::from_utf8_lossy(&said.stdout), stderr(&said));
    let line = said.lines().find(|line| line.contains(RETRIES)).unwrap();
    assert!(line.contains('4') && !line.contains("again"), "{said}");
    before.insert("/proc/sys/net/ipv4/tcp_synack_retries".into(), "4".into());
    assert_eq!(settings(&lab), before);
}

#[test]
fn flags_that_exclude_each_other_and_users_who_may_not() {
    let Some(lab) = lab() else { return };
    let before = settings(&lab);
    for flags in [["--apply", "--revert"], ["--revert", "--json"]] {
        assert_eq!(try_tune(&lab, &flags).status.code(), Some(2), "{flags:?}");
    }
    let as_nobody = |flags: &[&str]| {
        let mut command = lab.server().command("setpriv");
        command
            .args(["--reuid", "65534", "--clear-groups"])
            .arg(binary().unwrap())
            .arg("tune")
            .args(flags)
            .arg("--state-dir")
            .arg(lab.guard_state());
        command.output().unwrap()
    };
    let shown = as_nobody(&[]);
    assert!(shown.status.success(), "{}", stderr(&shown));
    assert!(String::from_utf8_lossy(&shown.stdout).contains(RETRIES));
    for flag in ["--apply", "--revert"] {
        let refused = as_nobody(&[flag]);
        assert_eq!(refused.status.code(), Some(1));
        let said = stderr(&refused);
        assert!(said.contains("root") && said.lines().count() == 1, "{said}");
    }
    assert_eq!(settings(&lab), before);
}

#[test]
fn what_a_guard_keeps_on_is_no_error() {
    let Some(lab) = lab() else { return };
    let before = settings(&lab);
    let guard = Guard::start(&lab, &["--mode", "auto"]).unwrap();
    assert_eq!(lab.server().sysctl("net.ipv4.tcp_syncookies").unwrap(), "1");
    let said = tune(&lab, &["--apply"]);
    assert!(
        said.contains("net.ipv4.tcp_syncookies: syn-guard needs it")
            && said.contains("\nnet.ipv4.tcp_syncookies = 1\n"),
        "{said}"
    );
    assert_eq!(lab.server().sysctl(RETRIES).unwrap(), "3");
    tune(&lab, &["--revert"]);
    assert!(guard.stop(Signal::SIGTERM).unwrap().success());
    assert_eq!(settings(&lab), before);
}

#[test]
fn a_guard_that_hardens_meanwhile_loses_nothing_of_what_was_there() {
    let Some(lab) = lab() else { return };
    lab.server()
        .set_sysctl("net.core.somaxconn", "4096")
        .unwrap();
    let before = settings(&lab);
    let nginx = Nginx::start(&lab).unwrap();
    // Once the guard changes what tune has changed, once the other way round.
    for tuned_first in [true, false] {
        if tuned_first {
            tune(&lab, &["--apply"]);
        }
        let guard = Guard::start(&lab, &["--mode", "auto", "--hold", "2"]).unwrap();
        let flood = Flood::new(nginx.ipv4())
            .rate(5_000)
            .duration(Duration::from_secs(10))
            .start(&lab)
            .unwrap();
        wait_until("it is hardened", 2 * SOON, || {
            lab.server().sysctl(RETRIES).unwrap() == "2"
        });
        let flag = if tuned_first { "--revert" } else { "--apply" };
        // What the guard has changed for now is not for tune to change.
        let refused = try_tune(&lab, &[flag]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(stderr(&refused).contains(RETRIES), "{}", stderr(&refused));
        assert_eq!(lab.server().sysctl(RETRIES).unwrap(), "2");
        flood.stop().unwrap();
        assert!(guard.stop(Signal::SIGTERM).unwrap().success());
        assert_ne!(lab.server().sysctl(RETRIES).unwrap(), "2");
        tune(&lab, &["--revert"]);
        assert_eq!(settings(&lab), before, "tuned first: {tuned_first}");
    }
}
