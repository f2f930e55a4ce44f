//! The numbers as tables.

use super::{Report, controller};
use crate::bench::{
    Row, Spread,
    budget::Goal,
    defence::Defence,
    growth::Step,
    rates::{self, Comparison, Curve, Point},
    size::Program,
};
use crate::digits::grouped;

/// A table: its heads, its rows.
pub(super) struct Table {
    pub(super) title: &'static str,
    /// What is to be known of it.
    pub(super) about: String,
    pub(super) heads: Vec<&'static str>,
    pub(super) rows: Vec<Vec<String>>,
    /// What comes behind it, a line each.
    pub(super) notes: Vec<String>,
}

impl Table {
    pub(super) fn new(
        title: &'static str,
        about: impl Into<String>,
        heads: &[&'static str],
    ) -> Self {
        Self {
            title,
            about: about.into(),
            heads: heads.to_vec(),
            rows: Vec::new(),
            notes: Vec::new(),
        }
    }
}

/// All tables, the budget first.
pub(super) fn tables(report: &Report) -> Vec<Table> {
    let mut tables = Vec::new();
    let mut optional = |table: Option<Table>| tables.extend(table);
    optional(budget(report));
    optional(report.path.as_ref().map(|rows| path(rows)));
    optional(report.alone.as_ref().map(|rows| alone(rows)));
    optional(report.flat_out.map(|flat| {
        let mut table = Table::new(
            "Flat out on one core",
            "The most answers a second to forged SYNs, of which 2, 2.5 or 3 millions or as many as \
             can be made come; rounds of the guard and of the floor in turn.",
            &["", "median", "rounds"],
        );
        table.rows = [
            ("cookies a second", flat.cookies),
            ("frames of the floor a second", flat.floor),
            ("share, %", flat.share),
        ]
        .map(|(name, it)| vec![name.to_owned(), number(it.median, 0), range(it, 0)])
        .into();
        table
    }));
    optional(report.rates.as_ref().map(|curves| honest(curves, report)));
    if let Some(growth) = &report.growth {
        optional(Some(steps("Services", "services", &growth.services)));
        optional(Some(steps(
            "Sources of a flood",
            "sources",
            &growth.sources,
        )));
        optional(Some(steps(
            "Prefixes in the lists",
            "prefixes",
            &growth.prefixes,
        )));
    }
    optional(report.size.as_ref().map(|programs| size(programs)));
    tables.extend(report.controller.iter().flat_map(controller::tables));
    tables
}

/// What was measured against what it may be, with what bounds it.
fn budget(report: &Report) -> Option<Table> {
    let mut table = Table::new(
        "The budget",
        "Packets: nanoseconds above the floor of the same run, in the real path; medians. Each line \
         is reached or not by the median.",
        &[
            "what",
            "may be",
            "measured",
            "rounds",
            "reached",
            "what bounds it now",
        ],
    );
    for row in report.path.iter().flatten() {
        table.rows.push(vec![
            row.line.name().to_owned(),
            number(row.line.budget_ns(), 0),
            number(row.above.median, 0),
            range(row.above, 0),
            yes(row.above.median <= row.line.budget_ns()),
            row.line.bound().to_owned(),
        ]);
    }
    for goal in Goal::ALL {
        if let Some(spread) = goal_of(report, goal) {
            let digits = if goal == Goal::Latency { 2 } else { 1 };
            table.rows.push(vec![
                goal.name().to_owned(),
                number(goal.limit(), digits),
                number(spread.median, digits),
                range(spread, digits),
                yes(goal.is_reached(spread.median)),
                goal.bound().to_owned(),
            ]);
        }
    }
    (!table.rows.is_empty()).then_some(table)
}

fn goal_of(report: &Report, goal: Goal) -> Option<Spread> {
    let compared = || rates::compare(report.rates.as_ref()?, Defence::SynGuard, Goal::RATE);
    match goal {
        Goal::FlatOut => Some(report.flat_out?.share),
        Goal::Honest => Some(compared()?.honest),
        Goal::Latency => Some(compared()?.ratio),
    }
}

fn path(rows: &[Row]) -> Table {
    let mut table = Table::new(
        "A packet in the real path",
        "Mean time of the programs for real frames over veth, by the kernel's own statistics \
         (`kernel.bpf_stats_enabled`, which costs the floor some 40 ns itself). Floors: `pass` \
         passes what it never looks at, `bounce` swaps addresses and sends back. *Looking* is what \
         a program costs above `pass` that reads the EtherType and one byte of TCP and passes: \
         frames come from another core's cache here, and whoever looks first waits for it. Network \
         cards that write into the cache of the core that receives (DDIO) do not have that.",
        &[
            "packet",
            "floor, ns",
            "above it, ns",
            "rounds",
            "may be",
            "of it looking, ns",
        ],
    );
    table.rows = rows
        .iter()
        .map(|row| {
            let mut cells = cost(row);
            cells.push(row.touch.map_or_else(none, |touch| number(touch.median, 0)));
            cells
        })
        .collect();
    table
}

fn alone(rows: &[Row]) -> Table {
    let mut table = Table::new(
        "A packet in the programs alone",
        "Mean time of the programs over frames that are on no wire (`BPF_PROG_TEST_RUN`), in the \
         cache of the core that runs them. `cargo xtask bench --check` fails when a line costs half \
         as much again, by the floor and a piece of work measured beside it.",
        &["packet", "floor, ns", "above it, ns", "rounds", "may be"],
    );
    table.rows = rows.iter().map(cost).collect();
    table
}

fn cost(row: &Row) -> Vec<String> {
    vec![
        row.line.name().to_owned(),
        number(row.floor.median, 0),
        number(row.above.median, 0),
        range(row.above, 0),
        number(row.line.budget_ns(), 0),
    ]
}

fn honest(curves: &[Curve], report: &Report) -> Table {
    let mut table = Table::new(
        "Honest connections under a flood",
        "100 honest connections a second of ever new addresses, while forged SYNs come; from SYN \
         to page, of those that got it within 3 s. The guard's core, the flood's core and what the \
         clients and nginx need are two cores here.",
        &[
            "defence",
            "SYN/s",
            "honest, %",
            "rounds",
            "p50, ms",
            "p99, ms",
            "rounds",
            "answers/s",
        ],
    );
    for curve in curves {
        table.rows.extend(
            curve
                .points
                .iter()
                .map(|point| at_rate(curve.defence, point)),
        );
    }
    if let Some(compared) = rates::compare(curves, Defence::SynGuard, Goal::RATE) {
        table.notes.extend(comparison(&compared));
    }
    table
        .notes
        .extend(report.left_out.iter().map(ToString::to_string));
    table
}

fn at_rate(defence: Defence, point: &Point) -> Vec<String> {
    let middle = |spread: Option<Spread>, digits| {
        spread.map_or_else(none, |spread| number(spread.median, digits))
    };
    let rounds = |spread: Option<Spread>| spread.map_or_else(none, |spread| range(spread, 1));
    let honest = point.spread(|round| round.honest);
    let p99 = point.times(|round| round.p99);
    vec![
        defence.name().to_owned(),
        middle(point.spread(|round| round.came), 0),
        middle(honest, 1),
        rounds(honest),
        middle(point.times(|round| round.p50), 1),
        middle(p99, 1),
        rounds(p99),
        middle(point.spread(|round| round.answered), 0),
    ]
}

fn comparison(compared: &Comparison) -> [String; 2] {
    let reached = |goal: Goal, value| {
        if goal.is_reached(value) {
            "reached"
        } else {
            "not reached"
        }
    };
    let rate = Goal::RATE / 1_000_000;
    [
        format!(
            "At {rate} M SYN/s: {:.1} % of honest connections get in ({}), with the floor {:.1} % \
             ({}); at least {} %: {}.",
            compared.honest.median,
            range(compared.honest, 1),
            compared.floor_honest.median,
            range(compared.floor_honest, 1),
            Goal::Honest.limit(),
            reached(Goal::Honest, compared.honest.median),
        ),
        format!(
            "At {rate} M SYN/s: their 99th percentile is {:.1} ms ({}), with the floor {:.1} ms \
             ({}); round by round {:.2} times it ({}), at most {}: {}.",
            compared.p99.median,
            range(compared.p99, 1),
            compared.floor_p99.median,
            range(compared.floor_p99, 1),
            compared.ratio.median,
            range(compared.ratio, 2),
            Goal::Latency.limit(),
            reached(Goal::Latency, compared.ratio.median),
        ),
    ]
}

fn steps(title: &'static str, what: &'static str, steps: &[Step]) -> Table {
    let about = match what {
        "services" => "The flood goes to all services, in no order.",
        "sources" => {
            "Few sources are over their limit: their SYNs are dropped, which costs less than a cookie."
        }
        _ => "Denied /24, none of which the flood comes from.",
    };
    let mut table = Table::new(
        title,
        format!(
            "The XDP program alone, nanoseconds above the floor of the same run: `bounce` for forged \
             SYNs that a protecting service gets, `pass` for data of an established connection and \
             for SYNs that are only observed, past what is tracked. {about}"
        ),
        &[
            what,
            "forged SYN",
            "rounds",
            "established",
            "rounds",
            "observed SYN",
            "rounds",
        ],
    );
    table.rows = steps
        .iter()
        .map(|step| {
            let mut cells = vec![grouped(step.count.into())];
            for spread in [step.cookie, step.established, step.observed] {
                cells.extend([number(spread.median, 0), range(spread, 0)]);
            }
            cells
        })
        .collect();
    table
}

fn size(programs: &[Program]) -> Table {
    let mut table = Table::new(
        "Size of the programs",
        "The verifier looks at 1,000,000 instructions at most; a stack has 512 bytes. Loading is \
         the verifier and the JIT.",
        &[
            "program",
            "instructions",
            "verified",
            "stack, bytes",
            "machine code, bytes",
            "loading, ms",
            "rounds",
        ],
    );
    table.rows = programs
        .iter()
        .map(|program| {
            vec![
                program.name.clone(),
                program.instructions.to_string(),
                program.verified.to_string(),
                program.stack.map_or_else(none, |stack| stack.to_string()),
                program.machine_code.to_string(),
                number(program.load.median, 0),
                range(program.load, 0),
            ]
        })
        .collect();
    table
}

pub(super) fn number(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    // What rounds to nothing has no sign.
    match text.strip_prefix('-') {
        Some(rest) if rest.bytes().all(|it| matches!(it, b'0' | b'.')) => rest.to_owned(),
        _ => text,
    }
}

pub(super) fn range(spread: Spread, digits: usize) -> String {
    format!(
        "{} to {}",
        number(spread.least, digits),
        number(spread.most, digits)
    )
}

fn none() -> String {
    "-".to_owned()
}

fn yes(is: bool) -> String {
    if is { "yes" } else { "no" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_people_write_them() {
        assert_eq!(number(-0.3, 0), "0");
        assert_eq!(number(-0.04, 1), "0.0");
        assert_eq!(number(-3.6, 0), "-4");
        for (count, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (10_000_000, "10,000,000"),
        ] {
            assert_eq!(grouped(count), text);
        }
    }
}
