//! What values a key takes.

use std::net::SocketAddr;
use std::path::Path;

use toml::de::DeValue;

use crate::config::value::Value;
use crate::prefixes::parse;

/// What values a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One value.
    One(Scalar),
    /// Any number of them.
    List(Scalar),
}

/// What a single value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// `true` or `false`.
    Bool,
    /// A number of `unit` from `min` to `max`.
    Number {
        /// What is counted, in the plural.
        unit: &'static str,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// An IP address and port.
    Address,
    /// A TCP port.
    Port,
    /// The name of an interface.
    Interface,
    /// A prefix of addresses.
    Prefix,
    /// An absolute path.
    Path,
}

/// Why a value is none for a key: what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// What was found, as it is written.
    pub found: String,
    /// Its type, where that is wrong.
    pub found_type: Option<&'static str>,
    /// What was expected.
    pub expected: String,
    /// What is wrong in a whole sentence, where more is known.
    pub why: Option<String>,
}

/// Longest name of an interface, bytes (`IFNAMSIZ` less the final 0,
/// `include/uapi/linux/if.h`).
const INTERFACE_NAME: usize = 15;

impl Scalar {
    /// What is expected, for people.
    #[must_use]
    pub fn expected(self) -> String {
        match self {
            Self::Bool => "true or false".to_owned(),
            Self::Number { unit, min, max } => format!("{unit} from {min} to {max}"),
            Self::Choice(words) => match words {
                [] => "nothing".to_owned(),
                [only] => format!("\"{only}\""),
                [first @ .., last] => format!("\"{}\" or \"{last}\"", first.join("\", \"")),
            },
            Self::Address => "an address with a port, as \"127.0.0.1:9469\"".to_owned(),
            Self::Port => "a TCP port from 1 to 65535".to_owned(),
            Self::Interface => "the name of an interface, as \"eth0\"".to_owned(),
            Self::Prefix => "a prefix, as \"192.0.2.0/24\" or \"2001:db8::/32\"".to_owned(),
            Self::Path => "an absolute path, as \"/etc/syn-guard/denied\"".to_owned(),
        }
    }

    /// The type in TOML.
    const fn type_name(self) -> &'static str {
        match self {
            Self::Bool => "boolean",
            Self::Number { .. } | Self::Port => "integer",
            _ => "string",
        }
    }

    /// The value of a text that has the right type.
    fn text(self, text: &str) -> Option<Value> {
        let fits = match self {
            Self::Choice(words) => words.contains(&text),
            Self::Address => text.parse::<SocketAddr>().is_ok(),
            Self::Interface => {
                (1..=INTERFACE_NAME).contains(&text.len())
                    && !matches!(text, "." | "..")
                    && !text.contains(|it: char| it == '/' || it.is_whitespace() || it == '\0')
            }
            Self::Prefix => {
                return parse(text)
                    .ok()
                    .map(|prefix| Value::Text(prefix.to_string()));
            }
            Self::Path => Path::new(text).is_absolute() && !text.contains('\0'),
            Self::Bool | Self::Number { .. } | Self::Port => false,
        };
        fits.then(|| Value::Text(text.to_owned()))
    }

    /// The value of a number.
    fn number(self, number: u64) -> Option<Value> {
        let (min, max) = match self {
            Self::Number { min, max, .. } => (min, max),
            Self::Port => (1, 65_535),
            _ => return None,
        };
        (min..=max)
            .contains(&number)
            .then_some(Value::Integer(number))
    }

    fn unfit(self, found: impl Into<String>, found_type: Option<&'static str>) -> Unfit {
        Unfit {
            found: found.into(),
            found_type,
            expected: self.expected(),
            why: None,
        }
    }

    /// Why a value of the right type is none for the key.
    fn unfit_value(self, found: impl Into<String>, text: Option<&str>) -> Unfit {
        let mut unfit = self.unfit(found, None);
        if self == Self::Prefix {
            unfit.why = text.and_then(|text| Some(parse(text).err()?.to_string()));
        }
        unfit
    }

    /// What a value of a file is.
    ///
    /// # Errors
    /// It has another type, or is none of those that the key takes.
    pub fn of_toml(self, value: &DeValue<'_>) -> Result<Value, Unfit> {
        let shown = shown(value);
        if value.type_str() != self.type_name() {
            return Err(self.unfit(shown, Some(value.type_str())));
        }
        match value {
            DeValue::Boolean(value) => Some(Value::Bool(*value)),
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix())
                .ok()
                .and_then(|number| self.number(number)),
            DeValue::String(text) => self.text(text),
            _ => None,
        }
        .ok_or_else(|| self.unfit_value(shown, value.as_str()))
    }

    /// What a text of the command line is.
    ///
    /// # Errors
    /// It is none of those values that the key takes.
    pub fn of_text(self, text: &str) -> Result<Value, Unfit> {
        match self {
            Self::Bool => text.parse().ok().map(Value::Bool),
            Self::Number { .. } | Self::Port => {
                text.parse().ok().and_then(|number| self.number(number))
            }
            _ => self.text(text),
        }
        .ok_or_else(|| self.unfit_value(text, Some(text)))
    }
}

impl Kind {
    /// What is expected, for people.
    #[must_use]
    pub fn expected(self) -> String {
        match self {
            Self::One(scalar) => scalar.expected(),
            Self::List(scalar) => format!("an array, each {}", scalar.expected()),
        }
    }

    /// What a text of the command line is: a list's elements have commas
    /// between them, and no text at all is the empty list.
    ///
    /// # Errors
    /// It is none of those values that the key takes.
    pub fn of_text(self, text: &str) -> Result<Value, Unfit> {
        match self {
            Self::One(scalar) => scalar.of_text(text),
            Self::List(_) if text.is_empty() => Ok(Value::List(Vec::new())),
            Self::List(scalar) => text
                .split(',')
                .map(|element| scalar.of_text(element.trim()))
                .collect::<Result<_, _>>()
                .map(Value::List),
        }
    }
}

/// A value of a file as it is written there, if it is short.
pub fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => shorten(&Value::Text(text.to_string()).to_string()),
        DeValue::Integer(number) => shorten(&number.to_string()),
        DeValue::Float(number) => shorten(&number.to_string()),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(value) => value.to_string(),
        DeValue::Array(_) => "[...]".to_owned(),
        DeValue::Table(_) => "{...}".to_owned(),
    }
}

fn shorten(text: &str) -> String {
    const SHOWN: usize = 60;
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    let start: String = text.chars().take(SHOWN).collect();
    format!("{start}...")
}
