//! wrk with 400 connections at a time.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

use std::net::{IpAddr, SocketAddr};

use xtask::lab::{Lab, Nginx, NginxSetup};

use crate::compare::{Job, Tally, run, through_a_guard, without_a_guard};

const CONNECTIONS: u64 = 400;

/// Connections that nginx accepted, and errors that wrk counted.
fn work(lab: &Lab, nginx: &Nginx, close: bool, server: IpAddr) -> Tally {
    let before = nginx.accepted(lab).unwrap();
    let mut wrk = lab.client().command_within_a_minute("wrk");
    wrk.args(["--threads", "2", "--duration", "2s", "--timeout", "10s"])
        .args(["--connections", &CONNECTIONS.to_string()]);
    if close {
        wrk.args(["--header", "Connection: close"]);
    }
    let output = run(wrk.arg(format!("http://{}/", SocketAddr::from((server, 80)))));
    let text = String::from_utf8_lossy(&output.stdout);
    // One of them asks how many there are.
    let accepted = nginx.accepted(lab).unwrap() - before - 1;
    assert!(output.status.success() && accepted >= CONNECTIONS, "{text}");
    let requests = text.lines().find(|line| line.contains(" requests in "));
    println!("{}", requests.unwrap().trim());
    let failed = errors(&text);
    if failed > 0 {
        eprintln!("{text}");
    }
    Tally {
        tried: accepted,
        failed,
    }
}

/// One of two rounds must be without an error: with a connection a request wrk sees
/// one in millions of them fail without a guard, too. One that a guard breaks fails
/// in both.
fn good_of_two(round: impl Fn() -> Tally) -> Tally {
    let first = round();
    if first.failed == 0 {
        return first;
    }
    let second = round();
    Tally {
        tried: first.tried + second.tried,
        failed: first.failed.min(second.failed),
    }
}

/// wrk names errors only where there are any.
fn errors(text: &str) -> u64 {
    let numbers = |line: &str| -> u64 {
        line.split([' ', ','])
            .filter_map(|word| word.parse::<u64>().ok())
            .sum()
    };
    text.lines()
        .map(str::trim)
        .filter(|line| line.starts_with("Socket errors:") || line.starts_with("Non-2xx"))
        .map(|line| numbers(line.rsplit(':').next().unwrap_or_default()))
        .sum()
}

#[test]
fn errors_of_wrk_are_counted() {
    assert_eq!(errors("  1 requests in 2.00s, 1MB read\n"), 0);
    let text =
        "  Socket errors: connect 1, read 20, write 0, timeout 3\n  Non-2xx or 3xx responses: 4\n";
    assert_eq!(errors(text), 28);
}

#[test]
fn wrk_sees_no_error() {
    for guarded in [false, true] {
        // A lab for each: the second round's ports are not known to the server
        // from the first, and need cookies.
        let Some(lab) = Lab::for_test().unwrap() else {
            return;
        };
        let nginx = Nginx::start_with(
            &lab,
            &NginxSetup {
                keep_alive: true,
                ..NginxSetup::default()
            },
        )
        .unwrap();
        let keep = |server| work(&lab, &nginx, false, server);
        let close = |server| good_of_two(|| work(&lab, &nginx, true, server));
        let jobs = [
            Job::new("wrk -c 400", 80, &keep),
            Job::new("wrk -c 400, one connection a request", 80, &close),
        ];
        if guarded {
            through_a_guard(&lab, &jobs);
        } else {
            without_a_guard(&jobs);
        }
    }
}
