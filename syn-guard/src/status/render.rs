//! The report as text.

use std::time::{SystemTime, UNIX_EPOCH};

use super::units::{bytes, duration};
use crate::report::{InterfaceReport, Report, ServiceReport, VerdictReport};

/// A column's title, and whether it holds numbers.
type Column = (&'static str, bool);

const SERVICES: [Column; 13] = [
    ("Port", true),
    ("Mode", false),
    ("State", false),
    ("Since", true),
    ("Half-open", true),
    ("Kernel", true),
    ("Limit", true),
    ("Backlog", true),
    ("SYNs", true),
    ("Completed", true),
    ("Cookies sent", true),
    ("Validated", true),
    ("Reason", false),
];

const FLOODS: [Column; 14] = [
    ("Port", true),
    ("Flood", false),
    ("Attacks", true),
    ("SYNs/s", true),
    ("Unanswered/s", true),
    ("Limit", true),
    ("Answered", true),
    ("Heavy", true),
    ("New", true),
    ("Pressure", true),
    ("Retransmitted", true),
    ("Limit", true),
    ("Refused/s", true),
    ("Limit", true),
];

const VERDICTS: [Column; 3] = [("Verdict", false), ("Reason", false), ("Packets", true)];

/// The report for people. Times that passed are up to now.
#[must_use]
pub fn render(report: &Report) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    render_at(report, now.map_or(0.0, |now| now.as_secs_f64()))
}

/// The report for people, at `now` seconds since 1970.
pub(super) fn render_at(report: &Report, now: f64) -> String {
    let mut text = format!(
        "syn-guard {} ({}), up {}\n",
        report.version,
        report.commit,
        duration(now - report.started_at)
    );
    field(&mut text, "Mode", [report.mode.clone()]);
    field(&mut text, "Engine", [engine(report)]);
    field(
        &mut text,
        "Interfaces",
        report.interfaces.iter().map(interface),
    );
    field(&mut text, "Map memory", [bytes(report.map_bytes)]);
    field(&mut text, "Prefixes", [prefixes(report)]);
    field(&mut text, "Hardened", report.hardened.iter().cloned());
    field(
        &mut text,
        "Settings changed",
        report.changes.iter().cloned(),
    );
    let standing = standing(report);
    if !standing.is_empty() {
        field(&mut text, "Without cookies", standing);
    }
    text.push('\n');
    if report.services.is_empty() {
        text += "No services.\n";
    } else {
        table(&mut text, SERVICES, report.services.iter().map(service));
        text.push('\n');
        table(&mut text, FLOODS, report.services.iter().map(flood));
    }
    let seen: Vec<_> = report.verdicts.iter().filter(|v| v.packets > 0).collect();
    if !seen.is_empty() {
        text.push('\n');
        table(&mut text, VERDICTS, seen.into_iter().map(verdict));
    }
    text
}

fn engine(report: &Report) -> String {
    because(&report.engine, report.engine_reason.as_deref())
}

/// Where services answer with no cookies, and why.
fn standing(report: &Report) -> Vec<String> {
    let lines = report.services.iter().flat_map(|service| {
        let port = service.port;
        let lines = service.stands_back.iter();
        lines.map(move |line| format!("{port}: {line}"))
    });
    lines.collect()
}

fn prefixes(report: &Report) -> String {
    let listed = report.prefixes;
    let mut text = format!("{} allowed, {} denied", listed.allow, listed.deny);
    if listed.left_out > 0 {
        text += &format!("; {} not in force: list fewer", listed.left_out);
    }
    text
}

fn interface(interface: &InterfaceReport) -> String {
    because(
        &format!("{} {}", interface.name, interface.mode),
        interface.reason.as_deref(),
    )
}

fn because(what: &str, why: Option<&str>) -> String {
    why.map_or_else(|| what.to_owned(), |why| format!("{what}: {why}"))
}

fn service(service: &ServiceReport) -> [String; 13] {
    [
        service.port.to_string(),
        mode(service),
        service.state.clone(),
        duration(service.state_seconds),
        service.half_open.to_string(),
        service.half_open_kernel.to_string(),
        service.limit.to_string(),
        service.backlog.to_string(),
        service.counters.syns.to_string(),
        service.counters.completed.to_string(),
        service.counters.cookies_sent.to_string(),
        service.counters.cookies_validated.to_string(),
        service.reason.clone(),
    ]
}

/// The mode, and who said so where it is not the mode of all.
fn mode(service: &ServiceReport) -> String {
    match service.mode_origin.as_str() {
        "detection.mode" => service.mode.clone(),
        "run time" | "no engine" => format!("{} ({})", service.mode, service.mode_origin),
        _ => format!("{} (config)", service.mode),
    }
}

/// What the kind of a flood is told by, and the signals with their limits.
fn flood(service: &ServiceReport) -> [String; 14] {
    let (flood, signals) = (&service.flood, &service.signals);
    let limit =
        |limit: Option<u64>| limit.map_or_else(|| "-".to_owned(), |limit| limit.to_string());
    let percent = |share: u64| format!("{share} %");
    [
        service.port.to_string(),
        flood.kind.clone(),
        flood.attacks.to_string(),
        flood.syns_per_second.to_string(),
        flood.unanswered_syns_per_second.to_string(),
        limit(signals.unanswered_rate_limit),
        percent(flood.answered_percent),
        percent(flood.heavy_percent),
        percent(flood.new_source_percent),
        service.pressure.to_string(),
        signals.retransmitted.to_string(),
        limit(signals.retransmitted_limit),
        signals.refused_rate.to_string(),
        limit(signals.refused_rate_limit),
    ]
}

fn verdict(verdict: &VerdictReport) -> [String; 3] {
    [
        verdict.action.clone(),
        verdict.reason.clone(),
        verdict.packets.to_string(),
    ]
}

/// A name and its values, one a line; `none` where there is none.
fn field(text: &mut String, name: &str, values: impl IntoIterator<Item = String>) {
    let mut title = name;
    for value in values {
        *text += &format!("{title:<18}{value}\n");
        title = "";
    }
    if title == name {
        *text += &format!("{title:<18}none\n");
    }
}

/// A header and the rows. Spaces end no line.
fn table<const N: usize>(
    text: &mut String,
    columns: [Column; N],
    rows: impl Iterator<Item = [String; N]>,
) {
    let mut lines = vec![columns.map(|(title, _)| title.to_owned())];
    lines.extend(rows);
    let mut widths = [0; N];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for line in &lines {
        let mut shown = String::new();
        for ((cell, (_, number)), width) in line.iter().zip(columns).zip(widths) {
            shown += &match number {
                true => format!("{cell:>width$}  "),
                false => format!("{cell:<width$}  "),
            };
        }
        *text += shown.trim_end();
        text.push('\n');
    }
}
