//! Following what happens.

use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use syn_guard::client;
use syn_guard::control::ProtectMode;
use syn_guard::events::Position;
use xtask::lab::{Child, Flood, Guard, Lab, Nginx, patiently};

use super::{events, parsed, state, text};
use crate::common::wait_until;

/// Long enough for what happens at once, on a busy machine.
const SOON: Duration = Duration::from_secs(30);

fn follow(lab: &Lab, arguments: &[&str]) -> Child {
    let all = [&["events", "--follow"], arguments].concat();
    let mut command = lab.syn_guard(&all).unwrap();
    lab.server().spawn(&mut command).unwrap()
}

/// Floods port 80 until it protects.
fn flood(lab: &Lab, guard: &Guard, nginx: &Nginx) {
    let flood = Flood::new(nginx.ipv4())
        .rate(5_000)
        .duration(Duration::from_secs(20))
        .start(lab)
        .unwrap();
    wait_until("it protects", SOON, || state(guard, lab) == "protecting");
    flood.stop().unwrap();
}

/// As the last of so many, with the limit that was reached.
fn the_switch_is_told(follower: &Child, number: usize, limit: u64) {
    let switches = || {
        let told = parsed(&follower.stdout().unwrap());
        let switches = told.into_iter().filter(|event| {
            text(event, "kind") == "state"
                && text(event, "text").starts_with("observing -> protecting: ")
        });
        switches.collect::<Vec<_>>()
    };
    wait_until("the switch is told", SOON, || switches().len() == number);
    let switch = switches().pop().unwrap();
    assert_eq!(switch["service"], 80);
    assert_eq!(switch["numbers"]["limit"], limit as f64, "{switch}");
    let reason = format!("limit of {limit}");
    assert!(text(&switch, "text").contains(&reason), "{switch}");
}

#[test]
fn a_follower_tells_a_flood_with_reason_and_numbers_and_goes_on_with_the_next_guard() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    lab.server()
        .set_sysctl("net.ipv4.tcp_synack_retries", "1")
        .unwrap();
    let nginx = Nginx::start(&lab).unwrap();
    let mut guard = Guard::start(&lab, &[]).unwrap();
    let mut follower = follow(&lab, &["--json"]);
    let mut readable = follow(&lab, &[]);
    flood(&lab, &guard, &nginx);
    the_switch_is_told(&follower, 1, 255);
    // Killed: whoever follows has no part in it, and the next one goes on.
    guard.child().signal(Signal::SIGKILL).unwrap();
    follower.wait_for_line("waiting for it", SOON).unwrap();
    drop(guard);
    let guard = Guard::start(&lab, &["--set", "detection.max_half_open=200"]).unwrap();
    follower.wait_for_line("was started anew", SOON).unwrap();
    lab.syn_guard_output(&["protect", "80", "off"]).unwrap();
    // What is left of the first flood would be a reason of its own.
    wait_until("the backlog is empty", SOON, || {
        guard.service(&lab, 80).unwrap()["half_open_kernel"] == 0
    });
    lab.syn_guard_output(&["protect", "80", "default"]).unwrap();
    flood(&lab, &guard, &nginx);
    the_switch_is_told(&follower, 2, 200);
    // Each once, in both runs.
    let told = parsed(&follower.stdout().unwrap());
    let anew = told
        .iter()
        .rposition(|event| event["sequence"] == 1)
        .unwrap();
    for run in [&told[..anew], &told[anew..]] {
        let sequences: Vec<_> = run.iter().map(|event| event["sequence"].as_u64()).collect();
        let expected: Vec<_> = (1..=run.len() as u64).map(Some).collect();
        assert_eq!(sequences, expected, "{told:?}");
    }
    let line = readable
        .wait_for_line("observing -> protecting: ", SOON)
        .unwrap();
    let columns: Vec<_> = line.split_whitespace().take(3).collect();
    assert_eq!(columns[1..], ["80", "state"], "{line}");
    assert!(columns[0].ends_with('Z'), "{line}");

    follower.signal(Signal::SIGINT).unwrap();
    assert!(follower.wait(SOON).unwrap().success());
    let notes = follower.stderr().unwrap();
    assert_eq!(notes.lines().count(), 2, "{notes}");
    assert!(readable.stop(SOON).unwrap().success());
}

#[test]
fn a_closed_pipe_ends_a_follower_quietly() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let _nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &[]).unwrap();
    lab.syn_guard_output(&["protect", "80", "on"]).unwrap();
    let mut command = lab.syn_guard(&["events", "--follow"]).unwrap();
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut follower = command.spawn().unwrap();
    // Read a little, as `head` does, and go away while nothing happens.
    let mut byte = [0];
    let mut out = follower.stdout.take().unwrap();
    std::io::Read::read_exact(&mut out, &mut byte).unwrap();
    drop(out);
    let deadline = Instant::now() + patiently(SOON);
    while follower.try_wait().unwrap().is_none() {
        if Instant::now() >= deadline {
            follower.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = follower.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn many_followers_get_all_events_and_delay_nobody() {
    const FOLLOWERS: usize = 64;
    const SWITCHES: usize = 10;

    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let _nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &[]).unwrap();
    // One that reads nothing.
    let mut stopped = follow(&lab, &["--json"]);
    std::thread::sleep(Duration::from_millis(500));
    stopped.signal(Signal::SIGSTOP).unwrap();

    let socket = lab.guard_state().join("control.sock");
    let begin = events(&lab).len();
    let last = (begin + SWITCHES * 4) as u64;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut followers = tokio::task::JoinSet::new();
        for _ in 0..FOLLOWERS {
            let socket = socket.clone();
            followers.spawn(async move {
                let mut at = Position::default();
                let mut got = 0;
                while at.after < last {
                    let page = client::events(&socket, &at, Duration::from_secs(8));
                    let page = page.await.unwrap();
                    got += page.events.len() as u64;
                    at.run = Some(page.run);
                    at.after = page.last;
                }
                got
            });
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        for _ in 0..SWITCHES {
            for mode in [ProtectMode::On, ProtectMode::Off] {
                // A client waits for 5 s, a follower for 8: nobody waits for a follower.
                client::set_mode(&socket, 80, mode).await.unwrap();
                client::status(&socket).await.unwrap();
            }
        }
        while let Some(got) = followers.join_next().await {
            assert_eq!(got.unwrap(), last, "none is missing, none comes twice");
        }
    });
    stopped.signal(Signal::SIGCONT).unwrap();
    wait_until("it has caught up", SOON, || {
        parsed(&stopped.stdout().unwrap()).len() as u64 == last
    });
    assert!(guard.stop_at_once().unwrap().success());
}
