//! What is made of the numbers.

pub mod chart;
pub mod text;

use super::{FlatOut, Row, rates::Curve};

/// All that was measured; parts that were not are left out.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Report {
    /// The kernel and the processor.
    pub machine: String,
    /// Costs in the real path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Vec<Row>>,
    /// Costs of the programs alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alone: Option<Vec<Row>>,
    /// Instructions that the verifier looked at: XDP and TC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<[u32; 2]>,
    /// Answers of one core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flat_out: Option<FlatOut>,
    /// Honest connections by the flood's rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rates: Option<Vec<Curve>>,
}
