//! How a guard starts, ends, is killed and comes back, and what is left of it:
//! nothing. Needs root; without it every test says so and passes, except where
//! `CI=true`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use aya::programs::{ProgramError, SchedClassifier, TcAttachType};
use nix::libc::EINVAL;
use nix::sys::signal::Signal;
use xtask::lab::{
    Flood, Guard, HonestClients, HonestReport, Lab, Nginx, PAGE, RunningFlood, SERVER_INTERFACE,
    binary, fetch, honest_ipv4, patiently,
};

const SYNCOOKIES: &str = "net.ipv4.tcp_syncookies";
/// How long anything may take that is to happen soon, on a machine that others keep busy too.
const SOON: Duration = Duration::from_secs(30);

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + patiently(SOON);
    while !holds() {
        assert!(Instant::now() < deadline, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A lab whose kernel has this `tcp_syncookies`, soon forgets half-open
/// connections and has nothing that a guard would harden.
fn lab(syncookies: &str) -> Option<Lab> {
    let lab = Lab::for_test().unwrap()?;
    lab.separate_cores().unwrap();
    for (name, value) in [
        (SYNCOOKIES, syncookies),
        ("net.ipv4.tcp_synack_retries", "0"),
        ("net.ipv4.tcp_max_syn_backlog", "16384"),
        ("net.core.somaxconn", "16384"),
    ] {
        lab.server().set_sysctl(name, value).unwrap();
    }
    Some(lab)
}

/// All settings of TCP and of the core in the server's namespace.
fn settings(lab: &Lab) -> String {
    let script = "grep -rH . /proc/sys/net/ipv4/tcp_* /proc/sys/net/core 2>/dev/null; true";
    lab.server().output("sh", &["-c", script]).unwrap()
}

fn links(lab: &Lab) -> String {
    lab.server().output("ip", &["-d", "link", "show"]).unwrap()
}

fn has_xdp(lab: &Lab) -> bool {
    links(lab).contains("prog/xdp")
}

/// Programs in TCX; `None` where the kernel has none (Linux 6.6 has).
fn tcx_programs(lab: &Lab, interface: &str) -> Option<usize> {
    let query = || SchedClassifier::query_tcx(interface, TcAttachType::Ingress);
    match lab.server().run(query).unwrap() {
        Ok((_, programs)) => Some(programs.len()),
        Err(ProgramError::SyscallError(error)) if error.io_error.raw_os_error() == Some(EINVAL) => {
            None
        }
        Err(error) => panic!("{error:?}"),
    }
}

fn is_in_tcx(lab: &Lab, interface: &str) -> bool {
    tcx_programs(lab, interface).is_some_and(|programs| programs > 0)
}

/// Whether guards use the engine `kernel`: chosen, or the best that is there.
fn kernel_engine(lab: &Lab) -> bool {
    let chosen = std::env::var("SYN_GUARD_ENGINE").is_ok_and(|engine| engine == "kernel");
    chosen || tcx_programs(lab, SERVER_INTERFACE).is_none()
}

/// Whether all programs of the guard are there; the engine `kernel` has none in TCX.
fn is_attached(lab: &Lab) -> bool {
    has_xdp(lab) && is_in_tcx(lab, SERVER_INTERFACE) != kernel_engine(lab)
}

/// `tcp_syncookies` while a guard protects that found 0.
fn protecting_syncookies(lab: &Lab) -> &'static str {
    if kernel_engine(lab) { "2" } else { "1" }
}

fn no_files_are_left(lab: &Lab) {
    for folder in [lab.guard_pins(), lab.guard_state()] {
        let left: Vec<_> = fs::read_dir(&folder)
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert!(!folder.exists(), "{}: {left:?}", folder.display());
    }
}

fn nothing_is_left(lab: &Lab, settings_before: &str) {
    assert!(!has_xdp(lab), "{}", links(lab));
    assert!(!is_in_tcx(lab, SERVER_INTERFACE));
    no_files_are_left(lab);
    assert_eq!(settings(lab), settings_before);
}

/// A flood that the guard protects from.
fn flood(lab: &Lab, guard: &Guard, target: SocketAddr) -> RunningFlood {
    let flood = Flood::new(target)
        .rate(300_000)
        .duration(3 * SOON)
        .start(lab)
        .unwrap();
    wait_until("it protects", || {
        guard.service(lab, target.port()).unwrap()["state"] == "protecting"
    });
    flood
}

fn honest(target: SocketAddr, seconds: u64) -> HonestClients {
    HonestClients {
        duration: Duration::from_secs(seconds),
        ..HonestClients::new(target)
    }
}

fn all_served(report: &HonestReport) {
    assert!(report.share() >= 0.98, "{report:?}");
}

fn half_open(lab: &Lab) -> usize {
    lab.server()
        .output("ss", &["-Htn", "state", "syn-recv"])
        .unwrap()
        .lines()
        .count()
}

fn kill(guard: Guard) {
    let status = guard.stop(Signal::SIGKILL).unwrap();
    assert!(!status.success());
}

#[test]
fn a_signal_ends_it_without_a_trace() {
    for (signal, syncookies) in [(Signal::SIGTERM, "0"), (Signal::SIGINT, "2")] {
        let Some(lab) = lab(syncookies) else { return };
        let nginx = Nginx::start(&lab).unwrap();
        let before = settings(&lab);
        let mut guard = Guard::start(&lab, &["--mode", "auto"]).unwrap();
        let pid = guard.child().pid();
        let flood = flood(&lab, &guard, nginx.ipv4());
        assert!(is_attached(&lab));
        let journal = lab.guard_state().join("undo.json");
        if syncookies == "0" {
            assert_eq!(
                lab.server().sysctl(SYNCOOKIES).unwrap(),
                protecting_syncookies(&lab)
            );
            let journal = fs::read_to_string(&journal).unwrap();
            assert!(journal.contains(SYNCOOKIES), "{journal}");
        } else if !kernel_engine(&lab) {
            assert_eq!(settings(&lab), before, "during");
            assert!(!journal.exists());
        }

        let status = guard.stop(signal).unwrap();
        assert!(status.success(), "{status}");
        nothing_is_left(&lab, &before);
        assert!(!fs::exists(format!("/proc/{pid}")).unwrap());
        flood.stop().unwrap();
        wait_until("no half-open connection", || half_open(&lab) == 0);
        all_served(&honest(nginx.ipv4(), 1).run(&lab).unwrap());
    }
}

#[test]
fn a_second_signal_ends_the_wait() {
    let Some(lab) = lab("1") else { return };
    let nginx = Nginx::start(&lab).unwrap();
    let before = settings(&lab);
    let mut guard = Guard::start(&lab, &["--mode", "auto"]).unwrap();
    flood(&lab, &guard, nginx.ipv4()).stop().unwrap();
    if !kernel_engine(&lab) {
        assert_eq!(settings(&lab), before, "during");
    }
    guard.child().signal(Signal::SIGTERM).unwrap();
    let waits = "a second signal ends the wait";
    guard.child().wait_for_line(waits, SOON).unwrap();
    guard.child().signal(Signal::SIGTERM).unwrap();
    let ended = "a second signal: not waiting for cookies any longer";
    guard.child().wait_for_line(ended, SOON).unwrap();
    assert!(guard.child().wait(SOON).unwrap().success());
    nothing_is_left(&lab, &before);
}

#[test]
fn a_killed_guard_goes_on_protecting_and_is_taken_over() {
    let Some(lab) = lab("0") else { return };
    let nginx = Nginx::start(&lab).unwrap();
    let before = settings(&lab);
    let guard = Guard::start(&lab, &["--mode", "auto"]).unwrap();
    let flood = flood(&lab, &guard, nginx.ipv4());
    let mut established = connect(&lab, nginx.ipv4());
    established.write_all(b"GET / HTTP/1.0\r\n").unwrap();
    let cookies = |guard: &Guard| {
        let service = guard.service(&lab, 80).unwrap();
        assert_eq!(service["state"], "protecting", "{service}");
        service["counters"]["cookies_sent"].as_u64().unwrap()
    };
    let sent = cookies(&guard);
    assert!(sent > 0);
    kill(guard);

    assert!(is_attached(&lab));
    all_served(&honest(nginx.ipv4(), 2).run(&lab).unwrap());

    let clients = honest(nginx.ipv4(), 3).start(&lab);
    let guard = Guard::start(&lab, &["--mode", "auto"]).unwrap();
    assert!(cookies(&guard) >= sent);
    all_served(&clients.join().unwrap());
    established.write_all(b"\r\n").unwrap();
    let mut page = String::new();
    established.read_to_string(&mut page).unwrap();
    assert!(page.ends_with(PAGE), "{page}");
    let log = guard.log().unwrap();
    for line in [
        "an earlier syn-guard was killed",
        "going on with the counters",
        "took over from an earlier syn-guard",
    ] {
        assert!(log.contains(line), "no {line:?}: {log}");
    }
    assert_eq!(
        lab.server().sysctl(SYNCOOKIES).unwrap(),
        protecting_syncookies(&lab)
    );
    assert!(guard.stop(Signal::SIGTERM).unwrap().success());
    nothing_is_left(&lab, &before);
    flood.stop().unwrap();
}

fn connect(lab: &Lab, target: SocketAddr) -> TcpStream {
    let stream = lab
        .client()
        .run(|| TcpStream::connect_timeout(&target, SOON))
        .unwrap()
        .unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

#[test]
fn detach_removes_what_a_killed_guard_left() {
    let Some(lab) = lab("0") else { return };
    let before = settings(&lab);
    kill(Guard::start(&lab, &["--mode", "protect"]).unwrap());
    assert!(has_xdp(&lab));
    assert_ne!(settings(&lab), before);
    let timestamps = if kernel_engine(&lab) {
        "net.ipv4.tcp_timestamps is 1 again\n"
    } else {
        ""
    };
    assert_eq!(
        lab.syn_guard_output(&["detach"]).unwrap(),
        format!("detached from sg-server\nnet.ipv4.tcp_syncookies is 0 again\n{timestamps}")
    );
    nothing_is_left(&lab, &before);
    assert_eq!(
        lab.syn_guard_output(&["detach"]).unwrap(),
        "nothing of syn-guard was left\n"
    );
    nothing_is_left(&lab, &before);

    // What others pinned is theirs.
    kill(Guard::start(&lab, &[]).unwrap());
    let foreign = lab.guard_pins().join("foreign");
    fs::rename(lab.guard_pins().join("VERDICTS"), &foreign).unwrap();
    let error = lab.syn_guard_output(&["detach"]).unwrap_err().to_string();
    assert!(error.contains("look what else is there"), "{error}");
    assert!(!has_xdp(&lab) && settings(&lab) == before);
    fs::remove_file(&foreign).unwrap();
    lab.syn_guard_output(&["detach"]).unwrap();
    nothing_is_left(&lab, &before);

    let mut guard = Guard::start(&lab, &[]).unwrap();
    let refused = lab.syn_guard(&["detach"]).unwrap().output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    let pid = format!("(pid {})", guard.child().pid());
    assert!(said.starts_with("syn-guard: another syn-guard is running here"));
    assert!(said.contains(&pid) && said.lines().count() == 1, "{said}");
    assert_eq!(
        guard.status(&lab).unwrap()["interfaces"][0]["name"],
        SERVER_INTERFACE
    );
    assert!(has_xdp(&lab));
    assert!(guard.stop(Signal::SIGTERM).unwrap().success());
    nothing_is_left(&lab, &before);
}

#[test]
fn pins_of_another_version_make_room() {
    let Some(lab) = lab("1") else { return };
    let nginx = Nginx::start(&lab).unwrap();
    let before = settings(&lab);
    kill(Guard::start(&lab, &[]).unwrap());
    // A map of another layout under a name that is ours, and one that this
    // version does not have.
    let pin = |name| lab.guard_pins().join(name);
    fs::rename(pin("SERVICE_STATE"), pin("STATE_OF_OLD")).unwrap();
    fs::rename(pin("COOKIE_KEYS"), pin("SERVICE_STATE")).unwrap();

    let guard = Guard::start(&lab, &[]).unwrap();
    let log = guard.log().unwrap();
    let line = "replaced the maps of another version of syn-guard";
    let warned = log
        .lines()
        .any(|l| l.contains(" WARN ") && l.contains(line));
    assert!(
        warned && log.contains("took over from an earlier syn-guard"),
        "{log}"
    );
    assert!(!pin("STATE_OF_OLD").exists());
    assert!(is_attached(&lab));
    all_served(&honest(nginx.ipv4(), 1).run(&lab).unwrap());
    let service = guard.service(&lab, 80).unwrap();
    assert!(
        service["counters"]["completed"].as_u64() >= Some(90),
        "{service}"
    );
    assert!(guard.stop(Signal::SIGTERM).unwrap().success());
    nothing_is_left(&lab, &before);
}

#[test]
fn a_start_that_fails_leaves_the_protection_of_another_version() {
    let Some(lab) = lab("0") else { return };
    let nginx = Nginx::start(&lab).unwrap();
    let before = settings(&lab);
    let guard = Guard::start(&lab, &["--mode", "protect"]).unwrap();
    wait_until("it protects", || {
        guard.service(&lab, 80).unwrap()["state"] == "protecting"
    });
    kill(guard);
    // The pins, and what is beside them.
    let pins = || {
        [lab.guard_pins(), lab.bpf_dir()].map(|folder| {
            let entries = fs::read_dir(folder).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        })
    };
    let renamed = ["SETTINGS", "SETTINGS_OF_OLD"].map(|name| lab.guard_pins().join(name));
    fs::rename(&renamed[0], &renamed[1]).unwrap();
    let earlier = pins();
    let hardened = settings(&lab);

    // Fewer files than there are maps.
    let run = lab
        .syn_guard(&["run", "--iface", SERVER_INTERFACE])
        .unwrap();
    let mut limited = lab.server().command_within_a_minute("sh");
    limited.args(["-c", r#"ulimit -n 24 && exec "$0" "$@""#]);
    limited.arg(run.get_program());
    let refused = limited.args(run.get_args()).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("Too many open files"), "{said}");
    assert_eq!(pins(), earlier);
    assert!(is_attached(&lab));
    assert_eq!(settings(&lab), hardened);
    all_served(&honest(nginx.ipv4(), 1).run(&lab).unwrap());

    fs::rename(&renamed[1], &renamed[0]).unwrap();
    let guard = Guard::start(&lab, &[]).unwrap();
    let service = guard.service(&lab, 80).unwrap();
    assert!(
        service["counters"]["cookies_validated"].as_u64() >= Some(90),
        "{service}"
    );
    assert!(guard.stop(Signal::SIGTERM).unwrap().success());
    nothing_is_left(&lab, &before);
}

#[test]
fn an_interface_may_go_and_come_back() {
    const GONE: &str = "the interface is gone";

    let Some(lab) = lab("1") else { return };
    let nginx = Nginx::start(&lab).unwrap();
    let mut guard = Guard::start(&lab, &[]).unwrap();
    let remove = || {
        let arguments = ["link", "delete", SERVER_INTERFACE];
        lab.server().output("ip", &arguments).unwrap();
    };
    let interfaces = |guard: &Guard| {
        let status = guard.status(&lab).unwrap();
        status["interfaces"].as_array().unwrap().len()
    };
    assert_eq!(interfaces(&guard), 1);
    remove();
    guard.child().wait_for_line(GONE, SOON).unwrap();
    assert_eq!(interfaces(&guard), 0);
    // It looks once a second.
    std::thread::sleep(Duration::from_millis(2_500));
    let log = guard.log().unwrap();
    assert_eq!(log.matches(GONE).count(), 1, "{log}");
    assert!(guard.child().is_running().unwrap());

    let peer = lab.client().name();
    let script = format!(
        "ip link add sg-server type veth peer name sg-client netns {peer} &&
        ip address add 198.18.0.1/24 dev sg-server && ip link set sg-server up &&
        ip -n {peer} address add 198.18.0.2/24 dev sg-client && ip -n {peer} link set sg-client up"
    );
    lab.server().output("sh", &["-c", &script]).unwrap();
    wait_until("it is guarded again", || interfaces(&guard) == 1);
    let syns = || guard.service(&lab, 80).unwrap()["counters"]["syns"].as_u64();
    let before = syns();
    let page = fetch(lab.client(), None, nginx.ipv4(), "/").unwrap();
    assert_eq!(page, PAGE.as_bytes());
    assert!(syns() > before);

    remove();
    wait_until("it is gone again", || {
        guard.log().unwrap().matches(GONE).count() == 2
    });
    assert!(guard.stop(Signal::SIGTERM).unwrap().success());
    no_files_are_left(&lab);
}

#[test]
fn a_start_that_fails_half_way_leaves_nothing() {
    let Some(lab) = lab("0") else { return };
    let script = "ip link add aa-first type veth peer name aa-peer && ip link set aa-first up";
    lab.server().output("sh", &["-c", script]).unwrap();
    let before = settings(&lab);
    let floor = lab.attach_floor().unwrap();
    let with_floor = links(&lab);
    let output = lab
        .syn_guard(&["run", "--iface", "aa-first", "--iface", SERVER_INTERFACE])
        .unwrap()
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    // It came as far as that.
    let attached = said.lines().find(|line| line.contains("aa-first"));
    assert!(
        attached.is_some_and(|line| line.contains("attached")),
        "{said}"
    );
    let last = said.lines().last().unwrap();
    assert!(
        last.starts_with("syn-guard: sg-server already runs another XDP program"),
        "{said}"
    );
    assert_eq!(links(&lab), with_floor);
    assert!(!is_in_tcx(&lab, "aa-first"));
    drop(floor);
    nothing_is_left(&lab, &before);
}

#[test]
fn a_start_that_fails_at_once_leaves_a_killed_guards_protection() {
    let Some(lab) = lab("0") else { return };
    let nginx = Nginx::start(&lab).unwrap();
    let before = settings(&lab);
    kill(Guard::start(&lab, &["--mode", "protect"]).unwrap());
    let output = lab
        .syn_guard(&["run", "--iface", "sg-typo"])
        .unwrap()
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(is_attached(&lab));
    all_served(&honest(nginx.ipv4(), 1).run(&lab).unwrap());
    assert_eq!(
        lab.server().sysctl(SYNCOOKIES).unwrap(),
        protecting_syncookies(&lab)
    );
    let source = Some(SocketAddr::new(honest_ipv4(60_000), 0));
    fetch(lab.client(), source, nginx.ipv4(), "/").unwrap();
    lab.syn_guard_output(&["detach"]).unwrap();
    nothing_is_left(&lab, &before);
}

#[test]
fn a_start_that_fails_half_way_leaves_a_killed_guards_protection() {
    let Some(lab) = lab("0") else { return };
    let nginx = Nginx::start(&lab).unwrap();
    let script = "for name in aa-first zz-busy; do
        ip link add $name type veth peer name $name-p && ip link set $name up || exit
    done";
    lab.server().output("sh", &["-c", script]).unwrap();
    let before = settings(&lab);
    kill(Guard::start(&lab, &["--mode", "protect"]).unwrap());
    let journal = || fs::read_to_string(lab.guard_state().join("undo.json")).unwrap();
    let written = journal();

    // Another guard is in the way on the last interface.
    let mut other = lab.server().command(binary().unwrap());
    other
        .args(["run", "--iface", "zz-busy", "--mode", "observe"])
        .args(["--metrics-listen", "127.0.0.1:0", "--state-dir"])
        .arg(lab.path("other"))
        .arg("--bpf-dir")
        .arg(lab.bpf_dir().join("other"));
    let mut other = lab.server().spawn(&mut other).unwrap();
    other.wait_for_line("is guarding", SOON).unwrap();

    let engine = if kernel_engine(&lab) {
        "kernel"
    } else {
        "reqsk"
    };
    let mut arguments = vec!["run", "--mode", "observe", "--engine", engine];
    for interface in ["aa-first", SERVER_INTERFACE, "zz-busy"] {
        arguments.extend(["--iface", interface]);
    }
    let failed = lab.syn_guard(&arguments).unwrap().output().unwrap();
    let said = String::from_utf8(failed.stderr).unwrap();
    assert_eq!(failed.status.code(), Some(1), "{said}");
    let kept = "an earlier syn-guard's protection stays attached to sg-server: ";
    for line in [
        "took over from an earlier",
        kept,
        "zz-busy already runs another XDP program",
    ] {
        assert!(said.contains(line), "no {line:?}: {said}");
    }
    assert!(is_attached(&lab));
    assert!(!is_in_tcx(&lab, "aa-first"));
    assert_eq!(journal(), written);
    assert_eq!(
        lab.server().sysctl(SYNCOOKIES).unwrap(),
        protecting_syncookies(&lab)
    );
    assert!(other.stop(SOON).unwrap().success());

    // It protects as before, not as the start that failed would have it.
    all_served(&honest(nginx.ipv4(), 1).run(&lab).unwrap());
    let guard = Guard::start(&lab, &["--mode", "auto"]).unwrap();
    let service = guard.service(&lab, 80).unwrap();
    assert_eq!(service["state"], "protecting", "{service}");
    let sent = service["counters"]["cookies_sent"].as_u64();
    assert!(sent >= Some(90), "{service}");
    assert!(guard.stop(Signal::SIGTERM).unwrap().success());
    nothing_is_left(&lab, &before);
}
