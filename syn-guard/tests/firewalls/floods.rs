//! The same hosts under a flood, with a guard that waits for one.

use std::time::Duration;

use xtask::lab::{Docker, Firewalld, Flood, Guard, HonestClients, Lab, Nginx, Ufw};

use crate::common::wait_until;

const RATE: u64 = 50_000;

/// Honest clients get their pages through a flood, with cookies.
fn honest_under_a_flood(lab: &Lab, nginx: &Nginx, what: &str) {
    lab.separate_cores().unwrap();
    let guard = Guard::start(lab, &["--mode", "auto"]).unwrap();
    for target in [nginx.ipv4(), nginx.ipv6()] {
        let flood = Flood::new(target)
            .rate(RATE)
            .duration(Duration::from_secs(8))
            .start(lab)
            .unwrap();
        wait_until("it protects", Duration::from_secs(5), || {
            guard.service(lab, 80).unwrap()["state"] == "protecting"
        });
        let report = HonestClients::new(target).run(lab).unwrap();
        let sent = flood.sent().unwrap();
        flood.stop().unwrap();
        println!(
            "{what}, {target}: {} of {} honest connections beside {sent} SYNs, 99 % within {:?}; {:?}",
            report.succeeded, report.tried, report.p99, report.errors
        );
        assert!(sent > RATE, "{sent}");
        assert!(report.share() >= 0.99, "{what}: {:?}", report.errors);
    }
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn a_host_with_firewalld_is_served_under_a_flood() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let Some(_firewalld) = Firewalld::for_test(&lab, &[80]).unwrap() else {
        return;
    };
    honest_under_a_flood(&lab, &nginx, "firewalld");
}

#[test]
fn a_host_with_ufw_is_served_under_a_flood() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let Some(_ufw) = Ufw::for_test(&lab, &[80]).unwrap() else {
        return;
    };
    honest_under_a_flood(&lab, &nginx, "ufw");
}

#[test]
fn a_host_with_docker_is_served_under_a_flood() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let Some(docker) = Docker::for_test(&lab).unwrap() else {
        return;
    };
    docker.publish().unwrap();
    honest_under_a_flood(&lab, &nginx, "docker");
}
