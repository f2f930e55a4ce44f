//! The configuration: one table of keys ([`schema`]), a TOML file that is read
//! with the place of every mistake, flags over file over defaults, and what is
//! set while the guard runs.

mod change;
mod document;
mod effective;
mod error;
mod file;
mod listed;
mod place;
mod relations;
mod report;
pub mod schema;
mod show;
mod source;
mod text;
mod value;
mod wanted;

pub use change::{Applied, Change};
pub use document::{example, reference};
pub use effective::{Layer, Setting};
pub use error::{ConfigError, Problem};
pub use file::{DEFAULT_FILE, check};
pub use place::{Origin, Place};
pub use report::{ConfigEntry, ConfigReport};
pub use show::show;
pub use source::ConfigSource;
pub use text::assign;
pub use value::Value;
pub use wanted::{LogFormat, Wanted};

#[cfg(test)]
mod tests;
