//! What is wrong with a configuration.

use std::fmt;
use std::path::PathBuf;

use super::place::Place;

/// One thing that is wrong, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, if it stands in a file.
    pub place: Option<Place>,
    /// What, and what to do.
    pub text: String,
}

impl Problem {
    /// Something wrong at a place.
    #[must_use]
    pub fn at(place: Place, text: impl Into<String>) -> Self {
        Self {
            place: Some(place),
            text: text.into(),
        }
    }

    /// Something wrong that stands in no file.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            place: None,
            text: text.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(formatter, "{place}: {}", self.text),
            None => formatter.write_str(&self.text),
        }
    }
}

/// Everything that is wrong with a configuration. It shows as its first
/// problem, and says how to see the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    /// At least one.
    pub problems: Vec<Problem>,
}

impl ConfigError {
    /// One problem that is in no file.
    #[must_use]
    pub fn one(text: impl Into<String>) -> Self {
        Self {
            file: None,
            problems: vec![Problem::new(text)],
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [] => formatter.write_str("the configuration is wrong"),
            [only] => only.fmt(formatter),
            [first, rest @ ..] => {
                write!(formatter, "{first} (and {} more", rest.len())?;
                if let Some(file) = &self.file {
                    write!(formatter, ": syn-guard config check {}", file.display())?;
                }
                formatter.write_str(")")
            }
        }
    }
}

impl std::error::Error for ConfigError {}
