//! ACKs of no connection, forged ones and replayed ones. Needs root; without it
//! the tests say so and pass, except where `CI=true`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

#[path = "../common/mod.rs"]
mod common;

mod floods;
mod replays;
mod strays;
mod tries;

use xtask::lab::Lab;

use common::of_the_stack;

/// RSTs that the server's stack sent.
fn resets(lab: &Lab) -> u64 {
    of_the_stack(lab.server(), "snmp", "Tcp: ", "OutRsts")
}
