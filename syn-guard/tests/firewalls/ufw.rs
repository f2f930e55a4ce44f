//! ufw, which makes no NAT chain and drops what conntrack calls invalid.

use xtask::lab::{Guard, Lab, Nginx, Ufw};

use crate::clients::{none_lost_while, twenty, with_cookies};
use crate::{CHANGES, PROTECT};

#[test]
fn a_port_that_ufw_allows_is_served_with_cookies() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let Some(_ufw) = Ufw::for_test(&lab, &[80]).unwrap() else {
        return;
    };
    let guard = Guard::start(&lab, &PROTECT).unwrap();
    twenty(&lab, nginx.ipv4(), "ufw");
    twenty(&lab, nginx.ipv6(), "ufw");
    with_cookies(&guard, &lab, 40);
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn no_connection_is_lost_while_ufw_reloads() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let Some(ufw) = Ufw::for_test(&lab, &[80]).unwrap() else {
        return;
    };
    let guard = Guard::start(&lab, &PROTECT).unwrap();
    let targets = [nginx.ipv4(), nginx.ipv6()];
    let tried = none_lost_while(&lab, &targets, "reloads of ufw", || {
        for _ in 0..CHANGES {
            ufw.reload().unwrap();
        }
    });
    with_cookies(&guard, &lab, tried);
    assert!(guard.stop_at_once().unwrap().success());
}
