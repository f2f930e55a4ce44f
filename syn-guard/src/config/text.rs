//! Settings of the command line and of `syn-guard set`.

use super::error::ConfigError;
use super::schema::{KeyPath, Unfit};
use super::value::Value;

/// What takes back a value that was set at run time.
pub(super) const DEFAULT: &str = "default";

/// The key of a path.
pub(super) fn key(path: &str) -> Result<KeyPath, ConfigError> {
    KeyPath::parse(path).map_err(ConfigError::one)
}

/// The value that a text is for a key.
pub(super) fn value(path: KeyPath, text: &str) -> Result<Value, ConfigError> {
    path.key
        .kind
        .of_text(text)
        .map_err(|unfit| ConfigError::one(says(path, &unfit)))
}

/// A key and the value that a text is for it.
///
/// # Errors
/// There is no such key, or it takes no such value.
pub fn assign(path: &str, text: &str) -> Result<(KeyPath, Value), ConfigError> {
    let path = key(path)?;
    Ok((path, value(path, text)?))
}

/// What is wrong with a value, without its place.
pub(super) fn says(path: KeyPath, unfit: &Unfit) -> String {
    said(path, "=", unfit)
}

/// The same of an element of a list.
pub(super) fn says_of_element(path: KeyPath, unfit: &Unfit) -> String {
    said(path, "has", unfit)
}

fn said(path: KeyPath, verb: &str, unfit: &Unfit) -> String {
    let Unfit {
        found, expected, ..
    } = unfit;
    match (&unfit.why, unfit.found_type) {
        (Some(why), _) => format!("{path}: {why}"),
        (None, Some(kind)) => format!(
            "{path} {verb} {found}: expected {expected}, found {} {kind}",
            article(kind)
        ),
        (None, None) => format!("{path} {verb} {found}: expected {expected}"),
    }
}

pub(super) fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    }
}
