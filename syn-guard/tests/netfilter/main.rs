//! Firewall rules, NAT and bridges in front of a guarded service: clients get what
//! they would get without a guard, and cookies where they may. Needs root and `nft`
//! (package nftables); without root the tests say so and pass, except where
//! `CI=true`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

#[path = "../common/mod.rs"]
mod common;

mod answers;
mod bridge;
mod clients;
mod dropped;
mod elsewhere;
mod ipvs;
mod lost;
mod modes;
mod nat;
mod servers;
mod stateful;
mod virtual_services;

use std::time::Duration;

use serde_json::Value;
use xtask::lab::{Guard, Lab};

/// Long enough for what happens at once, on a busy machine.
const SOON: Duration = Duration::from_secs(10);
/// Who makes cookies: the guard's choice, and the operator's.
const ENGINES: [&str; 2] = ["auto", "kernel"];

/// Has the server's firewall go by these rules of nftables and no others.
fn rules(lab: &Lab, text: &str) {
    let file = lab.path("rules.nft");
    std::fs::write(&file, format!("flush ruleset\n{text}\n")).unwrap();
    let arguments = ["-f", file.to_str().unwrap()];
    lab.server().output("nft", &arguments).unwrap();
}

/// Starts a guard that answers every SYN it may, with this engine.
fn protect(lab: &Lab, engine: &str) -> Guard {
    Guard::start(lab, &["--mode", "protect", "--engine", engine]).unwrap()
}

fn stop(guard: Guard) {
    assert!(guard.stop_at_once().unwrap().success());
}

/// Name and reason of the engine that makes cookies.
fn engine(guard: &Guard, lab: &Lab) -> (String, String) {
    let status = guard.status(lab).unwrap();
    let text = |key: &str| status[key].as_str().unwrap_or_default().to_owned();
    (text("engine"), text("engine_reason"))
}

/// A counter of a service.
fn counter(guard: &Guard, lab: &Lab, port: u16, name: &str) -> u64 {
    let service = guard.service(lab, port).unwrap();
    service["counters"][name].as_u64().unwrap()
}

/// Where a service has no cookies, and why.
fn stands_back(guard: &Guard, lab: &Lab, port: u16) -> String {
    let service = guard.service(lab, port).unwrap();
    let lines = service["stands_back"].as_array().unwrap();
    let lines: Vec<_> = lines.iter().map(|line| line.as_str().unwrap()).collect();
    lines.join("\n")
}

/// The texts of all events of a kind.
fn events(lab: &Lab, kind: &str) -> Vec<String> {
    let told = lab.syn_guard_output(&["events", "--json"]).unwrap();
    let events = told
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    events
        .filter(|event| event["kind"] == kind)
        .map(|event| event["text"].as_str().unwrap().to_owned())
        .collect()
}
