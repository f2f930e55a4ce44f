//! Lists of prefixes whose SYNs pass or are dropped: how they are written, and
//! what is said of them.

mod parse;
mod report;

pub use parse::{PrefixError, parse};
pub use report::PrefixReport;
