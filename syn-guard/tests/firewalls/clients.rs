//! Honest clients, each with a page to fetch.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use xtask::lab::{Guard, HonestClients, HonestReport, Lab, RunningClients, patiently};

use crate::common::validated;

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

/// More than half of `tried` connections were made from cookies. Not all: the stack gets a
/// SYN now and then, and with each of the many changes of a reload, so that the guard sees
/// who answers.
#[track_caller]
pub fn with_cookies(guard: &Guard, lab: &Lab, tried: usize) {
    let validated = validated(guard, lab);
    assert!(validated * 2 > tried as u64, "{validated} of {tried}");
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

/// Clients that come all the time while something changes; none of them is
/// lost. How many there were.
#[track_caller]
pub fn none_lost_while(
    lab: &Lab,
    targets: &[SocketAddr],
    what: &str,
    change: impl FnOnce(),
) -> usize {
    let over = AtomicBool::new(false);
    let running = std::thread::scope(|scope| {
        let running = scope.spawn(|| come_until(lab, targets, &over));
        let end = Over(&over);
        change();
        drop(end);
        running.join().unwrap()
    });
    let mut reports = vec![HonestReport::default(); targets.len()];
    for (index, clients) in running {
        let (report, all) = (clients.join().unwrap(), &mut reports[index]);
        all.tried += report.tried;
        all.succeeded += report.succeeded;
        all.p99 = all.p99.max(report.p99);
        for (error, count) in report.errors {
            *all.errors.entry(error).or_default() += count;
        }
    }
    for (report, target) in reports.iter().zip(targets) {
        all_served(report, &format!("{what}, {target}"));
    }
    reports.iter().map(|report| report.tried).sum()
}

/// Says that it is over, when a change panics too.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Starts clients of each target, second after second; each with its target's
/// place among them.
fn come_until(
    lab: &Lab,
    targets: &[SocketAddr],
    over: &AtomicBool,
) -> Vec<(usize, RunningClients)> {
    let mut running = Vec::new();
    while !over.load(Ordering::Relaxed) {
        for (index, target) in targets.iter().enumerate() {
            running.push((index, a_second(*target).start(lab)));
        }
        std::thread::sleep(patiently(Duration::from_secs(1)));
    }
    running
}

/// 50 connections, with time for a SYN or a segment that a firewall dropped
/// while it changed.
fn a_second(target: SocketAddr) -> HonestClients {
    HonestClients {
        rate: 50,
        duration: Duration::from_secs(1),
        timeout: Duration::from_secs(15),
        ..HonestClients::new(target)
    }
}
