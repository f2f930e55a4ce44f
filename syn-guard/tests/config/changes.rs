//! What changes while the guard runs, without detaching.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use xtask::lab::{Flood, Guard, HonestClients, Lab, Nginx, NginxSetup, PAGE};

use super::common::{self, verdict, wait_until};
use super::{Configured, SOON, programs, said, state};

#[test]
fn a_reload_changes_limits_during_a_flood_and_detaches_nothing() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    // A half-open connection lives for 3 s: a slow flood of 100 SYNs a second
    // keeps 300 of them, well within the backlog of 511.
    lab.server()
        .set_sysctl("net.ipv4.tcp_synack_retries", "1")
        .unwrap();
    let nginx = Nginx::start(&lab).unwrap();
    let limit = |limit: u64| {
        format!("[detection]\nmax_half_open = {limit}\nhold = 1\n[harden]\nenabled = false\n")
    };
    let lab = Configured::new(lab, &limit(2_000));
    let mut guard = lab.start(&[]);
    let before = programs(&lab.lab);
    let target = nginx.ipv4();
    let mut open = lab
        .lab
        .client()
        .run(|| TcpStream::connect_timeout(&target, SOON))
        .unwrap()
        .unwrap();
    open.set_read_timeout(Some(SOON)).unwrap();
    open.write_all(b"GET / HTTP/1.0\r\n").unwrap();
    let flood = Flood::new(target)
        .rate(100)
        .duration(4 * SOON)
        .start(&lab.lab)
        .unwrap();
    wait_until("the flood is seen", SOON, || {
        let service = guard.service(&lab.lab, 80).unwrap();
        service["half_open"].as_u64().unwrap() > 150
    });
    assert_eq!(state(&guard, &lab.lab), "observing");

    let clients = HonestClients {
        duration: Duration::from_secs(4),
        ..HonestClients::new(target)
    };
    let clients = clients.start(&lab.lab);
    lab.reload(
        &mut guard,
        &limit(100),
        "detection.max_half_open: 2000 -> 100",
    );
    wait_until("it protects by the lower limit", SOON, || {
        state(&guard, &lab.lab) == "protecting"
    });
    let service = guard.service(&lab.lab, 80).unwrap();
    assert_eq!(service["limit"], 100);
    let report = clients.join().unwrap();
    assert!(report.share() >= 0.98, "{report:?}");

    lab.reload(
        &mut guard,
        &limit(20_000),
        "detection.max_half_open: 100 -> 20000",
    );
    wait_until("calm by the higher limit", 2 * SOON, || {
        state(&guard, &lab.lab) == "observing"
    });
    // The flood went on all the time.
    assert!(flood.stop().unwrap() > 100);
    assert_eq!(programs(&lab.lab), before, "attached as before");
    open.write_all(b"\r\n").unwrap();
    let mut page = String::new();
    open.read_to_string(&mut page).unwrap();
    assert!(page.ends_with(PAGE), "{page}");
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn ports_and_modes_of_services_change_at_once() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let _nginx = Nginx::start(&lab).unwrap();
    let other = NginxSetup {
        port: 8080,
        ..NginxSetup::default()
    };
    let other = Nginx::start_with(&lab, &other).unwrap();
    let lab = Configured::new(lab, "[guard]\nports = [80]\n");
    let mut guard = lab.start(&[]);
    let ports = |guard: &Guard| {
        let status = guard.status(&lab.lab).unwrap();
        let services = status["services"].as_array().unwrap();
        let of = |service: &serde_json::Value| {
            format!("{} {}", service["port"], service["state"].as_str().unwrap())
        };
        services.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(ports(&guard), ["80 observing"]);
    lab.reload(
        &mut guard,
        "[guard]\nports = [80, 8080]\n[services.8080]\nmode = \"protect\"\n",
        "guard.ports: [80] -> [80, 8080]; services.8080.mode: as in [detection] -> \"protect\"",
    );
    assert_eq!(ports(&guard), ["80 observing", "8080 protecting"]);
    let report = HonestClients::new(other.ipv4()).run(&lab.lab).unwrap();
    assert!(report.share() >= 0.98, "{report:?}");
    let service = guard.service(&lab.lab, 8080).unwrap();
    let validated = service["counters"]["cookies_validated"].as_u64().unwrap();
    assert!(
        validated >= 100 || common::kernel_engine(&guard, &lab.lab),
        "{service}"
    );
    lab.reload(
        &mut guard,
        "[guard]\nports = [8080]\n[services.8080]\nmode = \"observe\"\n",
        "guard.ports: [80, 8080] -> [8080]",
    );
    assert_eq!(ports(&guard), ["8080 observing"]);
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn what_is_set_at_run_time_holds_until_the_next_reload() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let lab = Configured::new(lab, "[detection]\nhold = 5\nmax_half_open = 300\n");
    let _nginx = Nginx::start(&lab.lab).unwrap();
    let guard = lab.start(&[]);
    let says = |arguments: &[&str]| lab.lab.syn_guard_output(arguments).unwrap();
    let limit = || guard.service(&lab.lab, 80).unwrap()["limit"].clone();
    assert_eq!(limit(), 300);
    assert_eq!(
        says(&["set", "detection.max_half_open", "200"]),
        "detection.max_half_open: 300 -> 200\n"
    );
    assert_eq!(limit(), 200, "at once");
    assert_eq!(
        lab.entry("detection.max_half_open", &[]),
        (200.into(), "run_time".into())
    );
    for (key, value, error) in [
        ("detection.hold", "0", "expected seconds from 1 to 86400"),
        ("detection.hodl", "5", "did you mean \"hold\"?"),
        (
            "guard.engine",
            "kernel",
            "cannot change while the guard runs",
        ),
    ] {
        let output = lab.lab.syn_guard(&["set", key, value]).unwrap().output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = said(&output);
        assert!(said.contains(error) && said.lines().count() == 1, "{said}");
    }

    // Whoever speaks last of a service's mode is heard.
    let mode = || lab.entry("services.80.mode", &[]);
    says(&["protect", "80", "on"]);
    assert_eq!(mode(), ("protect".into(), "run_time".into()));
    assert_eq!(state(&guard, &lab.lab), "protecting");
    says(&["set", "services.80.mode", "observe"]);
    assert_eq!(mode(), ("observe".into(), "run_time".into()));
    assert_eq!(state(&guard, &lab.lab), "observing");

    assert_eq!(
        says(&["reload"]),
        "detection.max_half_open: 200 -> 300\n\
         services.80.mode: \"observe\" -> as in [detection]\n\
         no longer set at run time: detection.max_half_open, services.80.mode\n"
    );
    assert_eq!(limit(), 300);
    assert_eq!(
        lab.entry("detection.max_half_open", &[]),
        (300.into(), "line 3".into())
    );
    fs::write(&lab.file, "[detection]\nhold = 1.5\n").unwrap();
    let bad = lab.lab.syn_guard(&["reload"]).unwrap().output().unwrap();
    assert_eq!(bad.status.code(), Some(1));
    let place = format!("{}:2:8: detection.hold = 1.5", lab.file());
    assert!(said(&bad).contains(&place), "{}", said(&bad));
    assert_eq!(limit(), 300);
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn limits_of_sources_change_during_a_flood() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let limits = |rate: u64| {
        format!(
            "[detection]\nmode = \"protect\"\n[limits]\nsource_rate = {rate}\nsource_half_open = 0\nreply_rate = 0\n"
        )
    };
    let lab = Configured::new(lab, &limits(0));
    let mut guard = lab.start(&[]);
    let flood = Flood::new(nginx.ipv4())
        .rate(5_000)
        .few_sources(2)
        .duration(3 * SOON)
        .start(&lab.lab)
        .unwrap();
    let dropped = |guard: &Guard| verdict(guard, &lab.lab, "source_limit");
    let answered = |guard: &Guard| verdict(guard, &lab.lab, "cookie_sent");
    wait_until("the flood is answered", SOON, || answered(&guard) > 2_000);
    assert_eq!(dropped(&guard), 0, "no limit");
    lab.reload(&mut guard, &limits(100), "limits.source_rate: 0 -> 100");
    let before = (dropped(&guard), answered(&guard));
    wait_until("the flood is dropped", SOON, || {
        dropped(&guard) > before.0 + 4_000
    });
    let more = (dropped(&guard) - before.0, answered(&guard) - before.1);
    // Of 5,000 SYNs a second two sources get 200 answers, and what they had saved.
    assert!(more.0 > 2 * more.1, "{more:?}");

    let set = ["set", "limits.source_rate", "0"];
    lab.lab.syn_guard_output(&set).unwrap();
    let before = (dropped(&guard), answered(&guard));
    wait_until("the flood is answered again", SOON, || {
        answered(&guard) > before.1 + 500
    });
    assert_eq!(dropped(&guard), before.0, "no limit again");
    flood.stop().unwrap();
    assert!(guard.stop_at_once().unwrap().success());
}
