//! Values of keys, and how they are written.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A value of a key. It shows as TOML.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Integer(u64),
    /// A word, an address, a prefix or a path.
    Text(String),
    /// Any number of those.
    List(Vec<Value>),
}

impl Value {
    /// The number; 0 where it is none.
    #[must_use]
    pub const fn integer(&self) -> u64 {
        match self {
            Self::Integer(number) => *number,
            _ => 0,
        }
    }

    /// The text; empty where it is none.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            _ => "",
        }
    }

    /// The elements; none where it is no list.
    #[must_use]
    pub fn list(&self) -> &[Self] {
        match self {
            Self::List(list) => list,
            _ => &[],
        }
    }

    /// A list of what shows as text.
    pub fn texts(items: impl IntoIterator<Item = impl fmt::Display>) -> Self {
        Self::List(
            items
                .into_iter()
                .map(|item| Self::Text(item.to_string()))
                .collect(),
        )
    }
}

impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(formatter),
            Self::Integer(value) => value.fmt(formatter),
            Self::Text(text) => quoted(text, formatter),
            Self::List(list) => {
                formatter.write_str("[")?;
                for (index, value) in list.iter().enumerate() {
                    if index > 0 {
                        formatter.write_str(", ")?;
                    }
                    value.fmt(formatter)?;
                }
                formatter.write_str("]")
            }
        }
    }
}

/// A TOML basic string (TOML 1.0, "String").
fn quoted(text: &str, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    formatter.write_str("\"")?;
    for character in text.chars() {
        match character {
            '"' | '\\' => write!(formatter, "\\{character}")?,
            other if other.is_control() => write!(formatter, "\\u{:04X}", u32::from(other))?,
            other => write!(formatter, "{other}")?,
        }
    }
    formatter.write_str("\"")
}
