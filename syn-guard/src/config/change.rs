//! What a new configuration changes.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::effective::{Layer, shown};
use super::schema::KeyPath;
use crate::controller::Options;

/// A key with another value than before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The key's path.
    pub key: String,
    /// What it was, as TOML or, where it was computed, in words.
    pub from: String,
    /// What it is.
    pub to: String,
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {} -> {}", self.key, self.from, self.to)
    }
}

/// What a reload or a `set` did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Applied {
    /// What holds now.
    #[serde(skip)]
    pub options: Options,
    /// What changed.
    pub changes: Vec<Change>,
    /// What changes with the next start only.
    pub waiting: Vec<Change>,
    /// Keys that were set at run time, which a reload took back.
    pub taken_back: Vec<String>,
}

/// Longest value in a line of changes, characters: a list may have thousands
/// of elements.
const SHOWN: usize = 80;

/// What differs between two configurations.
pub(super) fn changes(old: &Layer, new: &Layer, which: impl Fn(KeyPath) -> bool) -> Vec<Change> {
    let mut paths: Vec<_> = old.keys().chain(new.keys()).copied().collect();
    paths.sort_unstable();
    paths.dedup();
    paths
        .into_iter()
        .filter(|path| which(*path))
        .filter_map(|path| {
            let (from, to) = (shown(old, path), shown(new, path));
            (from != to).then(|| Change {
                key: path.to_string(),
                from: shorten(old, path, from),
                to: shorten(new, path, to),
            })
        })
        .collect()
}

fn shorten(layer: &Layer, path: KeyPath, shown: String) -> String {
    if shown.chars().count() <= SHOWN {
        return shown;
    }
    let elements = layer
        .get(&path)
        .map_or(0, |setting| setting.value.list().len());
    format!("{elements} elements")
}
