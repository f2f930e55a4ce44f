//! What a service does, whatever the configuration says.

use std::time::Duration;

use xtask::lab::{Flood, Guard, HonestClients, Lab, Nginx};

use super::{events, fails, state, text};
use crate::common::{kernel_engine, validated, wait_until};

#[test]
fn a_service_protects_always_never_or_by_itself_as_asked() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    lab.server()
        .set_sysctl("net.ipv4.tcp_synack_retries", "1")
        .unwrap();
    let nginx = Nginx::start(&lab).unwrap();
    let guard = Guard::start(&lab, &["--set", "harden.enabled=false"]).unwrap();
    let protect = |mode| lab.syn_guard_output(&["protect", "80", mode]).unwrap();

    assert_eq!(
        protect("on"),
        "service 80: mode auto -> protect, protecting\n"
    );
    let service = guard.service(&lab, 80).unwrap();
    assert_eq!(
        text(&service, "reason"),
        "mode protect, asked by `syn-guard protect`"
    );
    assert_eq!(text(&service, "mode"), "protect");
    assert_eq!(text(&service, "mode_origin"), "run time");
    let report = HonestClients::new(nginx.ipv4()).run(&lab).unwrap();
    assert!(report.share() >= 0.98, "{report:?}");
    // With the engine `kernel` it is the stack that validates.
    assert!(validated(&guard, &lab) > 0 || kernel_engine(&guard, &lab));
    let said: Vec<_> = events(&lab)
        .iter()
        .filter(|event| event["service"] == 80)
        .map(|event| format!("{}: {}", text(event, "kind"), text(event, "text")))
        .collect();
    assert_eq!(
        said,
        [
            "config: mode: auto -> protect, asked by `syn-guard protect`",
            "state: observing -> protecting: mode protect, asked by `syn-guard protect`"
        ]
    );

    assert_eq!(
        protect("off"),
        "service 80: mode protect -> observe, observing\n"
    );
    // Twice the limit, but not what the backlog holds.
    let flood = Flood::new(nginx.ipv4())
        .rate(170)
        .duration(Duration::from_secs(60))
        .start(&lab)
        .unwrap();
    wait_until("over the limit", Duration::from_secs(30), || {
        let service = guard.service(&lab, 80).unwrap();
        service["half_open"].as_u64() > service["limit"].as_u64()
    });
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(state(&guard, &lab), "observing");
    assert!(protect("auto").starts_with("service 80: mode observe -> auto, "));
    wait_until("it protects by itself", Duration::from_secs(30), || {
        state(&guard, &lab) == "protecting"
    });
    let reason = text(&guard.service(&lab, 80).unwrap(), "reason");
    assert!(reason.contains(" reached the limit of "), "{reason}");
    flood.stop().unwrap();
    assert!(protect("default").starts_with("service 80: mode auto -> auto, "));
    let service = guard.service(&lab, 80).unwrap();
    assert_eq!(text(&service, "mode_origin"), "detection.mode");

    let said = fails(&lab, 1, &["protect", "81", "on"]);
    assert!(
        said.starts_with("syn-guard: no service at port 81 is guarded: "),
        "{said}"
    );
    assert!(guard.stop_at_once().unwrap().success());
}
