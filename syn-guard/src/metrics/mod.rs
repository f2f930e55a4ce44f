//! The report as Prometheus metrics.
//!
//! Every call makes the families anew from one report: no metric is kept, so
//! none can go stale or disagree with `status`.

mod family;
mod process;
mod service;

pub use process::{ProcessUsage, render_process};

use prometheus::proto::MetricType::{COUNTER, GAUGE};

use crate::report::{KernelReport, Report};
use family::{Family, encode};

/// What [`render`] writes, as a `Content-Type`.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// The report in Prometheus' text format.
///
/// # Errors
///
/// When a family is not one that Prometheus takes.
pub fn render(report: &Report) -> Result<String, prometheus::Error> {
    let mut families = guard(report);
    families.push(packets(report));
    families.push(events(report));
    families.extend(service::families(&report.services));
    families.extend(kernel(&report.kernel));
    encode(families)
}

fn guard(report: &Report) -> Vec<Family> {
    vec![
        Family::new(
            GAUGE,
            "build_info",
            "Version and commit of syn-guard; always 1.",
        )
        .with(
            &[("version", &report.version), ("commit", &report.commit)],
            1.0,
        ),
        Family::new(
            GAUGE,
            "start_time_seconds",
            "When the guard started, in seconds since 1970.",
        )
        .value(report.started_at),
        Family::new(
            GAUGE,
            "mode_info",
            "What the operator set: off, observe, auto or protect; always 1.",
        )
        .with(&[("mode", &report.mode)], 1.0),
        Family::new(
            GAUGE,
            "engine_info",
            "What makes and checks cookies, none when nothing can; always 1.",
        )
        .with(&[("engine", &report.engine)], 1.0),
        Family::new(
            GAUGE,
            "interface_info",
            "Interfaces that the programs are attached to, native or generic; always 1.",
        )
        .each(&report.interfaces, |interface| {
            let labels = [
                ("interface", interface.name.clone()),
                ("mode", interface.mode.clone()),
            ];
            (labels, 1.0)
        }),
        Family::new(GAUGE, "map_memory_bytes", "Kernel memory of all eBPF maps.")
            .value(report.map_bytes as f64),
        Family::new(
            GAUGE,
            "prefixes",
            "Prefixes in force of each list: allow, whose SYNs always pass, and deny, whose SYNs are dropped.",
        )
        .with(&[("list", "allow")], report.prefixes.allow as f64)
        .with(&[("list", "deny")], report.prefixes.deny as f64),
        Family::new(
            GAUGE,
            "prefixes_left_out",
            "Prefixes that are listed and not in force: there is no room for them.",
        )
        .value(report.prefixes.left_out as f64),
        Family::new(
            GAUGE,
            "hardened",
            "1 while the kernel gives half-open connections up sooner, else 0.",
        )
        .value(f64::from(u8::from(report.hardened.is_some()))),
        Family::new(
            GAUGE,
            "changed_settings",
            "System settings that the guard changed and will restore.",
        )
        .value(report.changes.len() as f64),
    ]
}

fn packets(report: &Report) -> Family {
    Family::new(
        COUNTER,
        "packets_total",
        "Packets by verdict: what was done (pass, cookie, drop) and why.",
    )
    .each(&report.verdicts, |verdict| {
        let labels = [
            ("action", verdict.action.clone()),
            ("reason", verdict.reason.clone()),
        ];
        (labels, verdict.packets as f64)
    })
}

fn events(report: &Report) -> Family {
    Family::new(
        COUNTER,
        "events_total",
        "What happened since the guard started, by kind: syn-guard events shows it.",
    )
    .each(&report.events, |event| {
        let labels = [("kind", event.kind.name().to_owned())];
        (labels, event.count as f64)
    })
}

/// The stack counts for the whole network namespace, guarded or not.
fn kernel(kernel: &KernelReport) -> Vec<Family> {
    [
        (
            "kernel_listen_overflows_total",
            "Handshakes that the stack gave up because an accept queue was full (ListenOverflows).",
            kernel.listen_overflows,
        ),
        (
            "kernel_listen_drops_total",
            "SYNs and handshakes that the stack dropped at listeners, for any reason (ListenDrops).",
            kernel.listen_drops,
        ),
        (
            "kernel_syncookies_sent_total",
            "SYN cookies that the stack itself sent (SyncookiesSent).",
            kernel.syncookies_sent,
        ),
        (
            "kernel_syncookies_received_total",
            "Valid SYN cookies that came back to the stack (SyncookiesRecv).",
            kernel.syncookies_received,
        ),
        (
            "kernel_syncookies_failed_total",
            "ACKs that the stack took for SYN cookies and found invalid (SyncookiesFailed).",
            kernel.syncookies_failed,
        ),
        (
            "kernel_request_queue_full_cookies_total",
            "SYNs that the stack answered with a cookie because a listener's queue of half-open connections was full (TCPReqQFullDoCookies).",
            kernel.request_queue_full_cookies,
        ),
        (
            "kernel_request_queue_full_drops_total",
            "SYNs that the stack dropped because a listener's queue of half-open connections was full (TCPReqQFullDrop).",
            kernel.request_queue_full_drops,
        ),
    ]
    .map(|(name, help, value)| Family::new(COUNTER, name, help).value(value as f64))
    .into()
}
