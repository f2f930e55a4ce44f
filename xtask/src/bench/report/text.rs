//! The tables for a terminal.

use std::fmt::Write as _;

use super::{Report, tables::tables};

/// Tables with columns as wide as they must be.
#[must_use]
pub fn terminal(report: &Report) -> String {
    let mut text = String::new();
    for table in tables(report) {
        // Sentences are for a page.
        let columns = 0..table
            .heads
            .iter()
            .position(|head| head.starts_with("what bounds"))
            .unwrap_or(table.heads.len());
        let heads: Vec<String> = table.heads.iter().map(ToString::to_string).collect();
        let width = |column: usize| {
            let rows = table.rows.iter().chain([&heads]);
            let widths = rows.filter_map(|row| row.get(column));
            widths.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        // A string takes whatever is written to it.
        let _ = writeln!(text, "\n{}\n", table.title);
        for row in [&heads].into_iter().chain(&table.rows) {
            for (column, cell) in row[columns.clone()].iter().enumerate() {
                let width = width(column);
                let _ = if column == 0 {
                    write!(text, "{cell:width$}")
                } else {
                    write!(text, "  {cell:>width$}")
                };
            }
            text.push('\n');
        }
        for note in &table.notes {
            let _ = writeln!(text, "{note}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{
        budget::Line,
        report::{LeftOut, examples::report},
    };

    #[test]
    fn columns_stand_below_each_other() {
        let text = terminal(&report());
        let line = Line::CookieIpv4.name();
        let rows: Vec<_> = text.lines().filter(|it| it.starts_with(line)).collect();
        assert_eq!(
            rows,
            [
                format!(
                    "{line}                                80        95       90 to 99       no"
                ),
                format!("{line}         46            95  90 to 99      80                  -"),
                format!("{line}         15            78  77 to 79      80"),
            ],
            "{text}"
        );
        assert!(!text.contains("what bounds"), "{text}");
    }

    #[test]
    fn the_floor_is_compared_in_lines_of_their_own() {
        let text = terminal(&report());
        assert!(
            text.contains(
                "At 1 M SYN/s: 99.7 % of honest connections get in (99.0 to 100.0), with the floor \
                 100.0 % (98.0 to 100.0); at least 99.5 %: reached."
            ),
            "{text}"
        );
        assert!(
            text.contains("round by round 1.50 times it (1.00 to 2.00), at most 1.2: not reached."),
            "{text}"
        );
    }

    #[test]
    fn what_was_not_measured_is_not_there_and_what_is_left_out_is_said() {
        let mut report = report();
        report.rates = None;
        report.path = None;
        let text = terminal(&report);
        assert!(!text.contains("real path"), "{text}");
        assert!(!text.contains("Honest"), "{text}");
        let left_out = LeftOut::new(
            crate::bench::defence::Defence::Synproxy,
            "install `nft`, then run this again".to_owned(),
        );
        let mut report = super::super::examples::report();
        report.left_out.push(left_out);
        let text = terminal(&report);
        assert!(
            text.contains("\nnftables SYNPROXY is left out: install `nft`, then run this again\n"),
            "{text}"
        );
    }
}
