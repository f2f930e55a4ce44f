//! The metrics as a Prometheus server would read them.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use std::{
    collections::BTreeSet,
    env,
    io::{ErrorKind, Write as _},
    process::{Command, Stdio},
};

use syn_guard::{
    metrics::{ProcessUsage, render, render_process},
    report::Report,
};

fn sample() -> Report {
    serde_json::from_str(include_str!("../src/status/sample.json")).unwrap()
}

fn rendered() -> String {
    let usage = ProcessUsage {
        resident_bytes: 8 << 20,
        cpu_seconds: 1.25,
    };
    render(&sample()).unwrap() + &render_process(usage).unwrap()
}

#[track_caller]
fn has(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|l| l == *line), "no `{line}` in:\n{text}");
    }
}

#[test]
fn promtool_finds_nothing() {
    let spawned = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = match spawned {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            assert!(
                !env::var("CI").is_ok_and(|ci| ci == "true"),
                "promtool is not installed"
            );
            eprintln!("skipped: promtool is not installed");
            return;
        }
        spawned => spawned.unwrap(),
    };
    let mut input = promtool.stdin.take().unwrap();
    input.write_all(rendered().as_bytes()).unwrap();
    drop(input);
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert_eq!(String::from_utf8_lossy(&said), "");
    assert!(output.status.success());
}

#[test]
fn values_carry_their_labels() {
    has(
        &rendered(),
        &[
            r#"syn_guard_build_info{version="0.1.0",commit="0123456789ab"} 1"#,
            "syn_guard_start_time_seconds 1784541600.5",
            r#"syn_guard_mode_info{mode="auto"} 1"#,
            r#"syn_guard_engine_info{engine="reqsk"} 1"#,
            r#"syn_guard_interface_info{interface="wlan0",mode="generic"} 1"#,
            "syn_guard_map_memory_bytes 12897484",
            "syn_guard_changed_settings 1",
            r#"syn_guard_packets_total{action="cookie",reason="protecting"} 996940"#,
            r#"syn_guard_half_open{service="80"} 37"#,
            r#"syn_guard_kernel_half_open{service="80"} 35"#,
            r#"syn_guard_half_open_limit{service="80"} 2048"#,
            r#"syn_guard_calm_limit{service="80"} 1024"#,
            r#"syn_guard_backlog_limit{service="80"} 4096"#,
            r#"syn_guard_accept_queue{service="80"} 3"#,
            r#"syn_guard_pressure{service="80"} 912345"#,
            r#"syn_guard_service_state{service="80",state="off"} 0"#,
            r#"syn_guard_service_state{service="80",state="observing"} 0"#,
            r#"syn_guard_service_state{service="80",state="protecting"} 1"#,
            r#"syn_guard_service_state{service="8443",state="observing"} 1"#,
            r#"syn_guard_service_state_seconds{service="80"} 72.4"#,
            r#"syn_guard_protections_total{service="80"} 2"#,
            r#"syn_guard_syns_total{service="80"} 1000000"#,
            r#"syn_guard_syn_retransmissions_total{service="80"} 20"#,
            r#"syn_guard_half_open_tracked_total{service="80"} 3000"#,
            r#"syn_guard_syns_untracked_total{service="80"} 40"#,
            r#"syn_guard_handshakes_completed_total{service="80"} 950"#,
            r#"syn_guard_handshakes_reset_total{service="80"} 6"#,
            r#"syn_guard_handshakes_expired_total{service="80"} 2007"#,
            r#"syn_guard_cookies_sent_total{service="80"} 996940"#,
            r#"syn_guard_cookies_validated_total{service="80"} 800"#,
            r#"syn_guard_cookies_rejected_total{service="80"} 9"#,
            r#"syn_guard_cookies_failed_total{service="80"} 1"#,
            "syn_guard_kernel_listen_overflows_total 11",
            "syn_guard_kernel_listen_drops_total 12",
            "syn_guard_kernel_syncookies_sent_total 13",
            "syn_guard_kernel_syncookies_received_total 14",
            "syn_guard_kernel_syncookies_failed_total 15",
            "syn_guard_kernel_request_queue_full_cookies_total 16",
            "syn_guard_kernel_request_queue_full_drops_total 17",
            "syn_guard_process_resident_memory_bytes 8388608",
            "syn_guard_process_cpu_seconds_total 1.25",
        ],
    );
}

#[test]
fn the_histogram_accumulates() {
    has(
        &rendered(),
        &[
            "# TYPE syn_guard_handshake_duration_seconds histogram",
            r#"syn_guard_handshake_duration_seconds_bucket{service="80",le="0.001"} 900"#,
            r#"syn_guard_handshake_duration_seconds_bucket{service="80",le="0.01"} 940"#,
            r#"syn_guard_handshake_duration_seconds_bucket{service="80",le="1"} 949"#,
            r#"syn_guard_handshake_duration_seconds_bucket{service="80",le="+Inf"} 950"#,
            r#"syn_guard_handshake_duration_seconds_sum{service="80"} 4.25"#,
            r#"syn_guard_handshake_duration_seconds_count{service="80"} 950"#,
        ],
    );
}

#[test]
fn no_sample_stands_twice() {
    let text = rendered();
    let mut seen = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (sample, _) = line.rsplit_once(' ').unwrap();
        assert!(seen.insert(sample), "{sample} twice");
    }
}

#[test]
fn a_guard_without_services_has_metrics() {
    let report = Report {
        services: Vec::new(),
        interfaces: Vec::new(),
        verdicts: Vec::new(),
        ..sample()
    };
    let text = render(&report).unwrap();
    has(&text, &["syn_guard_map_memory_bytes 12897484"]);
    assert!(!text.contains("service="), "{text}");
}
