use std::{net::SocketAddr, time::Duration};

use super::*;
use crate::kernel::sock_diag::{HalfOpen, Listener};

struct Guarded;

impl GuardView for Guarded {
    fn service_state(&self, port: u16) -> Option<String> {
        (port == 80).then(|| "protecting".to_owned())
    }
}

/// No guard is running.
struct NoGuard;

impl GuardView for NoGuard {
    fn service_state(&self, _port: u16) -> Option<String> {
        None
    }
}

fn half_open(local: &str, remote: &str, ipv6_socket: bool, retransmits: u8, age: u64) -> HalfOpen {
    HalfOpen {
        local: local.parse().unwrap(),
        remote: remote.parse().unwrap(),
        ipv6_socket,
        retransmits,
        expires: Duration::from_millis(500),
        age: Duration::from_millis(age),
    }
}

fn listener(local: &str, ipv6_socket: bool, backlog: u32) -> Listener {
    let local: SocketAddr = local.parse().unwrap();
    Listener {
        local,
        ipv6_socket,
        v6_only: false,
        backlog,
        accept_queue: 1,
        rcvbuf: 131_072,
        tos: 0,
        traffic_class: 0,
        mptcp: false,
        inode: 1,
    }
}

fn snapshot() -> Snapshot {
    Snapshot {
        half_open: vec![
            half_open("[2001:db8::1]:443", "[2001:db8:1::2]:1025", true, 0, 100),
            half_open("[2001:db8::1]:443", "[2001:db8:1::1]:1024", true, 1, 1500),
            half_open("10.0.0.1:80", "198.18.0.9:5000", false, 2, 4200),
            half_open("10.0.0.1:80", "198.18.0.9:5001", false, 0, 200),
            half_open("10.0.0.1:443", "198.18.0.9:5002", true, 0, 0),
        ],
        listeners: vec![
            listener("[::]:443", true, 128),
            listener("[::]:443", true, 64),
            listener("0.0.0.0:80", false, 511),
        ],
        ..Snapshot::default()
    }
}

fn shown(args: &ListArgs) -> String {
    let mut out = Vec::new();
    write(args, &snapshot(), &Guarded, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn connections_as_a_table() {
    let expected = "\
Proto  Local address      Remote address        State     PID/program   Age  Retransmits  Of source  Service
tcp    10.0.0.1:80        198.18.0.9:5000       SYN_RECV  -            4.2s            2          3  protecting
tcp    10.0.0.1:80        198.18.0.9:5001       SYN_RECV  -            0.2s            0          3  protecting
tcp6   10.0.0.1:443       198.18.0.9:5002       SYN_RECV  -            0.0s            0          3  -
tcp6   [2001:db8::1]:443  [2001:db8:1::1]:1024  SYN_RECV  -            1.5s            1          2  -
tcp6   [2001:db8::1]:443  [2001:db8:1::2]:1025  SYN_RECV  -            0.1s            0          2  -
5 half-open connections from 2 sources to 2 services; 2 retransmitted
";
    assert_eq!(shown(&ListArgs::default()), expected);
}

#[test]
fn sources_as_a_table() {
    let args = ListArgs {
        by_source: true,
        ..ListArgs::default()
    };
    let expected = "\
Source           Half-open  Services  Oldest  Retransmitted
198.18.0.9               3  80,443      4.2s              1
2001:db8:1::/64          2  443         1.5s              1
5 half-open connections from 2 sources to 2 services; 2 retransmitted
";
    assert_eq!(shown(&args), expected);
}

#[test]
fn services_as_a_table() {
    let args = ListArgs {
        by_service: true,
        ..ListArgs::default()
    };
    let expected = "\
Port  Half-open       Backlog  Accept queue  PID/program  Sources  Oldest  Retransmitted  Service
 443          3  192 (min 64)             2  -                  2    1.5s              1  -
  80          2           511             1  -                  1    4.2s              1  protecting
5 half-open connections from 2 sources to 2 services; 2 retransmitted
";
    assert_eq!(shown(&args), expected);
}

#[test]
fn nothing_says_so() {
    let mut out = Vec::new();
    let nothing = Snapshot::default();
    write(&ListArgs::default(), &nothing, &NoGuard, &mut out).unwrap();
    assert_eq!(out, b"No half-open connections.\n");
    out.clear();
    let args = ListArgs {
        netstat: true,
        ..ListArgs::default()
    };
    write(&args, &nothing, &NoGuard, &mut out).unwrap();
    assert_eq!(out, b"");
}

#[test]
fn json_has_one_key_and_stable_names() {
    let json =
        |args: &ListArgs| -> serde_json::Value { serde_json::from_str(&shown(args)).unwrap() };
    let mut args = ListArgs {
        json: true,
        ..ListArgs::default()
    };
    let all = json(&args);
    assert_eq!(all.as_object().unwrap().len(), 1);
    let expected = serde_json::json!({
        "proto": "tcp", "local_address": "10.0.0.1", "local_port": 80,
        "remote_address": "198.18.0.9", "remote_port": 5000, "state": "SYN_RECV",
        "pid": null, "program": null, "age_seconds": 4.2, "expires_seconds": 0.5,
        "retransmits": 2, "source": "198.18.0.9", "source_half_open": 3,
        "service_state": "protecting",
    });
    assert_eq!(all["half_open"][0], expected);

    args.by_source = true;
    let expected = serde_json::json!({
        "source": "2001:db8:1::/64", "half_open": 2, "services": [443],
        "oldest_age_seconds": 1.5, "retransmitted": 1,
    });
    assert_eq!(json(&args)["by_source"][1], expected);

    (args.by_source, args.by_service) = (false, true);
    let expected = serde_json::json!({
        "port": 443, "half_open": 3, "listeners": 2, "backlog": 192, "backlog_min": 64,
        "accept_queue": 2, "pid": null, "program": null, "sources": 2,
        "oldest_age_seconds": 1.5, "retransmitted": 1, "service_state": null,
    });
    assert_eq!(json(&args)["by_service"][0], expected);
}

#[test]
fn netstat_lines() {
    let args = ListArgs {
        netstat: true,
        ..ListArgs::default()
    };
    let first = "tcp6       0      0 2001:db8::1:443         2001:db8:1::2:1025      SYN_RECV   ";
    assert_eq!(shown(&args).lines().next(), Some(first));
}

#[test]
fn the_arguments_that_exclude_each_other() {
    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        list: ListArgs,
    }
    let parse = |words: &[&str]| {
        let words = std::iter::once("list").chain(words.iter().copied());
        <Cli as clap::Parser>::try_parse_from(words).map(|cli| cli.list)
    };
    assert!(parse(&["--by-source", "--json"]).unwrap().by_source);
    assert!(parse(&["--by-source", "--by-service"]).is_err());
    for other in ["--by-source", "--by-service", "--json"] {
        assert!(parse(&["--netstat", other]).is_err(), "{other}");
    }
}
