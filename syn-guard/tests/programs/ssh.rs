//! OpenSSH: logins, and data both ways at once.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

use std::fs::{self, File};
use std::net::IpAddr;
use std::path::Path;

use xtask::lab::{Lab, Sshd};

use crate::compare::{Job, Tally, run, without_and_with_a_guard};

const LOGINS: u64 = 10;

fn logins(lab: &Lab, sshd: &Sshd, server: IpAddr) -> Tally {
    let succeeded = (0..LOGINS)
        .filter(|_| run(&mut sshd.login(lab, server, "true")).status.success())
        .count();
    Tally::new(LOGINS, succeeded as u64)
}

/// The file there and back.
fn echo(lab: &Lab, sshd: &Sshd, file: &Path, server: IpAddr) -> Tally {
    let output = run(sshd
        .login(lab, server, "cat")
        .stdin(File::open(file).unwrap()));
    let same = output.status.success() && output.stdout == fs::read(file).unwrap();
    Tally::new(1, u64::from(same))
}

#[test]
fn ssh_logs_in() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let sshd = Sshd::start(&lab, 22).unwrap();
    let file = lab.path("five-megabytes");
    let bytes: Vec<u8> = (0..5_000_000_u64 / 8)
        .flat_map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes())
        .collect();
    fs::write(&file, bytes).unwrap();
    let logins = |server| logins(&lab, &sshd, server);
    let echo = |server| echo(&lab, &sshd, &file, server);
    without_and_with_a_guard(
        &lab,
        &[
            Job::new("ssh logins", 22, &logins),
            Job::new("ssh, 5 MB both ways", 22, &echo),
        ],
    );
}
