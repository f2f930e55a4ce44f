//! `docs/performance.md`: the tables with curves, and the numbers that both are made of.

use std::fmt::Write as _;

use anyhow::Result;

use super::{
    Report,
    chart::{self, Labels, Legend, Line},
    tables::tables,
};
use crate::bench::{
    Spread,
    growth::Step,
    rates::{Curve, Point, Round},
};

/// The page.
pub const PAGE: &str = "docs/performance.md";
/// The numbers that it is made of.
pub const NUMBERS: &str = "docs/performance/measured.json";

/// What no number says: which cache lines CPUs share.
const SHARED: &str = "\
## Many CPUs

A forged SYN that gets a cookie reads maps that all CPUs share and writes only what is its own
CPU's: counts (`SERVICE_COUNTERS`, `VERDICTS`), sketches and their totals, the sample of sources,
the coarse clock, the count of cookies sent. One that is dropped for its prefix writes less. So cost
does not grow with CPUs. What is shared and written all the same:

| map | when |
| --- | --- |
| `COOKIE_SENT` | which flows got a cookie: a word of 65,536 that would change. In a tick of 2,048 jiffies (2 s at HZ=1000, 8 s at HZ=250) a word changes twice, then it stands for all flows; in the next tick once. So all CPUs together write at most 65,536 times a tick, after a start of twice as many: of a million forged SYNs a second at HZ=250 one in 125, at HZ=1000 one in 31. Of a slow flood each cookie writes one of its 4,096 cache lines. A CPU that sent 131,072 cookies in a tick writes none any more |
| `COOKIES_TO_ALL` | once in such a tick by each CPU that sent so many |
| `NEAR_LISTENERS` (`LISTENERS` where two share a cell) | the jiffy in which the listener was looked up: once a jiffy |
| `SOURCES`, `SOURCE_FILTER`, `LAST_MARKED_SOURCE` | by SYNs of heavy sources: of forged ones fewer than one in 100,000 |
| `SERVICE_STATE` | while the service observes: half-open connections and unanswered SYNs are counted for all CPUs together, so that the limit is one; not while it protects |
| `CONNECTION_FILTER`, `NEAR_CONNECTION_FILTER`, `HALF_OPEN`, `HALF_OPEN_FILTER`, `SOURCES` | by SYNs that are passed: while the service observes, within the budget of tracking |

`cargo xtask test -- -p syn-guard --test shared_lines` runs forged SYNs one by one through the loaded
programs and compares all maps that are not per CPU before and after: outside of this table no byte
changes. `cargo test -p syn-guard-common --test many_cpus` lets 64 CPUs, each with a state of its own,
decide about 1.8 million SYNs: 99.8 % of the decisions are those of one CPU that gets all of them, and
the rest are which of the SYNs past a limit are the ones within it.
";

/// All files and what they hold, by their names in the workspace.
///
/// # Errors
/// A curve cannot be drawn.
pub fn files(report: &Report) -> Result<Vec<(String, String)>> {
    let curves = curves(report)?;
    let mut files = vec![
        (PAGE.to_owned(), page(report, &curves)),
        (NUMBERS.to_owned(), report.to_json()?),
    ];
    let svg = |curve: Drawn| (format!("docs/{}", curve.file), curve.svg);
    files.extend(curves.into_iter().map(svg));
    Ok(files)
}

/// A curve and the table it belongs to.
struct Drawn {
    table: &'static str,
    title: &'static str,
    file: String,
    svg: String,
}

fn page(report: &Report, curves: &[Drawn]) -> String {
    let mut text = format!(
        "# What it costs\n\n\
         Measured on {}, generator and guard on a core each, by\n\n\
         ```sh\n{} --docs\n```\n\n\
         which writes this page, its curves and its numbers ([measured.json](performance/measured.json);\n\
         `cargo xtask bench --from {NUMBERS} --docs` makes the page of them).\n\
         Rounds are interleaved: what is compared ran within a minute. Numbers are medians of the rounds;\n\
         beside them the least and the most.\n\n",
        report.machine, report.command
    );
    for table in tables(report) {
        // A string takes whatever is written to it.
        let _ = writeln!(text, "## {}\n\n{}\n", table.title, table.about);
        for curve in curves.iter().filter(|curve| curve.table == table.title) {
            let _ = writeln!(text, "![{}]({})\n", curve.title, curve.file);
        }
        let heads: Vec<String> = table.heads.iter().map(ToString::to_string).collect();
        let rule = vec!["---".to_owned(); heads.len()];
        for row in [&heads, &rule].into_iter().chain(&table.rows) {
            let _ = writeln!(text, "| {} |", row.join(" | "));
        }
        if !table.notes.is_empty() {
            text.push('\n');
        }
        for note in &table.notes {
            let _ = writeln!(text, "- {note}");
        }
        text.push('\n');
    }
    text + SHARED
}

fn curves(report: &Report) -> Result<Vec<Drawn>> {
    let mut drawn = Vec::new();
    let mut add = |table, file: &str, labels: Labels<'static>, lines: &[Line]| -> Result<()> {
        drawn.push(Drawn {
            table,
            title: labels.title,
            file: format!("performance/{file}.svg"),
            svg: chart::draw(labels, lines)?,
        });
        Ok(())
    };
    if let Some(curves) = &report.rates {
        const TABLE: &str = "Honest connections under a flood";
        const X: &str = "forged SYNs a second";
        let labels = |title, y| Labels {
            title,
            x: X,
            y,
            legend: match y {
                "%" => Legend::Right,
                _ => Legend::UpperLeft,
            },
        };
        add(
            TABLE,
            "honest",
            labels("Honest connections that get in", "%"),
            &by_rate(curves, |point| point.spread(|round| round.honest)),
        )?;
        add(
            TABLE,
            "p50",
            labels("Median time from SYN to page, where half get in", "ms"),
            &by_rate(curves, |point| times(point, |round| round.p50)),
        )?;
        add(
            TABLE,
            "p99",
            labels(
                "99th percentile of the time from SYN to page, where half get in",
                "ms",
            ),
            &by_rate(curves, |point| times(point, |round| round.p99)),
        )?;
        add(
            TABLE,
            "answers",
            labels("Answers to forged SYNs", "a second"),
            &by_rate(curves, |point| point.spread(|round| round.answered)),
        )?;
    }
    if let Some(growth) = &report.growth {
        let (y, legend) = ("ns above the floor", Legend::Right);
        for (table, file, title, x, steps) in [
            (
                "Services",
                "services",
                "Cost of a packet by the number of services",
                "services",
                &growth.services,
            ),
            (
                "Sources of a flood",
                "sources",
                "Cost of a packet by the number of a flood's sources",
                "sources",
                &growth.sources,
            ),
            (
                "Prefixes in the lists",
                "prefixes",
                "Cost of a packet by the number of listed prefixes",
                "prefixes (none: at 1)",
                &growth.prefixes,
            ),
        ] {
            add(
                table,
                file,
                Labels {
                    title,
                    x,
                    y,
                    legend,
                },
                &by_count(steps),
            )?;
        }
    }
    Ok(drawn)
}

/// Times of a defence that is of use at that rate: a few lucky connections' say nothing.
fn times(point: &Point, of: fn(&Round) -> f64) -> Option<Spread> {
    point.is_of_use().then(|| point.times(of))?
}

/// A line for each defence, of the points that have a value.
fn by_rate(curves: &[Curve], of: fn(&Point) -> Option<Spread>) -> Vec<Line> {
    let line = |curve: &Curve| {
        let points = curve.points.iter().filter_map(|point| {
            let came = point.spread(|round| round.came)?.median;
            Some((came, of(point)?.median))
        });
        Line {
            name: curve.defence.name().to_owned(),
            points: points.collect(),
        }
    };
    curves.iter().map(line).collect()
}

fn by_count(steps: &[Step]) -> Vec<Line> {
    let line = |name: &str, of: fn(&Step) -> f64| Line {
        name: name.to_owned(),
        points: steps
            .iter()
            // The axis is logarithmic.
            .map(|step| (f64::from(step.count.max(1)), of(step)))
            .collect(),
    };
    vec![
        line("forged SYN", |step| step.cookie.median),
        line("data of an established connection", |step| {
            step.established.median
        }),
        line("observed SYN", |step| step.observed.median),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bench::{budget, report::examples::report},
        build::Paths,
    };

    #[test]
    fn the_page_has_every_table_with_its_curves_and_the_command() {
        let files = files(&report()).unwrap();
        let (name, page) = &files[0];
        assert_eq!(name, PAGE);
        let line = budget::Line::CookieIpv4.name();
        for part in [
            "cargo xtask bench --docs",
            "Linux 6.18, 2 cores",
            &format!(
                "| {line} | 80 | 95 | 90 to 99 | no | {} |",
                budget::Line::CookieIpv4.bound()
            ),
            &format!("| {line} | 46 | 95 | 90 to 99 | 80 | - |"),
            &format!("| {line} | 15 | 78 | 77 to 79 | 80 |"),
            "| --- | --- | --- | --- | --- |",
            "- At 1 M SYN/s: ",
            "| 10,000,000 | 75 |",
            "| syn_guard | 4000 | 224000 | 504 | 20000 | 310 |",
        ] {
            assert!(page.contains(part), "no {part} in {page}");
        }
        // Every curve is shown, and every one that is shown is there.
        for (name, text) in &files[2..] {
            assert!(text.starts_with("<svg"), "{name}");
            let link = format!("]({})", name.strip_prefix("docs/").unwrap());
            assert_eq!(page.matches(&link).count(), 1, "{name}");
        }
        assert_eq!(files.len(), 2 + page.matches("![").count());
    }

    #[test]
    fn numbers_that_were_written_make_the_same_page() {
        let written = files(&report()).unwrap();
        let read: Report = serde_json::from_str(&written[1].1).unwrap();
        assert_eq!(files(&read).unwrap(), written);
    }

    #[test]
    fn the_page_in_docs_is_what_its_numbers_make() {
        let root = Paths::find().unwrap().root;
        let Ok(numbers) = std::fs::read_to_string(root.join(NUMBERS)) else {
            // Not measured yet.
            return;
        };
        let report: Report = serde_json::from_str(&numbers).unwrap();
        for (name, text) in files(&report).unwrap() {
            let there = std::fs::read_to_string(root.join(&name)).unwrap();
            assert!(
                there == text,
                "{name} is not of its numbers: cargo xtask bench --from {NUMBERS} --docs"
            );
        }
    }
}
