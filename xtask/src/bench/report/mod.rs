//! What is made of the numbers.

pub mod chart;
mod controller;
pub mod page;
mod tables;
pub mod text;

use std::fmt;

use anyhow::Result;

use super::{
    FlatOut, Row, controller::Controller, defence::Defence, growth::Growth, rates::Curve,
    size::Program,
};

/// All that was measured; parts that were not are left out.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The kernel and the processor.
    pub machine: String,
    /// What measures the same again.
    pub command: String,
    /// Costs in the real path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Vec<Row>>,
    /// Costs of the programs alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alone: Option<Vec<Row>>,
    /// Answers of one core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flat_out: Option<FlatOut>,
    /// Honest connections by the flood's rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rates: Option<Vec<Curve>>,
    /// Defences that are not among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// Cost by what there is to look at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub growth: Option<Growth>,
    /// The programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Vec<Program>>,
    /// The controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<Controller>,
}

impl Report {
    /// As a file.
    ///
    /// # Errors
    /// Never, for numbers that were measured.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

/// A defence that could not be put up.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LeftOut {
    /// The defence.
    pub defence: Defence,
    /// Why not.
    pub why: String,
}

impl LeftOut {
    /// In one line.
    #[must_use]
    pub fn new(defence: Defence, why: String) -> Self {
        Self { defence, why }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is left out: {}", self.defence.name(), self.why)
    }
}

#[cfg(test)]
pub(super) mod examples;
