//! A line of the budget, measured.

use super::{budget::Line, stats::Spread};

/// A line and what it costs.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub struct Row {
    /// The line.
    pub line: Line,
    /// The floor's nanoseconds.
    pub floor: Spread,
    /// Nanoseconds above the floor, by round.
    pub above: Spread,
    /// Of these, what a program costs that only looks at the frame and passes it: where the floor
    /// does not look, and frames come from another core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub touch: Option<Spread>,
    /// Nanoseconds of a fixed piece of work, measured in the same rounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yardstick: Option<Spread>,
}

/// Nanoseconds of that work on the machine that the budget is for, with nobody else on it.
const YARDSTICK_NS: f64 = 75.0;

impl Row {
    /// How many times as long as on a quiet machine of the budget's everything took meanwhile, half
    /// at least; 1 where that is not known.
    #[must_use]
    pub fn slowness(&self) -> f64 {
        self.yardstick
            .map_or(1.0, |work| (work.median / YARDSTICK_NS).max(0.5))
    }

    /// For people: the line, its cost and what it may be.
    #[must_use]
    pub fn text(&self) -> String {
        format!(
            "{:50} {:5.0} + {:4.0} ns ({:.0} to {:.0}), may: {:.0} times {:.2}",
            self.line.name(),
            self.floor.median,
            self.above.median,
            self.above.least,
            self.above.most,
            self.line.budget_ns(),
            self.slowness(),
        )
    }
}
