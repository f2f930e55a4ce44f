//! The firewalls and container engines that servers have, as Debian brings them: clients get what
//! they get without a guard. Needs root and Debian's packages, which `cargo xtask setup` unpacks;
//! without them the tests say so and pass, except where `CI=true`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

#[path = "../common/mod.rs"]
mod common;

mod clients;
mod docker;
mod firewalld;
mod floods;
mod podman;
mod same_port;
mod ufw;

/// Answer every SYN.
const PROTECT: [&str; 2] = ["--mode", "protect"];
/// How often what may change is changed while clients come.
const CHANGES: usize = 10;
