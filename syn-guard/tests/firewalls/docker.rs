//! docker: its rules make NAT chains, send what comes for a published port on
//! to a container, and its proxy listens on that port beside them.

use std::net::SocketAddr;

use xtask::lab::{Docker, Guard, Lab, Nginx, PUBLISHED_PORT, SERVER_IPV4, SERVER_IPV6};

use crate::clients::{none_lost_while, twenty, twenty_from_now_on, with_cookies};
use crate::common::{SOON, validated};
use crate::{CHANGES, PROTECT};

#[test]
fn a_host_that_runs_docker_and_its_published_port_are_served() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let Some(docker) = Docker::for_test(&lab).unwrap() else {
        return;
    };
    docker.publish().unwrap();
    let guard = Guard::start(&lab, &PROTECT).unwrap();
    twenty(&lab, nginx.ipv4(), "the host's own service");
    twenty(&lab, nginx.ipv6(), "the host's own service");
    with_cookies(&guard, &lab, 40);
    // IPv4 goes to the container, IPv6 to docker's proxy.
    for host in [SERVER_IPV4.into(), SERVER_IPV6.into()] {
        let published = SocketAddr::new(host, PUBLISHED_PORT);
        twenty(&lab, published, "docker's published port");
    }
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn a_port_that_docker_publishes_without_its_proxy_is_served() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let without = ["--userland-proxy=false"];
    let Some(docker) = Docker::for_test_with(&lab, &without).unwrap() else {
        return;
    };
    docker.publish().unwrap();
    let guard = Guard::start(&lab, &PROTECT).unwrap();
    // dockerd itself listens, and accepts from nobody.
    let published = (SERVER_IPV4, PUBLISHED_PORT).into();
    twenty(&lab, published, "docker's published port, no proxy");
    twenty(&lab, nginx.ipv4(), "the host's own service");
    with_cookies(&guard, &lab, 20);
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn a_port_that_docker_publishes_while_it_is_protected_is_served() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let Some(docker) = Docker::for_test(&lab).unwrap() else {
        return;
    };
    let guard = Guard::start(&lab, &PROTECT).unwrap();
    docker.publish().unwrap();
    let published = (SERVER_IPV4, PUBLISHED_PORT).into();
    twenty_from_now_on(&lab, published, "docker's published port");
    twenty(&lab, nginx.ipv4(), "the host's own service");
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn no_connection_of_the_host_is_lost_while_docker_starts_and_stops_a_container() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let Some(docker) = Docker::for_test(&lab).unwrap() else {
        return;
    };
    docker.publish().unwrap();
    let guard = Guard::start(&lab, &PROTECT).unwrap();
    let targets = [nginx.ipv4(), nginx.ipv6()];
    let tried = none_lost_while(&lab, &targets, "docker stops and starts", || {
        for _ in 0..CHANGES {
            docker.stop().unwrap();
            docker.start().unwrap();
        }
    });
    with_cookies(&guard, &lab, tried);
    let published = (SERVER_IPV4, PUBLISHED_PORT).into();
    twenty_from_now_on(&lab, published, "docker's published port");
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn a_host_is_served_whose_docker_comes_while_it_is_protected() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &PROTECT).unwrap();
    twenty(&lab, nginx.ipv4(), "before docker");
    let mut docker = None;
    let targets = [nginx.ipv4(), nginx.ipv6()];
    let tried = none_lost_while(&lab, &targets, "docker comes", || {
        docker = Docker::for_test(&lab).unwrap();
        if let Some(docker) = &docker {
            docker.publish().unwrap();
        }
        std::thread::sleep(SOON);
    });
    assert!(validated(&guard, &lab) >= tried as u64 / 2);
    assert!(guard.stop_at_once().unwrap().success());
}
