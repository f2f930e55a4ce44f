//! A number against its limit.

use std::fmt::Write as _;

/// What a number may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

/// A number that was measured.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) what: String,
    pub(super) number: f64,
    pub(super) limit: Limit,
    pub(super) unit: &'static str,
}

impl Outcome {
    pub(super) fn at_most(
        what: impl Into<String>,
        number: f64,
        most: f64,
        unit: &'static str,
    ) -> Self {
        Self {
            what: what.into(),
            number,
            limit: Limit::AtMost(most),
            unit,
        }
    }

    pub(super) fn at_least(
        what: impl Into<String>,
        number: f64,
        least: f64,
        unit: &'static str,
    ) -> Self {
        Self {
            what: what.into(),
            number,
            limit: Limit::AtLeast(least),
            unit,
        }
    }

    /// How far it is past its limit. What is no number is: nobody measured it.
    pub(super) fn past(&self) -> Option<f64> {
        let past = match self.limit {
            Limit::AtMost(most) => self.number - most,
            Limit::AtLeast(least) => least - self.number,
        };
        (past.is_nan() || past > 0.0).then_some(past)
    }

    /// The better one of two measurements of the same.
    pub(super) fn better(self, other: Self) -> Self {
        let is_better = match self.limit {
            _ if self.number.is_nan() => false,
            // Each has a limit of its own: how slow the machine was when it was measured.
            _ if self.past().is_none() => true,
            _ if other.past().is_none() => false,
            Limit::AtMost(_) | Limit::AtLeast(_) => self.past() <= other.past(),
        };
        if is_better { self } else { other }
    }

    /// The number, its limit, and how far it is past that.
    fn cells(&self) -> [String; 4] {
        let (word, past, limit) = match self.limit {
            Limit::AtMost(limit) => ("at most", "over", limit),
            Limit::AtLeast(limit) => ("at least", "below", limit),
        };
        [
            self.what.clone(),
            format!("{} {}", short(self.number), self.unit),
            format!("{word} {}", short(limit)),
            self.past().map_or_else(
                || "fine".to_owned(),
                |by| {
                    format!(
                        "{past} by {} {} ({:.0} %)",
                        short(by),
                        self.unit,
                        by / limit * 100.0
                    )
                },
            ),
        ]
    }
}

/// Three digits or so.
fn short(number: f64) -> String {
    match number.abs() {
        100.0.. => format!("{number:.0}"),
        10.0.. => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

/// A line for each.
pub(super) fn table(outcomes: &[Outcome]) -> String {
    let rows: Vec<_> = outcomes.iter().map(Outcome::cells).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|cells| cells[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths = [width(0), width(1), width(2)];
    let mut text = String::new();
    for [what, number, limit, verdict] in &rows {
        // A string takes whatever is written to it.
        let _ = writeln!(
            text,
            "{what:0$}  {number:>1$}  {limit:>2$}  {verdict}",
            widths[0], widths[1], widths[2],
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_past_its_limit_says_by_how_much() {
        let outcomes = [
            Outcome::at_most("a cookie", 120.0, 100.0, "ns"),
            Outcome::at_most("data", 9.5, 10.0, "ns"),
            Outcome::at_least("honest connections", 98.5, 99.5, "%"),
            Outcome::at_least("throughput", 60.0, 60.0, "%"),
        ];
        assert_eq!(
            table(&outcomes),
            "a cookie             120 ns    at most 100  over by 20.0 ns (20 %)\n\
             data                9.50 ns   at most 10.0  fine\n\
             honest connections   98.5 %  at least 99.5  below by 1.00 % (1 %)\n\
             throughput           60.0 %  at least 60.0  fine\n"
        );
        let past: Vec<_> = outcomes.iter().map(|it| it.past().is_some()).collect();
        assert_eq!(past, [true, false, true, false]);
        assert!(Outcome::at_most("", f64::NAN, 1.0, "").past().is_some());
    }

    #[test]
    fn of_two_measurements_the_better_one_counts() {
        let better = |one: (f64, f64), other: (f64, f64)| {
            let outcome = |(number, most)| Outcome::at_most("", number, most, "");
            outcome(one).better(outcome(other)).number
        };
        assert_eq!(better((5.0, 4.0), (6.0, 4.0)), 5.0);
        assert_eq!(better((6.0, 4.0), (5.0, 4.0)), 5.0);
        // The machine was slower then.
        assert_eq!(better((5.0, 4.0), (7.0, 8.0)), 7.0);
        assert_eq!(better((f64::NAN, 4.0), (7.0, 4.0)), 7.0);
    }
}
