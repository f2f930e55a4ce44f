//! Lists of prefixes whose SYNs pass or are dropped: how they are written, who
//! listed what, and what is said of it.

mod error;
mod file;
mod lists;
mod parse;
mod report;

pub use error::ListError;
pub use file::{Line, ListFileError, Stamp, read};
pub use lists::{Lists, Origin, Part};
pub use parse::{PrefixError, parse};
pub use report::PrefixReport;
