//! A line of the budget, measured.

use super::{budget::Line, stats::Spread};

/// A line and what it costs.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Row {
    /// The line.
    pub line: Line,
    /// The floor's nanoseconds.
    pub floor: Spread,
    /// Nanoseconds above the floor, by round.
    pub above: Spread,
}

impl Row {
    /// For people: the line, its cost and what it may be.
    #[must_use]
    pub fn text(&self) -> String {
        format!(
            "{:50} {:5.0} + {:4.0} ns ({:.0} to {:.0}), may: {:.0}",
            self.line.name(),
            self.floor.median,
            self.above.median,
            self.above.least,
            self.above.most,
            self.line.budget_ns()
        )
    }
}
