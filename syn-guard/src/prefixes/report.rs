//! What is said of a listed prefix.

use serde::{Deserialize, Serialize};

/// A prefix on a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefixReport {
    /// `allow` or `deny`.
    pub list: String,
    /// As `192.0.2.0/24` or `2001:db8::/32`.
    pub prefix: String,
    /// Who listed it: `config`, `file PATH` or `run time`.
    pub origin: String,
    /// Seconds until it ends; none: never.
    pub ends_in_seconds: Option<u64>,
}
