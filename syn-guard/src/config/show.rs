//! `config show` for people: TOML, with origins as comments.

use std::fmt::Write as _;

use super::place::Origin;
use super::report::{ConfigEntry, ConfigReport};

/// Where the comments begin at most, characters: longer values move only their
/// own.
const WIDTH: usize = 40;

/// The report as TOML that the guard would take, tables apart, comments
/// aligned.
#[must_use]
pub fn show(report: &ConfigReport) -> String {
    let lines: Vec<_> = report.entries.iter().map(line).collect();
    let width = lines
        .iter()
        .map(|line| line.text.chars().count())
        .filter(|width| *width <= WIDTH)
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    let mut table = "";
    for line in &lines {
        if line.table != table {
            if !text.is_empty() {
                text.push('\n');
            }
            let _ = writeln!(text, "[{}]", line.table);
            table = line.table;
        }
        let _ = writeln!(text, "{:<width$}  # {}", line.text, line.comment);
    }
    text
}

struct Line<'a> {
    table: &'a str,
    text: String,
    comment: String,
}

fn line(entry: &ConfigEntry) -> Line<'_> {
    let (table, name) = entry.key.rsplit_once('.').unwrap_or(("", &entry.key));
    let (text, mut comment) = match &entry.value {
        Some(value) => (format!("{name} = {value}"), entry.origin.to_string()),
        // TOML has no word for what is not set.
        None => (
            format!("# {name}"),
            format!(
                "{}: {}",
                entry.origin,
                entry.computed.as_deref().unwrap_or("none")
            ),
        ),
    };
    if let (Some(value), Origin::Default) = (&entry.value, &entry.origin)
        && value.list().is_empty()
        && let Some(words) = &entry.computed
    {
        comment = format!("{comment}: {words}");
    }
    if let Some(later) = &entry.after_restart {
        let _ = write!(comment, "; {later} after a restart");
    }
    Line {
        table,
        text,
        comment,
    }
}
