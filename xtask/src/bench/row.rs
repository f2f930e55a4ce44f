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

/// How much more than it does a line must cost to be too much.
const TOO_MUCH: f64 = 1.5;
/// What the difference of two means may be off by, nanoseconds.
const UNSURE_NS: f64 = 4.0;

impl Row {
    /// How many times as long as on a quiet machine of the budget's computing took meanwhile, half
    /// at least; 1 where that is not known.
    #[must_use]
    pub fn slowness(&self) -> f64 {
        self.yardstick
            .map_or(1.0, |work| (work.median / YARDSTICK_NS).max(0.5))
    }

    /// How many times as long a packet's program takes than there: half by [`Row::slowness`], half by
    /// the floor, which is calls and returns. What those cost depends on how the kernel guards them
    /// on that processor: the floor alone takes four times as long on some.
    fn slowness_of_programs(&self) -> f64 {
        f64::midpoint(
            self.slowness(),
            (self.floor.median / self.line.floor_ns()).max(0.5),
        )
    }

    /// Nanoseconds above the floor that the programs alone must not get past: half as much again as
    /// [`Line::guarded_ns`], by how slow the machine was meanwhile.
    #[must_use]
    pub fn guarded_ns(&self) -> f64 {
        self.line.guarded_ns() * self.slowness_of_programs() * TOO_MUCH + UNSURE_NS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(number: f64) -> Spread {
        Spread {
            least: number,
            median: number,
            most: number,
        }
    }

    #[test]
    fn a_slow_machine_is_not_taken_for_a_slow_program() {
        let line = Line::CookieIpv4;
        let row = |floor: f64, work: f64| Row {
            line,
            floor: same(line.floor_ns() * floor),
            above: same(0.0),
            touch: None,
            yardstick: Some(same(YARDSTICK_NS * work)),
        };
        let times = |floor, work| {
            (row(floor, work).guarded_ns() - UNSURE_NS) / (line.guarded_ns() * TOO_MUCH)
        };
        for (floor, work, wanted) in [(1.0, 1.0, 1.0), (4.0, 1.0, 2.5), (3.0, 3.0, 3.0)] {
            assert!((times(floor, work) - wanted).abs() < 1e-9, "{floor} {work}");
        }
    }
}
