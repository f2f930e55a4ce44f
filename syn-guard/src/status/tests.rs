use super::render::render_at;
use crate::report::{
    CounterReport, FloodReport, HandshakeReport, KernelReport, Report, ServiceReport, SignalsReport,
};

/// A report in which everything has a value; the tests of other modules use
/// it too.
pub(crate) fn sample() -> Report {
    serde_json::from_str(include_str!("sample.json")).unwrap()
}

#[test]
fn a_flood() {
    let expected = "\
syn-guard 0.1.0 (0123456789ab), up 1h 2m
Mode              auto
Engine            reqsk
Interfaces        eth0 native
                  wlan0 generic: the driver has no native XDP
Map memory        12.3 MiB
Prefixes          2 allowed, 100000 denied
Hardened          none
Settings changed  net.ipv4.tcp_syncookies: 0 -> 1

Port  Mode                State        Since  Half-open  Kernel  Limit  Backlog     SYNs  Completed  Cookies sent  Validated  Reason
  80  protect (run time)  protecting  1m 12s         37      35   2048     4096  1000000        950        996940        800  2048 half-open connections, limit 2048
8443  auto                observing    1d 0h          0       0     64      128        0          0             0          0  0 half-open connections, limit 64

Port  Flood    Attacks  SYNs/s  Unanswered/s  Limit  Answered  Heavy   New  Pressure  Retransmitted  Limit  Refused/s  Limit
  80  spoofed        2   14500         14480   2048       1 %    4 %  98 %    912345             12   1638          3      5
8443  none           0       0             0   1000     100 %    0 %   0 %         0              0     51          0      -

Verdict  Reason        Packets
pass     not_guarded      4711
cookie   protecting     996940
drop     source_limit        8
";
    let text = render_at(&sample(), 1_784_545_323.0);
    assert_eq!(text, expected, "\n{text}");
}

#[test]
fn nothing_to_guard_and_no_engine() {
    let report = Report {
        mode: "observe".to_owned(),
        engine: "none".to_owned(),
        engine_reason: Some("Linux 6.1 is older than 6.9".to_owned()),
        interfaces: Vec::new(),
        services: Vec::new(),
        verdicts: Vec::new(),
        kernel: KernelReport::default(),
        changes: Vec::new(),
        ..sample()
    };
    let expected = "\
syn-guard 0.1.0 (0123456789ab), up 0s
Mode              observe
Engine            none: Linux 6.1 is older than 6.9
Interfaces        none
Map memory        12.3 MiB
Prefixes          2 allowed, 100000 denied
Hardened          none
Settings changed  none

No services.
";
    // A clock that was set back is no reason to fail.
    let text = render_at(&report, 0.0);
    assert_eq!(text, expected, "\n{text}");
}

#[test]
fn a_service_without_reason_ends_no_line_in_spaces() {
    let report = Report {
        services: vec![ServiceReport {
            port: 22,
            mode: "off".to_owned(),
            mode_origin: "services.22.mode".to_owned(),
            state: "off".to_owned(),
            reason: String::new(),
            stands_back: Vec::new(),
            state_seconds: 0.0,
            listeners: Vec::new(),
            half_open: 0,
            half_open_kernel: 0,
            limit: 1,
            calm_limit: 1,
            pressure: 0,
            signals: SignalsReport::default(),
            flood: FloodReport::default(),
            backlog: 1,
            accept_queue: 0,
            counters: CounterReport::default(),
            handshakes: HandshakeReport::default(),
        }],
        ..sample()
    };
    let text = super::render(&report);
    assert!(text.lines().all(|line| line == line.trim_end()), "{text}");
}

#[test]
fn where_a_service_stands_back_is_said_with_its_port() {
    let mut report = sample();
    assert!(!super::render(&report).contains("Without cookies"));
    let port = report.services[0].port;
    report.services[0].stands_back = vec!["no cookies on 198.18.0.1: it is silent".to_owned()];
    let text = super::render(&report);
    let line = format!("Without cookies   {port}: no cookies on 198.18.0.1: it is silent");
    assert!(text.contains(&line), "{text}");
}
