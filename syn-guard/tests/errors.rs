//! What goes wrong is said in one line: what, where and what to do; and it
//! leaves nothing behind. Most of it needs root; without it those tests say so
//! and pass, except where `CI=true`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

mod common;

use std::{
    ffi::OsStr,
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
};

use aya::programs::XdpMode;
use common::for_all::{ForAll, NOBODY};
use nix::sys::signal::Signal;
use xtask::lab::{Guard, Lab, Passing, SERVER_INTERFACE, binary};

fn run(command: &mut Command) -> (Output, String) {
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(!said.contains("panicked"), "{said}");
    (output, said)
}

/// Runs a command that fails and returns the one line that says why; before it
/// there may be a log, but none of errors.
#[track_caller]
fn fails(code: i32, command: &mut Command) -> String {
    let (output, said) = run(command);
    assert_eq!(output.status.code(), Some(code), "{command:?}: {said}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let mut lines = said.lines();
    let last = lines.next_back().unwrap_or_default();
    assert!(last.starts_with("syn-guard: "), "{command:?}: {said}");
    for line in lines {
        let log = line.contains(" INFO ") || line.contains(" WARN ");
        assert!(log, "{line:?} in: {said}");
    }
    last.to_owned()
}

#[track_caller]
fn has(line: &str, parts: &[&str]) {
    for part in parts {
        assert_eq!(line.matches(part).count(), 1, "{part:?} once in: {line}");
    }
}

/// The program on the server, with no directories named.
fn bare(lab: &Lab, arguments: &[&str]) -> Command {
    let mut command = lab.server().command(binary().unwrap());
    command.args(arguments);
    command
}

fn guard(lab: &Lab, arguments: &[&str]) -> Command {
    lab.syn_guard(arguments).unwrap()
}

fn run_there<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["run", "--iface", SERVER_INTERFACE], more].concat()
}

#[track_caller]
fn nothing_is_left(lab: &Lab) {
    assert!(!lab.guard_pins().exists());
    assert!(!lab.guard_state().exists());
    let links = lab.server().output("ip", &["-d", "link"]).unwrap();
    assert!(!links.contains("prog/xdp"), "{links}");
}

#[test]
fn wrong_usage_is_status_2() {
    let binary = match binary() {
        Ok(binary) => binary,
        Err(error) => {
            assert!(
                std::env::var_os("CI").is_none_or(|ci| ci != "true"),
                "{error}"
            );
            eprintln!("skipped: {error}");
            return;
        }
    };
    for (arguments, parts) in [
        (&["--frob"][..], &["unexpected argument '--frob'"][..]),
        (&["frob"], &["unrecognized subcommand 'frob'"]),
        (&["run", "--frob"], &["unexpected argument '--frob'"]),
        (
            &["run", "--ports", "80,x"],
            &["invalid value 'x'", "--ports"],
        ),
        (
            &["run", "--ports", "0"],
            &["invalid value '0'", "--ports", "1..=65535"],
        ),
        (&["run", "--ports", "80,"], &["invalid value ''", "--ports"]),
        (
            &["run", "--ports", "70000"],
            &["invalid value '70000'", "--ports", "1..=65535"],
        ),
        (
            &["run", "--mode", "x"],
            &["invalid value 'x'", "--mode", "observe, auto, protect"],
        ),
        (
            &["run", "--metrics-listen", "9469"],
            &["invalid value '9469'", "--metrics-listen"],
        ),
        (
            &["run", "--max-half-open", "0"],
            &["invalid value '0'", "--max-half-open"],
        ),
        (
            &["run", "--hold", "0"],
            &["invalid value '0'", "--hold", "1..=86400"],
        ),
        (&["list", "--json", "--netstat"], &["--json", "--netstat"]),
    ] {
        let line = fails(2, Command::new(&binary).args(arguments));
        for part in parts {
            assert!(line.contains(part), "{part:?} in: {line}");
        }
        assert!(line.ends_with(" (see --help)"), "{line}");
        assert!(!line.contains("error: "), "{line}");
    }
    let (output, said) = run(&mut Command::new(&binary));
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("Usage: syn-guard"), "{said}");
    for flag in ["--help", "--version"] {
        let (output, said) = run(Command::new(&binary).arg(flag));
        assert!(output.status.success() && said.is_empty(), "{said}");
    }
}

#[test]
fn interfaces_that_cannot_be_guarded() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let line = fails(1, &mut guard(&lab, &["run", "--iface", "sg-srever"]));
    has(
        &line,
        &[
            "no such interface sg-srever; there are: ",
            "lo",
            SERVER_INTERFACE,
        ],
    );
    nothing_is_left(&lab);

    let tunnel = ["-ec", "ip tuntap add dev sg-tunnel mode tun"];
    lab.server().output("sh", &tunnel).unwrap();
    let line = fails(1, &mut guard(&lab, &["run", "--iface", "sg-tunnel"]));
    has(&line, &["sg-tunnel is no Ethernet interface", "--iface"]);
    nothing_is_left(&lab);

    let none = "ip -4 route del default; ip -6 route del default";
    lab.server().output("sh", &["-ec", none]).unwrap();
    let line = fails(1, &mut guard(&lab, &["run"]));
    has(&line, &["there is no default route", "--iface"]);
    nothing_is_left(&lab);

    let floor = lab.attach_floor().unwrap();
    let line = fails(1, &mut guard(&lab, &run_there(&[])));
    let pid = format!("pid {})", std::process::id());
    has(
        &line,
        &[
            "sg-server already runs another XDP program (bounce, id ",
            "held by ",
            &pid,
            "nothing was touched",
            "in native mode",
            "ip link set dev sg-server xdpdrv off",
        ],
    );
    let links = lab.server().output("ip", &["-d", "link"]).unwrap();
    assert!(links.contains("prog/xdp"), "the other program was detached");
    drop(floor);
    nothing_is_left(&lab);
}

#[test]
fn another_program_is_told_apart_and_left_alone() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    // Held by this process, in the other mode.
    let held = Passing::attach_in(lab.server(), SERVER_INTERFACE, XdpMode::Skb).unwrap();
    let line = fails(1, &mut guard(&lab, &run_there(&[])));
    let pid = format!("pid {})", std::process::id());
    has(
        &line,
        &[
            "sg-server already runs another XDP program (pass_frags, id ",
            "in generic mode",
            "held by ",
            &pid,
            "nothing was touched",
            "ip link set dev sg-server xdpgeneric off",
        ],
    );
    let links = lab.server().output("ip", &["-d", "link"]).unwrap();
    assert!(links.contains("prog/xdp"), "the other program was detached");
    drop(held);
    nothing_is_left(&lab);

    // Held by nobody: what the error says to do helps.
    for (keyword, mode) in [("xdpdrv", "native"), ("xdpgeneric", "generic")] {
        Passing::leave(&lab, keyword).unwrap();
        for xdp_mode in ["auto", "native", "generic"] {
            let line = fails(1, &mut guard(&lab, &run_there(&["--xdp-mode", xdp_mode])));
            has(
                &line,
                &[
                    "(pass_frags, id ",
                    &format!("in {mode} mode)"),
                    "nothing was touched",
                ],
            );
            let links = lab.server().output("ip", &["-d", "link"]).unwrap();
            assert!(links.contains("name pass_frags"), "{links}");
            let (_, rest) = line.split_once('`').unwrap();
            let (remedy, _) = rest.split_once('`').unwrap();
            if xdp_mode == "generic" {
                lab.server().output("sh", &["-ec", remedy]).unwrap();
            }
        }
        let guard = Guard::start(&lab, &[]).unwrap();
        assert!(guard.stop(Signal::SIGTERM).unwrap().success());
        nothing_is_left(&lab);
    }
}

#[test]
fn places_that_cannot_be_used() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let taken = lab
        .server()
        .run(|| TcpListener::bind("127.0.0.1:9469"))
        .unwrap()
        .unwrap();
    let line = fails(1, &mut guard(&lab, &run_there(&[])));
    has(
        &line,
        &[
            "127.0.0.1:9469",
            "address already in use",
            "--metrics-listen",
        ],
    );
    drop(taken);
    nothing_is_left(&lab);
    let elsewhere = run_there(&["--metrics-listen", "192.0.2.1:9469"]);
    let line = fails(1, &mut guard(&lab, &elsewhere));
    has(&line, &["192.0.2.1:9469", "no interface has this address"]);
    nothing_is_left(&lab);

    // Where not even root may write.
    for verb in [&run_there(&[])[..], &["detach"]] {
        let line = fails(1, bare(&lab, verb).args(["--state-dir", "/proc/none"]));
        has(
            &line,
            &[
                "cannot make the state directory /proc/none: ",
                "--state-dir",
            ],
        );
    }

    let notes = lab.path("notes");
    fs::create_dir(&notes).unwrap();
    fs::write(notes.join("mine"), "mine").unwrap();
    for pins in [&notes, &notes.join("none"), &lab.bpf_dir()] {
        for verb in [&run_there(&[])[..], &["detach"]] {
            let mut command = bare(&lab, verb);
            command
                .arg("--state-dir")
                .arg(lab.guard_state())
                .arg("--bpf-dir")
                .arg(pins);
            if verb == ["detach"] && !pins.exists() {
                assert!(run(&mut command).0.status.success());
                continue;
            }
            let line = fails(1, &mut command);
            has(
                &line,
                &[
                    "is no directory below a BPF file system",
                    "mount -t bpf",
                    "--bpf-dir",
                ],
            );
        }
    }
    assert_eq!(fs::read_to_string(notes.join("mine")).unwrap(), "mine");
    nothing_is_left(&lab);

    // Only what can be understood may be thrown away.
    let journal = lab.guard_state().join("undo.json");
    fs::create_dir(lab.guard_state()).unwrap();
    fs::write(&journal, "{").unwrap();
    for verb in [&run_there(&[])[..], &["detach"]] {
        let line = fails(1, &mut guard(&lab, verb));
        has(&line, &["undo.json", "by hand"]);
    }
    assert_eq!(names(&lab.guard_state()), ["undo.json"]);
    fs::remove_dir_all(lab.guard_state()).unwrap();
    nothing_is_left(&lab);
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn one_guard_at_a_time() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let line = fails(1, &mut guard(&lab, &["status"]));
    has(
        &line,
        &["no guard answers at ", "control.sock", "`syn-guard run`"],
    );
    nothing_is_left(&lab);

    let mut first = Guard::start(&lab, &[]).unwrap();
    let files = names(&lab.guard_state());
    // Who may open the lock could take it, and no guard would start.
    let lock = fs::metadata(lab.guard_state().join("lock")).unwrap();
    assert_eq!(lock.permissions().mode() & 0o077, 0);
    let pid = format!("(pid {})", first.child().pid());
    let line = fails(1, &mut guard(&lab, &run_there(&[])));
    has(
        &line,
        &["another syn-guard is running here", &pid, "--state-dir"],
    );
    assert_eq!(names(&lab.guard_state()), files);
    first.status(&lab).unwrap();
    assert!(first.stop(Signal::SIGTERM).unwrap().success());
    nothing_is_left(&lab);
}

#[test]
fn without_root() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nobody = ForAll::new();
    let list = |lab: &Lab| {
        let (output, said) = run(&mut nobody.command(lab, &["list", "--json"]));
        assert!(output.status.success() && said.is_empty(), "{said}");
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    list(&lab);
    let line = fails(1, &mut nobody.command(&lab, &run_there(&[])));
    has(&line, &["cannot make the state directory", "run as root"]);
    let line = fails(1, &mut nobody.command(&lab, &["detach"]));
    has(&line, &["needs root"]);
    let line = fails(1, &mut nobody.command(&lab, &["status"]));
    has(&line, &["no guard answers"]);
    nothing_is_left(&lab);

    // In a state directory of its own.
    let own = nobody.folder().join("own");
    fs::create_dir(&own).unwrap();
    std::os::unix::fs::chown(&own, Some(65534), Some(65534)).unwrap();
    let mut command = lab.server().command("setpriv");
    command
        .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--"])
        .arg(nobody.folder().join("syn-guard"))
        .args(run_there(&[]))
        .args([OsStr::new("--state-dir"), own.join("state").as_os_str()])
        .args([OsStr::new("--bpf-dir"), lab.guard_pins().as_os_str()]);
    let line = fails(1, &mut command);
    has(&line, &["needs root", "sudo"]);
    assert!(names(&own).is_empty());

    let guard = Guard::start(&lab, &[]).unwrap();
    list(&lab);
    let line = fails(1, &mut nobody.command(&lab, &["status"]));
    has(&line, &["permission denied", "control.sock", "needs root"]);
    let line = fails(1, &mut nobody.command(&lab, &run_there(&[])));
    has(&line, &["cannot open ", "run as root"]);
    let line = fails(1, &mut nobody.command(&lab, &["detach"]));
    has(&line, &["needs root"]);
    assert!(guard.stop(Signal::SIGTERM).unwrap().success());
    nothing_is_left(&lab);
}
