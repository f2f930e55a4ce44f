//! Allowed and denied prefixes, with real packets of both families. Needs root;
//! without it the tests say so and pass, except where `CI=true`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

#[path = "../common/mod.rs"]
mod common;

mod in_force;
mod load;
mod many;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use xtask::lab::{Guard, HandMade, Lab, Nginx, TcpOptions};

/// Long enough for an answer that comes at all.
const ANSWER: Duration = Duration::from_secs(1);
/// A file is looked at every second.
const REREAD: Duration = Duration::from_secs(3);
/// The same on a machine that others keep busy.
const SOON: Duration = Duration::from_secs(30);

/// To read, load or take out a million prefixes.
const MILLION: Duration = Duration::from_secs(120);

/// A lab with a file of denied and one of allowed prefixes.
struct Listed {
    lab: Lab,
    nginx: Nginx,
}

impl Listed {
    fn new(lab: Lab) -> Self {
        let nginx = Nginx::start(&lab).unwrap();
        Self { lab, nginx }
    }

    fn file(&self, list: &str) -> PathBuf {
        self.lab.path(list)
    }

    fn write(&self, list: &str, text: &str) {
        fs::write(self.file(list), text).unwrap();
    }

    fn start(&self, flags: &[&str], deny: &[&str]) -> Guard {
        let config = self.lab.path("lists.toml");
        let mut text = format!("[lists]\ndeny = {deny:?}\n");
        for list in ["allow", "deny"] {
            if self.file(list).exists() {
                text += &format!("{list}_files = [{:?}]\n", self.file(list));
            }
        }
        fs::write(&config, text).unwrap();
        let arguments = [&["--config", config.to_str().unwrap()], flags].concat();
        Guard::start(&self.lab, &arguments).unwrap()
    }

    fn service(&self, ipv6: bool) -> SocketAddr {
        if ipv6 {
            self.nginx.ipv6()
        } else {
            self.nginx.ipv4()
        }
    }

    /// Whether a SYN from there is answered.
    fn answers(&self, hand_made: &mut HandMade, source: IpAddr, port: u16) -> bool {
        let service = self.service(source.is_ipv6());
        let source = (source, port).into();
        let mut flow = hand_made.syn(source, service, TcpOptions::FULL).unwrap();
        hand_made.syn_ack(&mut flow, ANSWER).unwrap()
    }
}

fn count(guard: &Guard, lab: &Lab, name: &str) -> u64 {
    let service = guard.service(lab, 80).unwrap();
    service["counters"][name].as_u64().unwrap()
}

/// What `status` says of the lists. A controller that is at work on a million prefixes
/// answers when it is done with them.
fn listed(guard: &Guard, lab: &Lab, list: &str) -> u64 {
    let mut status = Err("not asked".to_owned());
    common::wait_until("it answers", MILLION, || {
        status = guard.status(lab).map_err(|error| format!("{error:#}"));
        status.is_ok()
    });
    status.unwrap()["prefixes"][list].as_u64().unwrap()
}

/// A hundred thousand prefixes, a line each, spread over the addresses as real
/// lists are, from single ones to /20s; some are there twice.
fn hundred_thousand() -> String {
    (0..100_000_u32)
        .map(|index| {
            let address = Ipv4Addr::from_bits(index.wrapping_mul(2_654_435_761));
            let bits = [32, 24, 22, 20][index as usize % 4];
            let prefix = IpNet::new(address.into(), bits).unwrap().trunc();
            format!("{prefix}\n")
        })
        .collect()
}
