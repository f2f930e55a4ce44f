//! Who is listed, by whom and for how long, on packets.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use xtask::lab::{
    Flood, Guard, HandMade, HonestClients, Lab, Nginx, SERVER_INTERFACE, Segment, TcpOptions,
    patiently,
};

use super::common::{self, page, settle, spoofed, wait_until};
use super::{ANSWER, Listed, REREAD, SOON, count, listed};

#[test]
fn a_denied_source_gets_no_answer_and_its_connections_go_on() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let listed_lab = Listed::new(lab);
    let lab = &listed_lab.lab;
    listed_lab.write("deny", "# nobody yet\n");
    listed_lab.write("allow", "");
    for (mode, port) in [("observe", 10_000), ("protect", 20_000)] {
        listed_lab.write("deny", "");
        let guard = listed_lab.start(&["--mode", mode], &[]);
        let mut hand_made = HandMade::new(lab).unwrap();
        let mut open = Vec::new();
        for ipv6 in [false, true] {
            let source = (spoofed(ipv6, 1), port).into();
            let service = listed_lab.service(ipv6);
            let flow = hand_made.connect(source, service, TcpOptions::FULL, ANSWER);
            open.push(flow.unwrap().unwrap());
        }
        settle(&mut hand_made);

        listed_lab.write("deny", "10.7.0.0/16 # all of them\n2001:db8:2000::/36\n");
        listed_lab.write("allow", "10.7.0.2\n\n2001:db8:2000:2::/64\n");
        wait_until("the files are read", REREAD, || {
            listed(&guard, lab, "deny") == 2 && listed(&guard, lab, "allow") == 2
        });
        let (denied, allowed) = (count(&guard, lab, "denied"), count(&guard, lab, "allowed"));
        for ipv6 in [false, true] {
            let mut answers =
                |index| listed_lab.answers(&mut hand_made, spoofed(ipv6, index), port + 1);
            assert!(!answers(1), "{mode}, IPv6 {ipv6}");
            // The longest prefix decides.
            assert!(answers(2), "{mode}, IPv6 {ipv6}");
        }
        assert_eq!(count(&guard, lab, "denied") - denied, 2, "{mode}");
        assert_eq!(count(&guard, lab, "allowed") - allowed, 2, "{mode}");
        assert_eq!(common::verdict(&guard, lab, "denied"), 2, "{mode}");
        for mut flow in open {
            assert!(page(&mut hand_made, &mut flow).is_some(), "{mode} {flow:?}");
        }
        let metrics = guard.metrics(lab).unwrap();
        assert!(metrics.contains("syn_guard_prefixes{list=\"deny\"} 2"));
        assert!(metrics.contains("syn_guard_syns_denied_total{service=\"80\"} 2"));

        // Nobody is denied any more: at once, not after the next start.
        listed_lab.write("deny", "");
        wait_until("the file is read again", REREAD, || {
            listed(&guard, lab, "deny") == 0
        });
        for ipv6 in [false, true] {
            let source = spoofed(ipv6, 1);
            assert!(listed_lab.answers(&mut hand_made, source, port + 2));
        }
        listed_lab.write("allow", "");
        assert!(guard.stop_at_once().unwrap().success());
    }
}

#[test]
fn what_is_forwarded_for_a_denied_source_goes_on() {
    /// The client's, as text.
    const MAC: &str = "02:00:00:00:00:02";
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let _nginx = Nginx::start(&lab).unwrap();
    let server = lab.server();
    // Back over the same cable, to a host behind it.
    for name in [
        "net.ipv4.conf.all.forwarding",
        "net.ipv6.conf.all.forwarding",
    ] {
        server.set_sysctl(name, "1").unwrap();
    }
    let script = format!(
        "ip route add 198.18.77.0/24 dev {SERVER_INTERFACE}
         ip -6 route add 2001:db8:77::/64 dev {SERVER_INTERFACE}
         ip neigh add 198.18.77.1 lladdr {MAC} dev {SERVER_INTERFACE}
         ip neigh add 2001:db8:77::1 lladdr {MAC} dev {SERVER_INTERFACE}"
    );
    server.output("sh", &["-ec", &script]).unwrap();
    let denied = "lists.deny=10.7.0.0/16,2001:db8:2000::/36";
    for mode in ["observe", "protect"] {
        let guard = Guard::start(&lab, &["--mode", mode, "--set", denied]).unwrap();
        let mut hand_made = HandMade::new(&lab).unwrap();
        for host in ["198.18.77.1:80", "[2001:db8:77::1]:80"] {
            let host: SocketAddr = host.parse().unwrap();
            let source = spoofed(host.is_ipv6(), 1);
            hand_made
                .syn((source, 10_000).into(), host, TcpOptions::FULL)
                .unwrap();
            let begun = Instant::now();
            loop {
                let frame = hand_made.receive_frame(ANSWER).unwrap();
                let frame = frame.unwrap_or_else(|| panic!("{mode}: no SYN reached {host}"));
                let segment = Segment::parse(frame);
                if segment.is_some_and(|it| it.destination == host && it.flags.syn) {
                    break;
                }
                assert!(begun.elapsed() < patiently(SOON), "{mode}: {host}");
            }
        }
        assert_eq!(count(&guard, &lab, "denied"), 0, "{mode}");
        assert_eq!(common::verdict(&guard, &lab, "no_listener"), 2, "{mode}");
        assert!(guard.stop_at_once().unwrap().success());
    }
}

#[test]
fn an_allowed_source_gets_no_cookie_and_is_not_dropped_under_a_flood() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let listed_lab = Listed::new(lab);
    let lab = &listed_lab.lab;
    // The lab's honest clients.
    listed_lab.write("allow", "198.19.0.0/16\n2001:db8:1000::/36\n");
    let guard = listed_lab.start(&["--mode", "auto"], &[]);
    for ipv6 in [false, true] {
        let target = listed_lab.service(ipv6);
        let before = (
            count(&guard, lab, "allowed"),
            count(&guard, lab, "cookies_validated"),
        );
        let flood = Flood::new(target)
            .rate(50_000)
            .duration(3 * SOON)
            .start(lab)
            .unwrap();
        wait_until("it protects", SOON, || {
            guard.service(lab, 80).unwrap()["state"] == "protecting"
        });
        let clients = HonestClients {
            rate: 50,
            duration: Duration::from_secs(2),
            ..HonestClients::new(target)
        };
        let report = clients.run(lab).unwrap();
        flood.stop().unwrap();
        let service = guard.service(lab, 80).unwrap();
        assert!(report.share() >= 0.99, "{report:?} {service}");
        let tried = u64::try_from(report.tried).unwrap();
        let allowed = count(&guard, lab, "allowed") - before.0;
        // A full ring may lose a SYN, which is then sent again.
        assert!((tried..=tried + tried / 5).contains(&allowed), "{service}");
        assert_eq!(
            count(&guard, lab, "cookies_validated"),
            before.1,
            "{service}"
        );
        assert!(count(&guard, lab, "cookies_sent") > 1_000, "{service}");
    }
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn a_file_that_is_broken_or_gone_leaves_what_it_said_in_force_and_says_so_once() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let listed_lab = Listed::new(lab);
    let lab = &listed_lab.lab;
    let file = listed_lab.file("deny").display().to_string();

    // At the start nothing was said before.
    listed_lab.write("deny", "10.7.0.0/16\n10.8.0.1/16\n");
    let wrong = format!("{file}:2: 10.8.0.1/16 has host bits set: did you mean 10.8.0.0/16?");
    let config = lab.path("broken.toml");
    fs::write(&config, format!("[lists]\ndeny_files = [{file:?}]\n")).unwrap();
    let config = config.to_str().unwrap();
    let arguments = ["run", "--iface", SERVER_INTERFACE, "--config", config];
    let refused = lab.syn_guard_output(&arguments).unwrap_err().to_string();
    assert!(refused.contains(&wrong), "{refused}");
    assert!(refused.contains("exit status: 1"), "{refused}");

    listed_lab.write("deny", "10.7.0.0/16\n2001:db8:2000::/36\n");
    let mut guard = listed_lab.start(&["--mode", "observe"], &[]);
    let mut hand_made = HandMade::new(lab).unwrap();
    let mut port = 10_000;
    let mut denied = |guard: &Guard| {
        assert_eq!(listed(guard, lab, "deny"), 2);
        port += 1;
        let answers = |ipv6| listed_lab.answers(&mut hand_made, spoofed(ipv6, 1), port);
        assert_eq!([false, true].map(answers), [false, false]);
    };
    denied(&guard);
    listed_lab.write("deny", "10.7.0.0/16\n10.8.0.1/16\n");
    guard.child().wait_for_line(&wrong, SOON).unwrap();
    denied(&guard);
    fs::remove_file(listed_lab.file("deny")).unwrap();
    let gone = format!("{file}: No such file or directory");
    guard.child().wait_for_line(&gone, SOON).unwrap();
    denied(&guard);
    std::thread::sleep(REREAD);
    let log = guard.log().unwrap();
    for said in [&wrong, &gone] {
        assert_eq!(log.matches(said.as_str()).count(), 1, "{log}");
    }
    listed_lab.write("deny", "10.9.0.0/16\n");
    wait_until("it is right again", SOON, || {
        listed(&guard, lab, "deny") == 1
    });
    let source = spoofed(false, 1);
    assert!(listed_lab.answers(&mut hand_made, source, 20_000));
    assert!(guard.stop_at_once().unwrap().success());
}

#[test]
fn what_is_listed_for_a_time_ends_without_a_controller_and_outlives_a_kill() {
    const LASTING: Duration = Duration::from_secs(10);
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let listed_lab = Listed::new(lab);
    let lab = &listed_lab.lab;
    let mut guard = listed_lab.start(&["--mode", "observe"], &["10.7.0.0/24"]);
    let mut hand_made = HandMade::new(lab).unwrap();
    let (by_config, by_config_6) = (spoofed(false, 1), spoofed(true, 1));
    let (for_a_time, for_a_time_6) = (spoofed(false, 0x101), spoofed(true, 0x101));
    let mut port = 10_000;
    let mut answers = |source| {
        port += 1;
        listed_lab.answers(&mut hand_made, source, port)
    };
    assert!(!answers(by_config), "the configuration denies it");
    assert!(answers(for_a_time) && answers(for_a_time_6) && answers(by_config_6));
    for arguments in [
        ["allow", "10.7.0.0/24"],
        ["deny", "10.7.1.0/24"],
        ["deny", "2001:db8:2000:101::/64"],
    ] {
        let [list, prefix] = arguments;
        let arguments = [list, "add", prefix, "--for", "10s"];
        lab.syn_guard_output(&arguments).unwrap();
    }
    let added = Instant::now();
    assert!(answers(by_config), "what was said last counts");
    assert!(!answers(for_a_time) && !answers(for_a_time_6));
    guard.child().signal(Signal::SIGSTOP).unwrap();
    std::thread::sleep((LASTING + ANSWER).saturating_sub(added.elapsed()));
    assert!(answers(for_a_time) && answers(for_a_time_6), "it is over");
    assert!(!answers(by_config), "what the configuration says is back");
    guard.child().signal(Signal::SIGCONT).unwrap();
    wait_until("the controller says so, too", SOON, || {
        let log = guard.log().unwrap();
        log.contains("the time of 10.7.1.0/24 on the list `deny` is over")
            && listed(&guard, lab, "deny") == 1
            && listed(&guard, lab, "allow") == 0
    });

    let deny = |arguments: &[&str]| {
        let arguments = [&["deny"], arguments].concat();
        lab.syn_guard_output(&arguments).unwrap()
    };
    deny(&["add", "10.7.1.0/24"]);
    deny(&["add", "2001:db8:2000:101::/64", "--for", "10m"]);
    assert!(!guard.stop(Signal::SIGKILL).unwrap().success());
    assert!(!answers(for_a_time), "the data path goes on");
    let guard = listed_lab.start(&["--mode", "observe"], &["10.7.0.0/24"]);
    assert!(!answers(for_a_time) && !answers(for_a_time_6) && !answers(by_config));
    let list: serde_json::Value = serde_json::from_str(&deny(&["list", "--json"])).unwrap();
    let origins: Vec<_> = (0..3).map(|index| &list[index]["origin"]).collect();
    assert_eq!(origins, ["config", "run time", "run time"], "{list}");
    let left = list[2]["ends_in_seconds"].as_u64().unwrap();
    assert!((480..=600).contains(&left), "{list}");
    deny(&["del", "10.7.1.0/24"]);
    deny(&["del", "2001:db8:2000:101::/64"]);
    assert!(answers(for_a_time) && answers(for_a_time_6));
    assert!(guard.stop_at_once().unwrap().success());
}
