//! Who may ask, and what is said where nobody answers.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use xtask::lab::{Guard, Lab};

use super::{fails, one_line};
use crate::common::for_all::ForAll;

/// A call of each verb that asks the guard.
const ASKS: [&[&str]; 9] = [
    &["status"],
    &["events"],
    &["events", "--follow", "--json"],
    &["protect", "80", "on"],
    &["set", "detection.hold", "30"],
    &["reload"],
    &["deny", "add", "192.0.2.1", "--for", "10m"],
    &["deny", "del", "192.0.2.1"],
    &["allow", "list", "--json"],
];

#[test]
fn the_socket_is_roots_and_whoever_may_not_ask_is_told_in_one_line() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let socket = lab.guard_state().join("control.sock");
    for arguments in ASKS {
        assert_eq!(
            fails(&lab, 1, arguments),
            format!(
                "syn-guard: no guard answers at {}: start it with `syn-guard run`",
                socket.display()
            )
        );
    }
    let guard = Guard::start(&lab, &[]).unwrap();
    let permissions = fs::symlink_metadata(&socket).unwrap().permissions();
    assert_eq!(permissions.mode() & 0o777, 0o600);
    let nobody = ForAll::new();
    for arguments in ASKS {
        let output = nobody.command(&lab, arguments).output().unwrap();
        assert_eq!(
            one_line(&output, 1),
            format!(
                "syn-guard: permission denied on {}: asking the guard needs root",
                socket.display()
            )
        );
    }
    for (arguments, says) in [
        (&["protect", "80"][..], "<MODE>"),
        (
            &["protect", "80", "maybe"],
            "[possible values: on, off, auto, default]",
        ),
        (&["protect", "0", "on"], "0 is not in 1..=65535"),
        (&["set", "detection.hold"], "<VALUE>"),
        (&["events", "80"], "unexpected argument '80'"),
    ] {
        let said = fails(&lab, 2, arguments);
        assert!(said.contains(says), "{said}");
    }
    assert!(guard.stop_at_once().unwrap().success());
}
