//! The lab does what tests rely on. Needs root; without it every test says so and passes, except
//! where `CI=true`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use xtask::lab::{
    CLIENT_INTERFACE, Capture, Flood, HandMade, HonestClients, Lab, Nginx, NginxSetup, PAGE,
    ShortConnections, TcpOptions, fetch, honest_ipv4, honest_ipv6, patiently,
};

/// Long enough for anything that is to happen at once, on a machine that others keep busy too.
const SOON: Duration = Duration::from_secs(30);

fn lab() -> Option<Lab> {
    Lab::for_test().unwrap()
}

fn half_open(lab: &Lab) -> usize {
    lab.server()
        .output("ss", &["-Htn", "state", "syn-recv"])
        .unwrap()
        .lines()
        .count()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + patiently(SOON);
    while !holds() {
        assert!(Instant::now() < deadline, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_lab_takes_everything_along_when_it_goes() {
    let Some(lab) = lab() else { return };
    let (server, bpf, state) = (
        lab.server().name().to_owned(),
        lab.bpf_dir(),
        lab.state_dir(),
    );
    assert!(Path::new("/run/netns").join(&server).exists());
    let mut sleeper = lab
        .server()
        .spawn(
            lab.server()
                .command("sh")
                .args(["-c", "echo ready; exec sleep 60"]),
        )
        .unwrap();
    sleeper.wait_for_line("ready", SOON).unwrap();
    let missing = sleeper.wait_for_line("never", Duration::from_millis(20));
    assert!(missing.unwrap_err().to_string().contains("ready"));
    assert!(
        std::fs::read_to_string("/proc/mounts")
            .unwrap()
            .contains(bpf.to_str().unwrap())
    );
    drop(lab);
    sleeper.wait(Duration::ZERO).unwrap();
    assert!(!Path::new("/run/netns").join(&server).exists());
    assert!(!bpf.exists() && !state.exists());
    assert!(
        !std::fs::read_to_string("/proc/mounts")
            .unwrap()
            .contains(bpf.to_str().unwrap())
    );
}

#[test]
fn a_lab_in_use_can_be_removed_from_another_thread() {
    let Some(lab) = lab() else { return };
    let nginx = Nginx::start(&lab).unwrap();
    let flood = Flood::new("198.18.0.1:80".parse().unwrap())
        .rate(50_000)
        .start(&lab)
        .unwrap();
    wait_until("the flood runs", || flood.sent().unwrap() > 100);
    let cleaner = lab.cleaner();
    std::thread::spawn(move || cleaner.clean()).join().unwrap();
    assert!(!Path::new("/run/netns").join(lab.server().name()).exists());
    assert!(!lab.state_dir().exists());
    nginx.stop().unwrap_err();
}

#[test]
fn a_lab_that_was_killed_is_removed_by_the_next() {
    const OWNER: &str = "SYN_GUARD_LAB_TEST_OWNER";
    if std::env::var_os(OWNER).is_some() {
        let Some(lab) = lab() else { return };
        let _nginx = Nginx::start(&lab).unwrap();
        println!("{}", lab.server().name());
        std::thread::sleep(Duration::from_secs(60));
        return;
    }
    if Lab::for_test().unwrap().is_none() {
        return;
    }
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("a_lab_that_was_killed_is_removed_by_the_next")
        .env(OWNER, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let name = BufReader::new(owner.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap)
        .find_map(|line| Some(line[line.find("sg-")?..].to_owned()))
        .unwrap();
    owner.kill().unwrap();
    owner.wait().unwrap();
    let namespace = Path::new("/run/netns").join(&name);
    assert!(namespace.exists());
    let lab = lab();
    assert!(!namespace.exists());
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    let dead = name.strip_suffix("-server").unwrap();
    assert!(!mounts.contains(&format!("/{dead}/")));
    drop(lab);
}

#[test]
fn sysctls_are_the_namespaces_own() {
    let Some(lab) = lab() else { return };
    let name = "net.ipv4.tcp_syncookies";
    let outside = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_syncookies").unwrap();
    for value in ["0", "2"] {
        lab.server().set_sysctl(name, value).unwrap();
        assert_eq!(lab.server().sysctl(name).unwrap(), value);
    }
    assert_eq!(
        std::fs::read_to_string("/proc/sys/net/ipv4/tcp_syncookies").unwrap(),
        outside
    );
    lab.server()
        .set_sysctl("kernel.bpf_stats_enabled", "1")
        .unwrap_err();
}

#[test]
fn honest_clients_get_their_pages() {
    let Some(lab) = lab() else { return };
    let nginx = Nginx::start_with(
        &lab,
        &NginxSetup {
            big_file: true,
            ..NginxSetup::default()
        },
    )
    .unwrap();
    for target in [nginx.ipv4(), nginx.ipv6()] {
        let report = HonestClients {
            rate: 200,
            duration: Duration::from_millis(500),
            ..HonestClients::new(target)
        }
        .run(&lab)
        .unwrap();
        assert_eq!((report.tried, report.succeeded), (100, 100), "{report:?}");
        assert!(report.p50 <= report.p99 && report.p50 > Duration::ZERO);

        let source = match target {
            SocketAddr::V4(_) => honest_ipv4(7),
            SocketAddr::V6(_) => honest_ipv6(7),
        };
        let source = Some(SocketAddr::new(source, 0));
        let page = fetch(lab.client(), source, target, "/").unwrap();
        assert_eq!(page, PAGE.as_bytes());
        let big = fetch(lab.client(), source, target, "/big").unwrap();
        assert!(Nginx::is_big_file(&big));
    }
    let error = fetch(lab.client(), None, nginx.ipv4(), "/none").unwrap_err();
    assert!(format!("{error:#}").contains("404"), "{error:#}");
    nginx.stop().unwrap();
}

#[test]
fn ports_come_round_again_from_one_source() {
    let Some(lab) = lab() else { return };
    let nginx = Nginx::start(&lab).unwrap();
    let report = ShortConnections {
        source: SocketAddr::new(honest_ipv4(9), 0),
        ports: 40_000..40_050,
        target: nginx.ipv4(),
        count: 300,
        concurrency: 8,
        timeout: SOON,
    }
    .run(&lab)
    .unwrap();
    assert_eq!(
        (report.succeeded, report.failed()),
        (300, 0),
        "{:?}",
        report.errors
    );
}

#[test]
fn a_flood_is_no_faster_than_told_and_starves_a_bare_server() {
    let Some(lab) = lab() else { return };
    lab.separate_cores().unwrap();
    lab.server()
        .set_sysctl("net.ipv4.tcp_syncookies", "0")
        .unwrap();
    let nginx = Nginx::start(&lab).unwrap();
    let flood = Flood::new(nginx.ipv4())
        .rate(300_000)
        .duration(SOON * 3)
        .start(&lab)
        .unwrap();
    wait_until("the queue is full", || half_open(&lab) >= 300);
    let report = HonestClients {
        duration: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        ..HonestClients::new(nginx.ipv4())
    }
    .run(&lab)
    .unwrap();
    wait_until("it is no slow one", || flood.sent().unwrap() > 300_000);
    // However fast the machine is.
    let sent = flood.sent().unwrap() as f64;
    let most = 300_000.0 * (flood.elapsed().as_secs_f64() + 0.1);
    assert!(sent < most, "{sent} sent, {most:.0} at most");
    assert!(report.share() < 0.2, "{report:?}");
    assert!(lab.syn_acks_received().unwrap() >= 300);
    flood.stop().unwrap();
}

#[test]
fn slow_floods_keep_their_rate_too() {
    let Some(lab) = lab() else { return };
    for target in ["198.18.0.1:81", "[2001:db8:0:1::1]:81"] {
        let floor = lab.attach_floor().unwrap();
        let sent = Flood::new(target.parse().unwrap())
            .rate(5_000)
            .duration(Duration::from_millis(500))
            .start(&lab)
            .unwrap()
            .join()
            .unwrap();
        assert!((2_300..=2_700).contains(&sent), "{sent} for {target}");
        wait_until("all of them are bounced", || {
            floor.frames().unwrap() == sent
        });
    }
}

#[test]
fn few_sources_are_few() {
    let Some(lab) = lab() else { return };
    lab.server()
        .set_sysctl("net.ipv4.tcp_syncookies", "0")
        .unwrap();
    let nginx = Nginx::start(&lab).unwrap();
    for target in [nginx.ipv4(), nginx.ipv6()] {
        for flood in [
            Flood::new(target).few_sources(3),
            Flood::new(target).few_sources(3).full_options(),
        ] {
            flood
                .rate(2_000)
                .duration(Duration::from_millis(100))
                .start(&lab)
                .unwrap()
                .join()
                .unwrap();
        }
    }
    wait_until("half-open connections of both families", || {
        half_open(&lab) > 300
    });
    let listed = lab
        .server()
        .output("ss", &["-Htn", "state", "syn-recv"])
        .unwrap();
    let mut sources: Vec<_> = listed
        .lines()
        .filter_map(|line| line.split_whitespace().nth(3)?.rsplit_once(':'))
        .map(|(address, _)| address)
        .collect();
    sources.sort_unstable();
    sources.dedup();
    assert_eq!(
        sources,
        [
            "10.0.0.1",
            "10.0.0.2",
            "10.0.0.3",
            "[2001:db8:2000::1]",
            "[2001:db8:2000::2]",
            "[2001:db8:2000::3]"
        ]
    );
}

#[test]
fn the_floor_sends_back_what_comes() {
    let Some(lab) = lab() else { return };
    lab.separate_cores().unwrap();
    let floor = lab.attach_floor().unwrap();
    for (flood, number) in [
        Flood::new("198.18.0.1:80".parse().unwrap()),
        Flood::new("198.18.0.1:80".parse().unwrap()).full_options(),
        Flood::new("[2001:db8:0:1::1]:80".parse().unwrap()),
        Flood::new("[2001:db8:0:1::1]:80".parse().unwrap()).full_options(),
    ]
    .into_iter()
    .zip(0..)
    {
        let (bounced, answered) = (floor.frames().unwrap(), lab.answers_received().unwrap());
        let flood = flood.rate(100_000).duration(SOON).start(&lab).unwrap();
        wait_until("the flood runs", || flood.sent().unwrap() > 20_000);
        let sent = flood.stop().unwrap();
        // What a full ring lost did not come there.
        let frames = || {
            let bounced = floor.frames().unwrap() - bounced;
            (bounced, lab.answers_received().unwrap() - answered)
        };
        wait_until("all that came was sent back", || {
            let (bounced, answered) = frames();
            bounced > 10_000 && bounced <= sent && answered * 10 > bounced * 9
        });
        eprintln!("flood {number}: {sent} sent");
    }
    let flood = Flood::new("198.18.0.1:80".parse().unwrap())
        .start(&lab)
        .unwrap();
    wait_until("the flood runs", || flood.sent().unwrap() > 10_000);
    let bounced = floor.frames().unwrap();
    wait_until("flat out, too", || {
        floor.frames().unwrap() > bounced + 10_000
    });
    flood.stop().unwrap();
}

#[test]
fn hand_made_handshakes_complete_reset_or_stay() {
    let Some(lab) = lab() else { return };
    lab.server()
        .set_sysctl("net.ipv4.tcp_syncookies", "0")
        .unwrap();
    let nginx = Nginx::start(&lab).unwrap();
    let mut hand = HandMade::new(&lab).unwrap();
    for (source, service) in [
        ("10.9.8.7:5555", nginx.ipv4()),
        ("[2001:db8:2000::7]:5555", nginx.ipv6()),
    ] {
        let source: SocketAddr = source.parse().unwrap();
        let mut flow = hand
            .connect(source, service, TcpOptions::FULL, SOON)
            .unwrap()
            .unwrap();
        let answer = flow.syn_ack.clone().unwrap();
        assert_eq!(answer.ack, flow.isn.wrapping_add(1));
        assert!(answer.options.sack && answer.options.window_scale.is_some());
        assert_eq!(answer.options.timestamps.unwrap().1, 1_000_000);
        assert_eq!(answer.ttl, 64);
        hand.data(&mut flow, b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut page = Vec::new();
        while let Some(segment) = hand.receive(&flow, SOON).unwrap() {
            page.extend_from_slice(&segment.payload);
            if segment.flags.fin {
                break;
            }
        }
        assert!(page.ends_with(PAGE.as_bytes()));
        hand.rst(&flow).unwrap();

        let source = SocketAddr::new(source.ip(), 6666);
        let mut flow = hand.syn(source, service, TcpOptions::SHORT).unwrap();
        assert!(hand.syn_ack(&mut flow, SOON).unwrap());
        assert!(flow.syn_ack.as_ref().unwrap().options.timestamps.is_none());
        assert_eq!(half_open(&lab), 1);
        hand.rst(&flow).unwrap();
        wait_until("the half-open connection is gone", || half_open(&lab) == 0);
    }
}

#[test]
fn many_half_open_connections_are_made_and_captured() {
    let Some(lab) = lab() else { return };
    lab.server()
        .set_sysctl("net.ipv4.tcp_max_syn_backlog", "4096")
        .unwrap();
    let nginx = Nginx::start_with(
        &lab,
        &NginxSetup {
            backlog: 4096,
            ..NginxSetup::default()
        },
    )
    .unwrap();
    let file = lab.path("syns.pcap");
    let capture = Capture::start(lab.client(), CLIENT_INTERFACE, &file).unwrap();
    let mut hand = HandMade::new(&lab).unwrap();
    let mut flows = Vec::new();
    for i in 0..2_000_u16 {
        let [high, low] = i.to_be_bytes();
        let source = SocketAddr::from(([10, 1, high, low], 1024));
        flows.push(hand.syn(source, nginx.ipv4(), TcpOptions::SHORT).unwrap());
    }
    for flow in &mut flows {
        assert!(hand.syn_ack(flow, SOON).unwrap(), "{flow:?}");
    }
    assert_eq!(half_open(&lab), 2_000);
    let captured = capture.stop().unwrap();
    assert!(
        captured.frames >= 4_000 && captured.dropped == 0,
        "{captured:?}"
    );
    let counted = Command::new("tshark")
        .args(["-r"])
        .arg(&file)
        .args(["-Y", "tcp.flags.syn==1 && tcp.flags.ack==0"])
        .output();
    if let Ok(counted) = counted {
        let lines = String::from_utf8(counted.stdout).unwrap().lines().count();
        assert_eq!(lines, 2_000);
    }
}
