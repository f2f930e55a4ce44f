//! What a running guard may be told and asked, by the command line and over its
//! control socket. Needs root; without it the tests say so and pass, except where
//! `CI=true`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

#[path = "../common/mod.rs"]
mod common;

mod access;
mod document;
mod events;
mod modes;
mod prefixes;
mod settings;

use std::process::Output;

use xtask::lab::{Guard, Lab};

/// A verb's output, and its one line of error where it fails with this status.
#[track_caller]
fn fails(lab: &Lab, status: i32, arguments: &[&str]) -> String {
    let output = lab.syn_guard(arguments).unwrap().output().unwrap();
    one_line(&output, status)
}

#[track_caller]
fn one_line(output: &Output, status: i32) -> String {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(status), "{said}");
    assert!(output.stdout.is_empty(), "{output:?}");
    assert_eq!(said.lines().count(), 1, "{said}");
    said.trim_end().to_owned()
}

fn state(guard: &Guard, lab: &Lab) -> String {
    text(&guard.service(lab, 80).unwrap(), "state")
}

fn text(object: &serde_json::Value, key: &str) -> String {
    object[key].as_str().unwrap().to_owned()
}

/// All events, as `events --json` prints them.
fn events(lab: &Lab) -> Vec<serde_json::Value> {
    parsed(&lab.syn_guard_output(&["events", "--json"]).unwrap())
}

fn parsed(lines: &str) -> Vec<serde_json::Value> {
    let parse = |line| serde_json::from_str(line).unwrap();
    lines.lines().map(parse).collect()
}
