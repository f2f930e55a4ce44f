//! The same work without a guard and through one, with all connections counted.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

use std::net::IpAddr;
use std::process::{Command, Output};
use std::time::Duration;

use xtask::lab::{Guard, Lab, SERVER_IPV4, SERVER_IPV6};

use crate::common::{SOON, verdict, wait_until};

/// The server's address of either family.
pub const FAMILIES: [(&str, IpAddr); 2] = [
    ("IPv4", IpAddr::V4(SERVER_IPV4)),
    ("IPv6", IpAddr::V6(SERVER_IPV6)),
];

/// What came of some connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Connections that were to be made.
    pub tried: u64,
    /// Those that were not made, or did not do all that they were to do.
    pub failed: u64,
}

impl Tally {
    /// Of `tried`, of which all but `succeeded` failed.
    pub fn new(tried: u64, succeeded: u64) -> Self {
        let failed = tried.saturating_sub(succeeded);
        Self { tried, failed }
    }
}

/// What a program does to a service.
pub struct Job<'a> {
    /// Its name.
    pub what: &'a str,
    /// The service.
    pub port: u16,
    /// Does it to the service on an address.
    pub work: &'a dyn Fn(IpAddr) -> Tally,
}

impl<'a> Job<'a> {
    /// Its name, the service's port, and what it does.
    pub fn new(what: &'a str, port: u16, work: &'a dyn Fn(IpAddr) -> Tally) -> Self {
        Self { what, port, work }
    }
}

/// Does all jobs without a guard, then through one.
pub fn without_and_with_a_guard(lab: &Lab, jobs: &[Job<'_>]) {
    without_a_guard(jobs);
    through_a_guard(lab, jobs);
}

/// Does all jobs over both families. No connection may fail.
pub fn without_a_guard(jobs: &[Job<'_>]) {
    for job in jobs {
        for (family, address) in FAMILIES {
            let tally = (job.work)(address);
            println!("{} over {family} without a guard: {tally:?}", job.what);
            assert_eq!(tally.failed, 0, "without a guard");
            assert!(tally.tried > 0);
        }
    }
}

/// Does all jobs over both families through a guard that protects, and that
/// has to find the services by itself. No connection may fail.
pub fn through_a_guard(lab: &Lab, jobs: &[Job<'_>]) {
    let guard = Guard::start(lab, &["--mode", "protect"]).unwrap();
    for job in jobs {
        for (family, address) in FAMILIES {
            let watch = Watch::begin(lab, &guard, job.port);
            let tally = (job.work)(address);
            watch.end(&format!("{} over {family}", job.what), tally);
        }
    }
    assert!(guard.stop_at_once().unwrap().success());
}

/// What a guard counts of one service from now on.
pub struct Watch<'a> {
    lab: &'a Lab,
    guard: &'a Guard,
    port: u16,
    before: Counts,
}

#[derive(Clone, Copy, Debug)]
pub struct Counts {
    sent: u64,
    validated: u64,
    rejected: u64,
    failed: u64,
    /// Of all services.
    known: u64,
}

impl<'a> Watch<'a> {
    /// As soon as the guard protects the service.
    pub fn begin(lab: &'a Lab, guard: &'a Guard, port: u16) -> Self {
        wait_until("the service is protected", Duration::from_secs(10), || {
            guard
                .service(lab, port)
                .is_ok_and(|service| service["state"] == "protecting")
        });
        let before = Counts::read(lab, guard, port);
        Self {
            lab,
            guard,
            port,
            before,
        }
    }

    /// No connection failed, and each became one by its cookie, or came to a
    /// socket that the stack had of the one before. Prints the figures.
    pub fn end(self, what: &str, tally: Tally) {
        let counts = self.end_under_way(what, tally);
        assert_eq!(counts.rejected, 0, "{what}: {counts:?}");
    }

    /// The same where the server closed while clients still sent: what comes after belongs to
    /// no connection.
    pub fn end_under_way(self, what: &str, tally: Tally) -> Counts {
        let since = || Counts::read(self.lab, self.guard, self.port).since(&self.before);
        assert_eq!(tally.failed, 0, "{what}: {tally:?}, {:?}", since());
        wait_until("the connections are counted", SOON, || {
            let counts = since();
            counts.validated + counts.known >= tally.tried
        });
        let counts = since();
        println!("{what}: {tally:?}, {counts:?}");
        let most = tally.tried + tally.tried / 20 + 1;
        assert!(
            counts.validated + counts.known <= most,
            "{what}: more than {most}: {counts:?}"
        );
        assert_eq!(counts.failed, 0, "{what}: {counts:?}");
        counts
    }
}

impl Counts {
    fn read(lab: &Lab, guard: &Guard, port: u16) -> Self {
        let service = guard.service(lab, port).unwrap();
        let count = |name: &str| service["counters"][name].as_u64().unwrap();
        Self {
            sent: count("cookies_sent"),
            validated: count("cookies_validated"),
            rejected: count("cookies_rejected"),
            failed: count("cookies_failed"),
            known: verdict(guard, lab, "known_connection"),
        }
    }

    fn since(self, before: &Self) -> Self {
        Self {
            sent: self.sent - before.sent,
            validated: self.validated - before.validated,
            rejected: self.rejected - before.rejected,
            failed: self.failed - before.failed,
            known: self.known - before.known,
        }
    }
}

/// Runs a program to its end. What it says of a failure stands in the test's
/// output.
pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    if !output.status.success() {
        eprintln!(
            "{}: {}: {}",
            xtask::command::shown(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    output
}
