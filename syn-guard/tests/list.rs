//! `list`, `status` and the metrics agree with netstat and with each other.
//! Needs root; without it the tests say so and pass, except where `CI=true`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

mod common;

use std::time::Duration;

use common::{SOON, settle, spoofed, wait_until};
use nix::sys::signal::Signal;
use xtask::lab::{Guard, HandMade, Lab, Nginx, TcpOptions};

/// Half-open connections that the test makes, by family.
const EACH: u16 = 60;

fn make_half_open(lab: &Lab, nginx: &Nginx) -> HandMade {
    let mut hand_made = HandMade::new(lab).unwrap();
    for ipv6 in [false, true] {
        let service = if ipv6 { nginx.ipv6() } else { nginx.ipv4() };
        for index in 0..EACH {
            // Three connections of each source.
            let source = (spoofed(ipv6, index / 3), 10_000 + index).into();
            hand_made.syn(source, service, TcpOptions::FULL).unwrap();
        }
    }
    settle(&mut hand_made);
    hand_made
}

/// Sorted lines.
fn set(text: &str) -> Vec<String> {
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn list_netstat_is_what_netstat_prints() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let _half_open = make_half_open(&lab, &nginx);
    let netstat = lab
        .server()
        .output("sh", &["-c", "netstat -nat | grep SYN_RECV"])
        .unwrap();
    let ours = lab.syn_guard_output(&["list", "--netstat"]).unwrap();
    assert_eq!(set(&netstat).len(), 2 * usize::from(EACH));
    assert_eq!(set(&ours), set(&netstat));
}

#[test]
fn metrics_status_and_list_agree() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &["--mode", "auto"]).unwrap();
    let _half_open = make_half_open(&lab, &nginx);
    let expected = 2 * u64::from(EACH);
    wait_until("all are counted", SOON, || {
        guard.service(&lab, 80).unwrap()["half_open"] == expected
    });

    let service = guard.service(&lab, 80).unwrap();
    assert_eq!(service["half_open_kernel"], expected, "{service}");
    let metrics = guard.metrics(&lab).unwrap();
    let has = |line: &str| assert!(metrics.lines().any(|l| l == line), "{line}:\n{metrics}");
    has(&format!("syn_guard_half_open{{service=\"80\"}} {expected}"));
    has(&format!(
        "syn_guard_kernel_half_open{{service=\"80\"}} {expected}"
    ));
    has("syn_guard_half_open_limit{service=\"80\"} 255");
    has("syn_guard_backlog_limit{service=\"80\"} 511");
    has("syn_guard_service_state{service=\"80\",state=\"observing\"} 1");
    has(&format!(
        "syn_guard_packets_total{{action=\"pass\",reason=\"observed\"}} {expected}"
    ));

    let json: serde_json::Value = serde_json::from_str(
        &lab.syn_guard_output(&["list", "--by-service", "--json"])
            .unwrap(),
    )
    .unwrap();
    let of_list = &json["by_service"][0];
    assert_eq!(of_list["half_open"], expected, "{json}");
    let json: serde_json::Value =
        serde_json::from_str(&lab.syn_guard_output(&["list", "--json"]).unwrap()).unwrap();
    let rows = json["half_open"].as_array().unwrap();
    assert_eq!(rows.len() as u64, expected);
    for row in rows {
        assert_eq!(row["state"], "SYN_RECV", "{row}");
        assert_eq!(row["source_half_open"], 3, "{row}");
        assert_eq!(row["service_state"], "observing", "{row}");
        assert_eq!(row["program"], "nginx", "{row}");
        assert!(row["age_seconds"].as_f64().unwrap() < 30.0, "{row}");
    }
    let table = lab.syn_guard_output(&["list"]).unwrap();
    assert_eq!(table.matches("SYN_RECV").count() as u64, expected);
    let status = lab.syn_guard_output(&["status"]).unwrap();
    assert!(
        status.contains("native") && status.contains("observing"),
        "{status}"
    );
    assert!(guard.stop(Signal::SIGTERM).unwrap().success());
}

#[test]
fn what_prometheus_gets_is_clean() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &["--mode", "protect"]).unwrap();
    xtask::lab::fetch(lab.client(), None, nginx.ipv4(), "/").unwrap();
    let file = lab.path("metrics");
    std::fs::write(&file, guard.metrics(&lab).unwrap()).unwrap();
    let check = format!("promtool check metrics < {} 2>&1", file.display());
    assert_eq!(lab.server().output("sh", &["-c", &check]).unwrap(), "");
    let healthz = xtask::lab::fetch(
        lab.server(),
        None,
        "127.0.0.1:9469".parse().unwrap(),
        "/healthz",
    );
    assert!(healthz.unwrap().starts_with(b"ok"));
    assert!(guard.stop(Signal::SIGTERM).unwrap().success());
}

#[test]
fn services_come_and_go_with_their_listeners() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &[]).unwrap();
    let other = xtask::lab::NginxSetup {
        port: 8080,
        ..xtask::lab::NginxSetup::default()
    };
    assert!(guard.service(&lab, 8080).is_err());
    let second = Nginx::start_with(&lab, &other).unwrap();
    let within = Duration::from_secs(5);
    wait_until("the new service is guarded", within, || {
        guard.service(&lab, 8080).is_ok()
    });
    second.stop().unwrap();
    wait_until("it is not any more", within, || {
        guard.service(&lab, 8080).is_err()
    });
    let service = guard.service(&lab, 80).unwrap();
    assert_eq!(
        service["listeners"],
        serde_json::json!(["0.0.0.0:80", "[::]:80"])
    );
    // Metrics listen on loopback only: no service.
    assert!(guard.service(&lab, 9469).is_err());
    nginx.stop().unwrap();
    assert!(guard.stop(Signal::SIGTERM).unwrap().success());
}
