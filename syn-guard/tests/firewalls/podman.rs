//! podman: its rules send what comes for a published port on to a container,
//! while conmon holds a listening socket on it that nobody accepts from.

use xtask::lab::{Guard, Lab, Nginx, PUBLISHED_PORT, Podman, SERVER_IPV4};

use crate::clients::{none_lost_while, twenty, twenty_from_now_on, with_cookies};
use crate::{CHANGES, PROTECT};

#[test]
fn a_host_that_runs_podman_and_its_published_port_are_served() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let Some(podman) = Podman::for_test(&lab).unwrap() else {
        return;
    };
    podman.publish().unwrap();
    let guard = Guard::start(&lab, &PROTECT).unwrap();
    twenty(&lab, nginx.ipv4(), "the host's own service");
    twenty(&lab, nginx.ipv6(), "the host's own service");
    with_cookies(&guard, &lab, 40);
    // It publishes for IPv4 only.
    let published = (SERVER_IPV4, PUBLISHED_PORT).into();
    twenty(&lab, published, "podman's published port");
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn no_connection_of_the_host_is_lost_while_podman_starts_and_stops_a_container() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let Some(podman) = Podman::for_test(&lab).unwrap() else {
        return;
    };
    podman.publish().unwrap();
    let guard = Guard::start(&lab, &PROTECT).unwrap();
    let targets = [nginx.ipv4(), nginx.ipv6()];
    let tried = none_lost_while(&lab, &targets, "podman stops and starts", || {
        for _ in 0..CHANGES {
            podman.stop().unwrap();
            podman.start().unwrap();
        }
    });
    with_cookies(&guard, &lab, tried);
    let published = (SERVER_IPV4, PUBLISHED_PORT).into();
    twenty_from_now_on(&lab, published, "podman's published port");
    assert!(guard.stop_at_once().unwrap().success());
}
