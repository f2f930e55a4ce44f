//! NAT: the kernel's own cookies take over.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use xtask::lab::{Guard, Lab, Nginx, PAGE, patiently};

use crate::clients::{all_get, all_get_by_cookies, get};
use crate::common::wait_until;
use crate::{SOON, engine, events, protect, rules, stop};

/// NAT that is for connections to other addresses.
pub const FOR_OTHERS: &str = "table inet sg_nat {
    chain prerouting {
        type nat hook prerouting priority dstnat;
        meta nfproto ipv4 ip daddr 198.18.77.1 tcp dport 80 dnat ip to 198.18.77.2
        meta nfproto ipv6 ip6 daddr 2001:db8:77::1 tcp dport 80 dnat ip6 to 2001:db8:77::2
    }
}";
/// An empty chain of NAT beside a firewall that knows connections.
const EMPTY: &str = "table ip sg_nat {
    chain postrouting { type nat hook postrouting priority srcnat; }
}
table inet sg_filter {
    chain input {
        type filter hook input priority filter;
        ct state established counter accept
    }
}";
const FOR_IPV6: &str = "table ip6 sg_nat {
    chain prerouting { type nat hook prerouting priority dstnat; }
}";
/// So many of fifty clients a second may lose their connection until the kernel makes
/// cookies.
const LOST: usize = 2;

/// Behind NAT the kernel makes cookies, and says why.
#[track_caller]
fn kernel_for_nat(guard: &Guard, lab: &Lab) {
    let (name, reason) = engine(guard, lab);
    assert_eq!(name, "kernel", "{reason}");
    assert!(reason.contains("NAT"), "{reason}");
}

#[test]
fn behind_nat_the_kernels_cookies_make_connections() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let both = [nginx.ipv4(), nginx.ipv6()];
    let cases: [(&str, &str, &[SocketAddr]); 3] = [
        ("NAT for others", FOR_OTHERS, &both),
        ("an empty chain of NAT", EMPTY, &both),
        ("NAT for IPv6", FOR_IPV6, &both[1..]),
    ];
    for (what, text, targets) in cases {
        rules(&lab, text);
        all_get(&lab, what, PAGE, targets);
        let guard = protect(&lab, "auto");
        kernel_for_nat(&guard, &lab);
        all_get_by_cookies(&lab, &guard, what, PAGE, targets);
        stop(guard);
    }
}

#[test]
fn nat_that_appears_while_clients_come_costs_a_moment() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let nginx = Nginx::start(&lab).unwrap();
    let guard = protect(&lab, "auto");
    assert_eq!(engine(&guard, &lab).0, "reqsk");
    let over = Arc::new(AtomicBool::new(false));
    let kernels = Arc::new(AtomicBool::new(false));
    let pages = Arc::new(AtomicUsize::new(0));
    let clients = {
        let (over, kernels) = (Arc::clone(&over), Arc::clone(&kernels));
        let pages = Arc::clone(&pages);
        let targets = [nginx.ipv4(), nginx.ipv6()];
        lab.client().start(move || {
            let mut failed = Vec::new();
            for target in targets.iter().cycle() {
                if over.load(Ordering::Acquire) {
                    break;
                }
                let after = kernels.load(Ordering::Acquire);
                match get(*target, patiently(SOON)) {
                    Ok(page) if page == PAGE => drop(pages.fetch_add(1, Ordering::AcqRel)),
                    other => failed.push((after, other)),
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(failed)
        })
    };
    let fifty_more = || {
        let before = pages.load(Ordering::Acquire);
        wait_until("fifty more pages", SOON * 3, || {
            pages.load(Ordering::Acquire) >= before + 50
        });
    };
    fifty_more();
    rules(&lab, FOR_OTHERS);
    wait_until("the kernel makes cookies", SOON, || {
        engine(&guard, &lab).0 == "kernel"
    });
    kernels.store(true, Ordering::Release);
    fifty_more();
    over.store(true, Ordering::Release);
    let failed = clients.join().unwrap().unwrap();
    let pages = pages.load(Ordering::Acquire);
    println!("{pages} pages, {} failed", failed.len());
    kernel_for_nat(&guard, &lab);
    let told = events(&lab, "engine");
    assert!(told.iter().any(|text| text.contains("NAT")), "{told:?}");
    all_get_by_cookies(&lab, &guard, "later", PAGE, &[nginx.ipv4(), nginx.ipv6()]);
    assert!(failed.len() <= LOST, "{failed:?}");
    assert!(failed.iter().all(|(after, _)| !after), "{failed:?}");
    stop(guard);
}
