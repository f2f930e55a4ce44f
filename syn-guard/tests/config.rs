//! The configuration: flags over file over defaults, and another one while the
//! guard runs. Needs root; without it the tests say so and pass, except where
//! `CI=true`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

mod common;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::Output,
    time::Duration,
};

use aya::programs::{SchedClassifier, TcAttachType};
use common::{spoofed, verdict, wait_until};
use nix::sys::signal::Signal;
use xtask::lab::{
    Flood, Guard, HandMade, HonestClients, Lab, Nginx, NginxSetup, PAGE, SERVER_INTERFACE,
    TcpOptions, binary,
};

/// Long enough for anything that a reload or a second of the controller does.
const SOON: Duration = Duration::from_secs(5);

/// A guard with a file of its own.
struct Configured {
    lab: Lab,
    file: PathBuf,
}

impl Configured {
    fn new(lab: Lab, text: &str) -> Self {
        let file = lab.path("config.toml");
        fs::write(&file, text).unwrap();
        Self { lab, file }
    }

    fn start(&self, flags: &[&str]) -> Guard {
        let arguments = [&["--config", self.file()], flags].concat();
        Guard::start(&self.lab, &arguments).unwrap()
    }

    fn file(&self) -> &str {
        self.file.to_str().unwrap()
    }

    /// Another file, and SIGHUP; until the log has a line with `says`.
    fn reload(&self, guard: &mut Guard, text: &str, says: &str) -> String {
        fs::write(&self.file, text).unwrap();
        guard.child().signal(Signal::SIGHUP).unwrap();
        guard.child().wait_for_line(says, SOON).unwrap()
    }

    /// Value and origin of a key, as `config show --json` has them.
    fn entry(&self, key: &str, flags: &[&str]) -> (serde_json::Value, String) {
        let arguments = [&["config", "show", "--json"], flags].concat();
        let report = self.lab.syn_guard_output(&arguments).unwrap();
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        let entries = report["entries"].as_array().unwrap();
        let entry = entries.iter().find(|entry| entry["key"] == key).unwrap();
        let origin = &entry["origin"];
        let origin = match origin["from"].as_str().unwrap() {
            "file" => {
                assert_eq!(origin["file"], self.file());
                format!("line {}", origin["line"])
            }
            "flag" => origin["flag"].as_str().unwrap().to_owned(),
            other => other.to_owned(),
        };
        (entry["value"].clone(), origin)
    }
}

fn state(guard: &Guard, lab: &Lab) -> String {
    let service = guard.service(lab, 80).unwrap();
    service["state"].as_str().unwrap().to_owned()
}

/// The ids of the attached programs.
fn programs(lab: &Lab) -> (String, Vec<u32>) {
    let link = lab
        .server()
        .output("ip", &["-d", "link", "show", SERVER_INTERFACE])
        .unwrap();
    let (_, xdp) = link.split_once("prog/xdp id ").unwrap();
    let query = || SchedClassifier::query_tcx(SERVER_INTERFACE, TcAttachType::Ingress);
    let tcx = match lab.server().run(query).unwrap() {
        Ok((_, programs)) => programs
            .iter()
            .map(aya::programs::ProgramInfo::id)
            .collect(),
        // Linux 6.1 has no TCX.
        Err(_) => Vec::new(),
    };
    (xdp.split_whitespace().next().unwrap().to_owned(), tcx)
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn flags_override_the_file_and_show_says_where_values_come_from() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let text = "[detection]\nhold = 5\ncalm_percent = 40\n\n[services.80]\nmode = \"observe\"\n";
    let lab = Configured::new(lab, text);
    let with_file =
        |key, flags: &[&str]| lab.entry(key, &[&["--config", lab.file()], flags].concat());
    assert_eq!(
        with_file("detection.hold", &[]),
        (5.into(), "line 2".into())
    );
    assert_eq!(
        with_file("detection.hold", &["--hold", "7"]),
        (7.into(), "--hold".into())
    );
    assert_eq!(
        with_file("detection.hold", &["--set", "detection.hold=8"]),
        (8.into(), "--set".into())
    );
    assert_eq!(
        with_file("services.80.mode", &[]),
        ("observe".into(), "line 6".into())
    );
    assert_eq!(
        with_file("limits.source_rate", &[]),
        (200.into(), "default".into())
    );

    let _nginx = Nginx::start(&lab.lab).unwrap();
    let guard = lab.start(&["--hold", "7"]);
    // Now it is the guard that is asked.
    assert_eq!(
        lab.entry("detection.hold", &[]),
        (7.into(), "--hold".into())
    );
    assert_eq!(
        lab.entry("detection.calm_percent", &[]),
        (40.into(), "line 3".into())
    );
    assert_eq!(
        lab.entry("guard.interfaces", &[]),
        (vec![SERVER_INTERFACE].into(), "--iface".into())
    );
    let text = lab.lab.syn_guard_output(&["config", "show"]).unwrap();
    assert!(text.starts_with("# The running guard; file: "), "{text}");
    assert!(text.contains("\ncalm_percent = 40  "), "{text}");
    // What it prints is a file that says the same.
    let shown = lab.lab.path("shown.toml");
    fs::write(&shown, &text).unwrap();
    let shown = shown.to_str().unwrap();
    let checked = lab
        .lab
        .syn_guard_output(&["config", "check", shown])
        .unwrap();
    assert_eq!(checked, format!("{shown}: no mistakes\n"));
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_status_1() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let lab = Configured::new(lab, "[detection]\nhold = 0\n\n[gaurd]\nports = [80]\n");
    let file = lab.file();
    let run = |arguments: &[&str]| lab.lab.syn_guard(arguments).unwrap().output().unwrap();

    let check = run(&["config", "check", file]);
    assert_eq!(check.status.code(), Some(1));
    assert_eq!(
        said(&check),
        format!(
            "{file}:2:8: detection.hold = 0: expected seconds from 1 to 86400\n\
             {file}:4:2: unknown table [gaurd]: did you mean [guard]?\n\
             syn-guard: {file}: 2 mistakes\n"
        )
    );
    for arguments in [
        &["run", "--config", file][..],
        &["config", "show", "--config", file],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            said(&output),
            format!(
                "syn-guard: {file}:2:8: detection.hold = 0: expected seconds from 1 to 86400 (and 1 more: syn-guard config check {file})\n"
            )
        );
    }
    let missing = run(&["run", "--config", "/nonexistent/config.toml"]);
    assert_eq!(missing.status.code(), Some(1));
    assert_eq!(
        said(&missing),
        "syn-guard: /nonexistent/config.toml: No such file or directory (os error 2)\n"
    );
    let usage = run(&["run", "--set", "detection.hodl=5"]);
    assert_eq!(usage.status.code(), Some(2));
    let usage = said(&usage);
    assert!(
        usage.contains("did you mean \"hold\"?") && usage.lines().count() == 1,
        "{usage}"
    );
    assert!(!lab.lab.guard_state().exists(), "nothing was begun");
    assert!(binary().unwrap().exists());
}

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
        .duration(Duration::from_secs(90))
        .start(&lab.lab)
        .unwrap();
    wait_until("the flood is seen", Duration::from_secs(10), || {
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
    wait_until("calm by the higher limit", Duration::from_secs(20), || {
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
fn a_bad_file_changes_nothing_and_the_next_good_one_does() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let lab = Configured::new(lab, "[detection]\nhold = 5\n");
    let _nginx = Nginx::start(&lab.lab).unwrap();
    let mut guard = lab.start(&[]);
    let before = lab.lab.syn_guard_output(&["config", "show"]).unwrap();
    let said = lab.reload(
        &mut guard,
        "[detection]\nhold = 6\nmode = \"on\"\n",
        "the configuration stays as it was",
    );
    let place = format!("{}:3:8: detection.mode = \"on\": expected", lab.file());
    assert!(said.contains(" WARN ") && said.contains(&place), "{said}");
    let after = lab.lab.syn_guard_output(&["config", "show"]).unwrap();
    assert_eq!(after, before);

    lab.reload(
        &mut guard,
        "[detection]\nhold = 7\n[guard]\nxdp_mode = \"generic\"\n",
        "detection.hold: 5 -> 7",
    );
    let waits = "needs a restart: guard.xdp_mode: \"auto\" -> \"generic\"";
    guard.child().wait_for_line(waits, SOON).unwrap();
    assert_eq!(
        lab.entry("detection.hold", &[]),
        (7.into(), "line 2".into())
    );
    assert_eq!(lab.entry("guard.xdp_mode", &[]).0, "auto");
    let text = lab.lab.syn_guard_output(&["config", "show"]).unwrap();
    assert!(text.contains("\"generic\" after a restart"), "{text}");
    fs::remove_file(&lab.file).unwrap();
    guard.child().signal(Signal::SIGHUP).unwrap();
    let gone = "No such file or directory";
    guard.child().wait_for_line(gone, SOON).unwrap();
    assert_eq!(lab.entry("detection.hold", &[]).0, 7);
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn lists_that_are_broken_or_missing_change_nothing() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let path = |name: &str| lab.path(name).display().to_string();
    let (good, bad, none) = (path("good"), path("bad"), path("none"));
    fs::write(&good, "10.7.0.0/16\n").unwrap();
    fs::write(&bad, "10.8.0.0/16\n10.8.0.1/16\n").unwrap();
    let in_force = format!("[detection]\nhold = 5\n[lists]\ndeny_files = [\"{good}\"]\n");
    let lab = Configured::new(lab, &in_force);
    let mut guard = lab.start(&[]);
    let mut hand_made = HandMade::new(&lab.lab).unwrap();
    let mut port = 10_000;
    let mut denied = |guard: &Guard| {
        port += 1;
        let source = (spoofed(false, 1), port).into();
        let mut flow = hand_made
            .syn(source, nginx.ipv4(), TcpOptions::FULL)
            .unwrap();
        let answered = hand_made
            .syn_ack(&mut flow, Duration::from_secs(1))
            .unwrap();
        !answered && guard.status(&lab.lab).unwrap()["prefixes"]["deny"] == 1
    };
    let run = |arguments: &[&str]| lab.lab.syn_guard(arguments).unwrap().output().unwrap();
    let show = || run(&["config", "show"]).stdout;
    let before = show();
    let missing = format!("lists.allow_files: {none}: No such file or directory");
    let broken = format!("{bad}:2: 10.8.0.1/16 has host bits set: did you mean 10.8.0.0/16?");
    for (list, says) in [(&none, &missing), (&bad, &broken)] {
        // Nothing else of such a file holds either.
        let text = in_force.replace("hold = 5", "hold = 6");
        let text = format!("{text}allow_files = [\"{list}\"]\n");
        fs::write(&lab.file, text).unwrap();
        for arguments in [&["reload"][..], &["set", "lists.allow_files", list]] {
            let output = run(arguments);
            let said = said(&output);
            assert_eq!(output.status.code(), Some(1), "{arguments:?} {said}");
            assert!(said.contains(says) && said.lines().count() == 1, "{said}");
            assert_eq!(show(), before, "{arguments:?}");
        }
        guard.child().signal(Signal::SIGHUP).unwrap();
        let line = guard.child().wait_for_line(says, SOON).unwrap();
        assert!(line.contains("the configuration stays as it was"), "{line}");
        assert!(denied(&guard), "what was in force is");
    }
    // The list in force may break as well.
    fs::remove_file(&good).unwrap();
    fs::write(&lab.file, &in_force).unwrap();
    let output = run(&["reload"]);
    let gone = format!("{}:4:15: lists.deny_files: {good}: ", lab.file());
    assert!(said(&output).contains(&gone), "{}", said(&output));
    assert_eq!(output.status.code(), Some(1));
    assert!(run(&["set", "detection.hold", "7"]).status.success());
    assert!(denied(&guard), "what it said is in force");
    fs::write(&good, "10.7.0.0/16\n").unwrap();
    assert!(run(&["reload"]).status.success());
    assert!(denied(&guard));
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
        .duration(Duration::from_secs(60))
        .start(&lab.lab)
        .unwrap();
    let dropped = |guard: &Guard| verdict(guard, &lab.lab, "source_limit");
    let answered = |guard: &Guard| verdict(guard, &lab.lab, "cookie_sent");
    wait_until("the flood is answered", SOON, || answered(&guard) > 2_000);
    assert_eq!(dropped(&guard), 0, "no limit");
    lab.reload(&mut guard, &limits(100), "limits.source_rate: 0 -> 100");
    let before = (dropped(&guard), answered(&guard));
    std::thread::sleep(Duration::from_secs(2));
    let more = (dropped(&guard) - before.0, answered(&guard) - before.1);
    // Of 10,000 SYNs two sources get 400 answers and what they had saved.
    assert!(more.0 > 4 * more.1 && more.0 > 1_000, "{more:?}");

    let set = ["set", "limits.source_rate", "0"];
    lab.lab.syn_guard_output(&set).unwrap();
    let before = (dropped(&guard), answered(&guard));
    std::thread::sleep(Duration::from_secs(1));
    let more = (dropped(&guard) - before.0, answered(&guard) - before.1);
    assert!(more.0 == 0 && more.1 > 500, "{more:?}");
    flood.stop().unwrap();
    assert!(guard.stop_at_once().unwrap().success());
}
