//! Honest clients, each with a page to fetch.

use std::net::SocketAddr;
use std::time::Duration;

use xtask::lab::{HonestClients, HonestReport, Lab, RunningClients, patiently};

/// Each of 20 clients gets its page.
#[track_caller]
pub fn twenty(lab: &Lab, target: SocketAddr, what: &str) {
    let clients = HonestClients {
        rate: 40,
        duration: Duration::from_millis(500),
        ..HonestClients::new(target)
    };
    let report = clients.run(lab).unwrap();
    assert_eq!(report.tried, 20);
    all_served(&report, &format!("{what}, {target}"));
}

/// Clients of a port that was published just now are served, at once and when
/// the guard has had the time to see who listens there.
#[track_caller]
pub fn twenty_from_now_on(lab: &Lab, target: SocketAddr, what: &str) {
    twenty(lab, target, &format!("{what}, at once"));
    std::thread::sleep(patiently(Duration::from_secs(3)));
    twenty(lab, target, &format!("{what}, later"));
}

/// None of these was lost.
#[track_caller]
pub fn all_served(report: &HonestReport, what: &str) {
    let HonestReport {
        tried,
        succeeded,
        p99,
        errors,
        ..
    } = report;
    println!("{what}: {succeeded} of {tried} got their page, 99 % within {p99:?}; {errors:?}");
    assert_eq!(succeeded, tried, "{what}: {errors:?}");
}

/// Clients that come all the time while something changes; none of them is lost.
#[track_caller]
pub fn none_lost_while(
    lab: &Lab,
    targets: &[SocketAddr],
    what: &str,
    mut change: impl FnMut(usize),
) {
    let mut clients: Vec<(SocketAddr, Vec<RunningClients>)> =
        targets.iter().map(|target| (*target, Vec::new())).collect();
    for number in 0..super::CHANGES {
        for (target, running) in &mut clients {
            running.push(a_while(*target).start(lab));
        }
        change(number);
    }
    for (target, running) in clients {
        let mut all = HonestReport::default();
        for clients in running {
            let report = clients.join().unwrap();
            all.tried += report.tried;
            all.succeeded += report.succeeded;
            all.p99 = all.p99.max(report.p99);
            for (error, count) in report.errors {
                *all.errors.entry(error).or_default() += count;
            }
        }
        all_served(&all, &format!("{what}, {target}"));
    }
}

/// 50 connections a second for as long as a change takes, with time for a SYN
/// or a segment that a firewall dropped while it changed.
fn a_while(target: SocketAddr) -> HonestClients {
    HonestClients {
        rate: 50,
        duration: Duration::from_secs(1),
        timeout: Duration::from_secs(15),
        ..HonestClients::new(target)
    }
}
