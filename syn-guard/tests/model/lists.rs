//! Whom no prefix can match is not looked for.

use std::net::IpAddr;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Map, MapData};
use ipnet::IpNet;
use syn_guard::datapath::prefix_key;
use syn_guard_common::abi::{ListKind, PrefixEntry, Reason};
use syn_guard_common::address::Address;
use xtask::lab::Lab;

use crate::build::Segment;
use crate::reference::{Engine, Frame};
use crate::rig::{Rig, entry, lab_for};
use crate::setting::{PROTECTING, server, set_up};

#[test]
fn whom_no_prefix_can_match_costs_no_look_up() {
    if let Some(lab) = lab_for(Engine::Kernel) {
        lab.server().run(|| check(&lab)).unwrap();
    }
}

fn syn(client: IpAddr) -> Frame {
    let to = (server(client.is_ipv6()), PROTECTING).into();
    Segment::syn((client, 40_000).into(), to).build()
}

/// Puts a prefix where the program looks, behind the back of the filter: who
/// is looked for is found.
fn check(lab: &Lab) {
    let mut rig = Rig::new(lab, Engine::Kernel);
    set_up(&mut rig, lab, 1);
    let pin = lab.bpf_dir().join("model/PREFIXES");
    let map = Map::LpmTrie(MapData::from_pin(pin).unwrap());
    let mut trie: LpmTrie<_, Address, PrefixEntry> = map.try_into().unwrap();
    // Shorter and longer ones, for each kind of bits.
    for (prefix, client) in [
        ("10.99.0.0/16", "10.99.1.2"),
        ("10.98.1.0/24", "10.98.1.2"),
        ("10.97.1.2/32", "10.97.1.2"),
        ("2a00::/16", "2a00::1"),
        ("2a01:7::/32", "2a01:7::1"),
        ("2a02:7:7::/48", "2a02:7:7::1"),
        ("2a03:7:7:7::1/128", "2a03:7:7:7::1"),
    ] {
        let prefix: IpNet = prefix.parse().unwrap();
        let client: IpAddr = client.parse().unwrap();
        let key = prefix_key(prefix);
        let denied = entry(prefix, ListKind::Deny);
        trie.insert(&Key::new(key.bits, key.address), denied, 0)
            .unwrap();
        let frame = rig.fit(syn(client));
        assert_eq!(rig.run(&frame).unwrap(), Reason::CookieSent, "{prefix}");
        rig.list(&prefix.to_string(), ListKind::Deny);
        assert_eq!(rig.run(&frame).unwrap(), Reason::Denied, "{prefix}");
    }
    // A prefix of IPv6 means no address of IPv4, though these are mapped into it
    // and the third one is looked for.
    rig.list("::/0", ListKind::Deny);
    for (client, gets) in [
        ("10.96.1.2", Reason::CookieSent),
        ("10.98.1.255", Reason::Denied),
        ("10.97.1.3", Reason::CookieSent),
        ("2a05::1", Reason::Denied),
    ] {
        let frame = rig.fit(syn(client.parse().unwrap()));
        assert_eq!(rig.run(&frame).unwrap(), gets, "{client}");
    }
}
