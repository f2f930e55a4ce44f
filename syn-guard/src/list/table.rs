//! Rows as tables.

use std::{
    collections::HashSet,
    io::{self, Write},
};

use super::{Row, ServiceRow, Source, SourceRow};

/// A column's title, and whether it holds numbers.
type Column = (&'static str, bool);

/// More ports than this of a source are counted instead of named.
const PORTS: usize = 4;

pub(super) fn write_rows(rows: &[Row], out: &mut dyn Write) -> io::Result<()> {
    let columns = [
        ("Proto", false),
        ("Local address", false),
        ("Remote address", false),
        ("State", false),
        ("PID/program", false),
        ("Age", true),
        ("Retransmits", true),
        ("Of source", true),
        ("Service", false),
    ];
    let cells = rows.iter().map(|row| {
        [
            row.proto.to_owned(),
            row.ends.0.to_string(),
            row.ends.1.to_string(),
            row.state.to_owned(),
            owner(row.pid, row.program.as_deref()),
            age(row.age_seconds),
            row.retransmits.to_string(),
            row.source_half_open.to_string(),
            known(row.service_state.clone()),
        ]
    });
    write(columns, cells.collect(), rows, out)
}

pub(super) fn write_sources(
    sources: &[SourceRow],
    rows: &[Row],
    out: &mut dyn Write,
) -> io::Result<()> {
    let columns = [
        ("Source", false),
        ("Half-open", true),
        ("Services", false),
        ("Oldest", true),
        ("Retransmitted", true),
    ];
    let cells = sources.iter().map(|row| {
        [
            row.source.to_string(),
            row.half_open.to_string(),
            ports(&row.services),
            age(row.oldest_age_seconds),
            row.retransmitted.to_string(),
        ]
    });
    write(columns, cells.collect(), rows, out)
}

pub(super) fn write_services(
    services: &[ServiceRow],
    rows: &[Row],
    out: &mut dyn Write,
) -> io::Result<()> {
    let columns = [
        ("Port", true),
        ("Half-open", true),
        ("Backlog", true),
        ("Accept queue", true),
        ("PID/program", false),
        ("Sources", true),
        ("Oldest", true),
        ("Retransmitted", true),
        ("Service", false),
    ];
    let cells = services.iter().map(|row| {
        [
            row.port.to_string(),
            row.half_open.to_string(),
            backlog(row),
            known((row.listeners > 0).then(|| row.accept_queue.to_string())),
            owner(row.pid, row.program.as_deref()),
            row.sources.to_string(),
            age(row.oldest_age_seconds),
            row.retransmitted.to_string(),
            known(row.service_state.clone()),
        ]
    });
    write(columns, cells.collect(), rows, out)
}

/// A header, the rows and the totals. Spaces end no line.
fn write<const N: usize>(
    columns: [Column; N],
    cells: Vec<[String; N]>,
    rows: &[Row],
    out: &mut dyn Write,
) -> io::Result<()> {
    if !cells.is_empty() {
        let mut widths = columns.map(|(title, _)| title.len());
        for row in &cells {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut line = |cells: [&str; N]| {
            let mut text = String::new();
            for ((cell, (_, number)), width) in cells.iter().zip(columns).zip(widths) {
                text += &match number {
                    true => format!("{cell:>width$}  "),
                    false => format!("{cell:<width$}  "),
                };
            }
            writeln!(out, "{}", text.trim_end())
        };
        line(columns.map(|(title, _)| title))?;
        for row in &cells {
            line(row.each_ref().map(String::as_str))?;
        }
    }
    writeln!(out, "{}", totals(rows))
}

fn totals(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "No half-open connections.".to_owned();
    }
    let sources: HashSet<Source> = rows.iter().map(|row| row.source).collect();
    let services: HashSet<u16> = rows.iter().map(|row| row.local_port).collect();
    format!(
        "{} from {} to {}; {} retransmitted",
        counted(rows.len(), "half-open connection"),
        counted(sources.len(), "source"),
        counted(services.len(), "service"),
        rows.iter().filter(|row| row.retransmits > 0).count(),
    )
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn known(cell: Option<String>) -> String {
    cell.unwrap_or_else(|| "-".to_owned())
}

fn owner(pid: Option<u32>, program: Option<&str>) -> String {
    known(pid.map(|pid| format!("{pid}/{}", program.unwrap_or("-"))))
}

fn age(seconds: f64) -> String {
    format!("{seconds:.1}s")
}

fn backlog(row: &ServiceRow) -> String {
    match (row.listeners, row.backlog_min) {
        (2.., Some(smallest)) => format!("{} (min {smallest})", row.backlog),
        (1, _) => row.backlog.to_string(),
        _ => known(None),
    }
}

fn ports(ports: &[u16]) -> String {
    if ports.len() > PORTS {
        return format!("{} ports", ports.len());
    }
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    ports.join(",")
}
