//! firewalld, which makes NAT chains and drops what conntrack calls invalid.

use xtask::lab::{Firewalld, Guard, Lab, Nginx};

use crate::clients::{none_lost_while, twenty, with_cookies};
use crate::{CHANGES, PROTECT};

#[test]
fn a_port_that_firewalld_opens_is_served_with_cookies() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let Some(_firewalld) = Firewalld::for_test(&lab, &[80]).unwrap() else {
        return;
    };
    for xdp in ["native", "generic"] {
        let guard = Guard::start(&lab, &["--mode", "protect", "--xdp-mode", xdp]).unwrap();
        twenty(&lab, nginx.ipv4(), xdp);
        twenty(&lab, nginx.ipv6(), xdp);
        with_cookies(&guard, &lab, 40);
        assert!(guard.stop_at_once().unwrap().success());
    }
}

#[test]
fn no_connection_is_lost_while_firewalld_reloads() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let Some(firewalld) = Firewalld::for_test(&lab, &[80]).unwrap() else {
        return;
    };
    let guard = Guard::start(&lab, &PROTECT).unwrap();
    let targets = [nginx.ipv4(), nginx.ipv6()];
    let tried = none_lost_while(&lab, &targets, "reloads of firewalld", || {
        for _ in 0..CHANGES {
            firewalld.reload().unwrap();
        }
    });
    with_cookies(&guard, &lab, tried);
    assert!(guard.stop_at_once().unwrap().success());
}
