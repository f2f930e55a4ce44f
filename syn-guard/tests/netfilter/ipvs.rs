//! A virtual service of IPVS on an own address, as kube-proxy makes them, on whose port
//! the host listens as well: its clients are the real server's, whatever the guard does.
//! Without IPVS in the kernel the tests say so and pass.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use xtask::lab::{Flood, Guard, Lab, SERVER_IPV4, SERVER_IPV6, patiently};

use crate::clients::{all_get, all_get_by_cookies, fetch};
use crate::common::wait_until;
use crate::servers::{CONTAINER, Server, container};
use crate::virtual_services::Ipvs;
use crate::{ENGINES, SOON, counter, protect, rules, stop};

const PORT: u16 = 8080;
/// Addresses of the service, on an interface that leads nowhere.
const VIRTUAL: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 96, 0, 0, 0, 10)),
];
/// Whether IPVS takes up connections whose SYN it did not see.
const SLOPPY: &str = "net.ipv4.vs.sloppy_tcp";
/// A flood that any machine bears.
const RATE: u64 = 2_000;

fn at(addresses: [IpAddr; 2]) -> [SocketAddr; 2] {
    addresses.map(|address| (address, PORT).into())
}

fn own() -> [SocketAddr; 2] {
    at([SERVER_IPV4.into(), SERVER_IPV6.into()])
}

/// The service's addresses, a route to them, and both servers; none where there is no
/// IPVS.
fn set_up(lab: &Lab) -> Option<[Server; 2]> {
    if lab.server().run(Ipvs::open).unwrap().is_none() {
        println!("skipped: this kernel has no IPVS (CONFIG_IP_VS, module ip_vs)");
        return None;
    }
    let [ipv4, ipv6] = VIRTUAL;
    let script = format!(
        "ip link add sg-virtual type dummy
         ip link set sg-virtual up
         ip address add {ipv4}/32 dev sg-virtual
         ip address add {ipv6}/128 dev sg-virtual nodad"
    );
    lab.server().output("sh", &["-ec", &script]).unwrap();
    let script = format!(
        "ip route add {ipv4} via {SERVER_IPV4}
         ip route add {ipv6} via {SERVER_IPV6}"
    );
    lab.client().output("sh", &["-ec", &script]).unwrap();
    Some([
        Server::on_all(lab, "host", PORT),
        container(lab, "container", PORT),
    ])
}

/// Has IPVS lead the service's connections to the container.
fn lead_to_container(lab: &Lab) {
    let add = || {
        let ipvs = Ipvs::open().unwrap();
        for (service, server) in VIRTUAL.into_iter().zip(CONTAINER) {
            ipvs.add_service(service, PORT);
            ipvs.add_server(service, PORT, server.parse().unwrap());
        }
    };
    lab.server().run(add).unwrap();
}

#[test]
fn a_virtual_service_is_the_real_servers() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let Some(_servers) = set_up(&lab) else {
        return;
    };
    lead_to_container(&lab);
    all_get(&lab, "no guard", "container", &at(VIRTUAL));
    for sloppy in ["0", "1"] {
        lab.server().set_sysctl(SLOPPY, sloppy).unwrap();
        for engine in ENGINES {
            let what = |mode: &str| format!("{mode}, engine {engine}, sloppy_tcp {sloppy}");
            let guard = Guard::start(&lab, &["--mode", "observe", "--engine", engine]).unwrap();
            all_get(&lab, &what("observe"), "container", &at(VIRTUAL));
            all_get(&lab, &what("observe, own"), "host", &own());
            stop(guard);

            let guard = protect(&lab, engine);
            let sent = || counter(&guard, &lab, PORT, "cookies_sent");
            all_get(&lab, &what("protect"), "container", &at(VIRTUAL));
            assert_eq!(sent(), 0, "{}", what("protect"));
            all_get_by_cookies(&lab, &guard, &what("protect, own"), "host", &own());
            let before = sent();
            all_get(&lab, &what("protect, again"), "container", &at(VIRTUAL));
            assert_eq!(sent(), before, "{}", what("protect, again"));
            stop(guard);

            let limits = [
                "--mode",
                "auto",
                "--max-half-open",
                "50",
                "--engine",
                engine,
            ];
            let guard = Guard::start(&lab, &limits).unwrap();
            let flood = Flood::new(own()[0])
                .rate(RATE)
                .duration(patiently(Duration::from_secs(60)))
                .start(&lab)
                .unwrap();
            wait_until("it protects", SOON, || {
                guard.service(&lab, PORT).unwrap()["state"] == "protecting"
            });
            all_get(&lab, &what("auto, a flood"), "container", &at(VIRTUAL));
            flood.stop().unwrap();
            stop(guard);
        }
    }
}

#[test]
fn a_virtual_service_that_comes_takes_its_clients_at_once() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let Some(_servers) = set_up(&lab) else {
        return;
    };
    let passing = "table inet sg_filter {
        chain input {
            type filter hook input priority filter; policy accept;
        }
    }";
    for (text, of_rules) in [("", "no rules"), (passing, "rules that pass all")] {
        rules(&lab, text);
        for engine in ENGINES {
            let what = |step: &str| format!("{step}, {of_rules}, engine {engine}");
            let guard = protect(&lab, engine);
            all_get_by_cookies(&lab, &guard, &what("before"), "host", &at(VIRTUAL));
            lead_to_container(&lab);
            // While it protects it looks ten times a second.
            std::thread::sleep(patiently(Duration::from_secs(1)));
            all_get(&lab, &what("then"), "container", &at(VIRTUAL));
            lab.server()
                .run(|| Ipvs::open().unwrap().remove_all())
                .unwrap();
            stop(guard);
        }
    }
}

#[test]
fn of_two_real_servers_the_host_may_be_one() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let Some(_servers) = set_up(&lab) else {
        return;
    };
    lead_to_container(&lab);
    let add = || {
        let ipvs = Ipvs::open().unwrap();
        for (service, server) in at(VIRTUAL).into_iter().zip(own()) {
            ipvs.add_server(service.ip(), PORT, server.ip());
        }
    };
    lab.server().run(add).unwrap();
    let all_get_their_turn = |what: &str| {
        for target in at(VIRTUAL) {
            let pages: Vec<_> = (0..20).map(|_| fetch(&lab, target).unwrap()).collect();
            let of = |server: &str| pages.iter().filter(|page| *page == server).count();
            let turns = (of("host"), of("container"));
            println!("{what}: {target}: {turns:?} of 20 from host and container");
            assert_eq!(turns, (10, 10), "{what}: {target}");
        }
    };
    all_get_their_turn("no guard");
    for engine in ENGINES {
        let guard = protect(&lab, engine);
        all_get_their_turn(&format!("protect, engine {engine}"));
        stop(guard);
    }
}
