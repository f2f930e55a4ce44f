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

/// A number of the server's stack, from a table of `/proc/net`.
fn of_the_stack(lab: &Lab, file: &str, table: &str, name: &str) -> u64 {
    let path = format!("/proc/net/{file}");
    let text = lab.server().output("cat", &[&path]).unwrap();
    let mut rows = text.lines().filter(|line| line.starts_with(table));
    let (names, values) = (rows.next().unwrap(), rows.next().unwrap());
    let at = names.split(' ').position(|it| it == name).unwrap();
    values.split(' ').nth(at).unwrap().parse().unwrap()
}

/// RSTs that the server's stack sent.
fn resets(lab: &Lab) -> u64 {
    of_the_stack(lab, "snmp", "Tcp: ", "OutRsts")
}
