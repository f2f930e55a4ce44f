//! The numbers for people: tables for a terminal and for a page.

use std::fmt::Write as _;

use super::Report;
use crate::bench::{Row, Spread, rates::Curve};

/// A table: its heads, its rows.
struct Table {
    title: &'static str,
    /// What is to be known of it.
    about: &'static str,
    heads: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// Tables with columns as wide as they must be.
#[must_use]
pub fn terminal(report: &Report) -> String {
    let mut text = String::new();
    for table in tables(report) {
        let width = |column: usize| {
            let rows = table.rows.iter().chain([&table.heads]);
            let widths = rows.filter_map(|row| row.get(column));
            widths.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        // A string takes whatever is written to it.
        let _ = writeln!(text, "\n{}\n", table.title);
        for row in [&table.heads].into_iter().chain(&table.rows) {
            for (column, cell) in row.iter().enumerate() {
                let width = width(column);
                let _ = if column == 0 {
                    write!(text, "{cell:width$}")
                } else {
                    write!(text, "  {cell:>width$}")
                };
            }
            text.push('\n');
        }
    }
    text
}

/// The same as Markdown, each with what is to be known of it.
#[must_use]
pub fn markdown(report: &Report) -> String {
    let mut text = String::new();
    for table in tables(report) {
        let _ = writeln!(text, "## {}\n\n{}\n", table.title, table.about);
        let rule = vec!["---".to_owned(); table.heads.len()];
        for row in [&table.heads, &rule].into_iter().chain(&table.rows) {
            let _ = writeln!(text, "| {} |", row.join(" | "));
        }
        text.push('\n');
    }
    text
}

fn tables(report: &Report) -> Vec<Table> {
    let mut tables = Vec::new();
    if let Some(rows) = &report.path {
        tables.push(costs(
            "A packet in the real path",
            "Mean time of the programs for real frames over veth, by the kernel's own statistics \
             (`kernel.bpf_stats_enabled`, which costs the floor some 40 ns itself).",
            rows,
        ));
    }
    if let Some(rows) = &report.alone {
        tables.push(costs(
            "A packet in the programs alone",
            "Mean time of the programs over frames that are on no wire (`BPF_PROG_TEST_RUN`).",
            rows,
        ));
    }
    if let Some(flat) = &report.flat_out {
        tables.push(Table {
            title: "Flat out on one core",
            about: "Answers a second to forged SYNs, as many as come.",
            heads: heads(&["", "median", "least", "most"]),
            rows: [
                ("cookies a second", flat.cookies),
                ("frames of the floor a second", flat.floor),
                ("share, %", flat.share),
            ]
            .map(|(name, spread)| spread_row(name, spread))
            .into(),
        });
    }
    if let Some(curves) = &report.rates {
        tables.push(rates(curves));
    }
    tables
}

fn heads(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn spread_row(name: &str, spread: Spread) -> Vec<String> {
    let number = |value: f64| format!("{value:.0}");
    vec![
        name.to_owned(),
        number(spread.median),
        number(spread.least),
        number(spread.most),
    ]
}

fn costs(title: &'static str, about: &'static str, rows: &[Row]) -> Table {
    let row = |row: &Row| {
        vec![
            row.line.name().to_owned(),
            format!("{:.0}", row.floor.median),
            format!("{:.0}", row.above.median),
            format!("{:.0} to {:.0}", row.above.least, row.above.most),
            format!("{:.0}", row.line.budget_ns()),
        ]
    };
    Table {
        title,
        about,
        heads: heads(&["packet", "floor, ns", "above it, ns", "rounds", "may be"]),
        rows: rows.iter().map(row).collect(),
    }
}

fn rates(curves: &[Curve]) -> Table {
    let rows = curves.iter().flat_map(|curve| {
        curve.points.iter().map(|point| {
            vec![
                curve.defence.name().to_owned(),
                format!("{:.0}", point.came.median),
                format!("{:.1}", point.honest.median),
                format!("{:.1} to {:.1}", point.honest.least, point.honest.most),
                format!("{:.1}", point.p50.median),
                format!("{:.1}", point.p99.median),
                format!("{:.0}", point.answered.median),
            ]
        })
    });
    Table {
        title: "Honest connections under a flood",
        about: "100 honest connections a second of ever new addresses, while forged SYNs come.",
        heads: heads(&[
            "defence",
            "SYN/s",
            "honest, %",
            "rounds",
            "p50, ms",
            "p99, ms",
            "answers/s",
        ]),
        rows: rows.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::budget::Line;

    fn report() -> Report {
        let spread = |median: f64| Spread {
            least: median - 1.0,
            median,
            most: median + 1.0,
        };
        Report {
            alone: Some(vec![Row {
                line: Line::CookieIpv4,
                floor: spread(15.0),
                above: spread(78.4),
            }]),
            ..Report::default()
        }
    }

    #[test]
    fn a_row_stands_in_both_kinds_of_table() {
        let line = Line::CookieIpv4.name();
        let text = terminal(&report());
        assert!(
            text.contains(&format!(
                "{line}         15            78  77 to 79      80"
            )),
            "{text}"
        );
        let page = markdown(&report());
        assert!(
            page.contains(&format!("| {line} | 15 | 78 | 77 to 79 | 80 |")),
            "{page}"
        );
        assert!(page.contains("| --- | --- | --- | --- | --- |"), "{page}");
        assert!(!page.contains("Flat out"), "not measured: {page}");
    }
}
