//! A guarded interface that is a port of a bridge, whose packets the firewall gets.

use std::process::Command;

use xtask::lab::{
    CLIENT_IPV4, CLIENT_IPV6, CLIENT_MAC, Lab, Nginx, PAGE, SERVER_INTERFACE, SERVER_IPV4,
    SERVER_IPV6, SERVER_MAC,
};

use crate::clients::{all_get, all_get_by_cookies};
use crate::{engine, protect, stop};

fn words(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Makes the server's interface the port of a bridge that has its addresses.
fn make_bridge(lab: &Lab) {
    let client = words(CLIENT_MAC);
    let script = format!(
        "ip link add sg-bridge address {} type bridge
         ip address flush dev {SERVER_INTERFACE}
         ip link set {SERVER_INTERFACE} master sg-bridge
         ip link set sg-bridge addrgenmode none up
         ip address add {SERVER_IPV4}/24 dev sg-bridge
         ip address add {SERVER_IPV6}/64 dev sg-bridge nodad
         ip neigh replace {CLIENT_IPV4} lladdr {client} dev sg-bridge nud permanent
         ip neigh replace {CLIENT_IPV6} lladdr {client} dev sg-bridge nud permanent",
        words(SERVER_MAC)
    );
    lab.server().output("sh", &["-ec", &script]).unwrap();
}

#[test]
fn behind_br_netfilter_the_kernels_cookies_make_connections() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    // It is built in, or there already, where this fails.
    let _ = Command::new("modprobe").arg("br_netfilter").output();
    make_bridge(&lab);
    for calls in ["iptables", "ip6tables"] {
        let name = format!("net.bridge.bridge-nf-call-{calls}");
        if let Err(error) = lab.server().set_sysctl(&name, "1") {
            eprintln!("skipped: this kernel has no br_netfilter: {error:#}");
            return;
        }
    }
    let nginx = Nginx::start(&lab).unwrap();
    let both = [nginx.ipv4(), nginx.ipv6()];
    all_get(&lab, "without a guard", PAGE, &both);
    let guard = protect(&lab, "auto");
    let (name, reason) = engine(&guard, &lab);
    assert_eq!(name, "kernel", "{reason}");
    let part = format!("{SERVER_INTERFACE} is a port of a bridge");
    assert!(reason.contains(&part), "{reason}");
    all_get_by_cookies(&lab, &guard, "a bridge's port", PAGE, &both);
    stop(guard);
}
