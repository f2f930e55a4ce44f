//! Keys by their paths, and what to say of those that are none.

use std::cmp::Ordering;
use std::fmt;

use super::{Key, SERVICES, TABLES, Table, table};

/// A key, of a service where it is one of those.
#[derive(Clone, Copy, Debug)]
pub struct KeyPath {
    /// The key.
    pub key: &'static Key,
    /// The service's port; 0 for keys that are no service's.
    pub port: u16,
}

impl KeyPath {
    /// The key that a path as `detection.hold` or `services.443.mode` names.
    ///
    /// # Errors
    /// There is none; says which is nearest.
    pub fn parse(path: &str) -> Result<Self, String> {
        let Some((table_name, rest)) = path.split_once('.') else {
            return Err(match elsewhere(path) {
                Some(key) => format!("unknown key \"{path}\": did you mean {}?", key.pattern()),
                None => format!(
                    "unknown key \"{path}\": a key is TABLE.NAME, as detection.hold{}",
                    nearest_path(path)
                ),
            });
        };
        let table = table(table_name)
            .ok_or_else(|| format!("unknown key \"{path}\": {}", no_table(table_name)))?;
        let (port, name) = if table.name == SERVICES {
            let (number, name) = rest.split_once('.').ok_or_else(|| {
                format!("unknown key \"{path}\": a service's key is {SERVICES}.PORT.NAME, as services.443.mode")
            })?;
            (
                self::port(number).map_err(|why| format!("{path}: {why}"))?,
                name,
            )
        } else {
            (0, rest)
        };
        table
            .key(name)
            .map(|key| Self { key, port })
            .ok_or_else(|| no_key(table, name, table_name))
    }

    /// All keys but those of services.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLES
            .into_iter()
            .filter(|table| table.name != SERVICES)
            .flat_map(|table| table.keys)
            .map(|key| Self { key, port: 0 })
    }

    /// The mode of a service.
    #[must_use]
    pub const fn mode_of(port: u16) -> Self {
        Self {
            key: &super::services::MODE,
            port,
        }
    }

    /// The service whose mode it is, if it is one's.
    #[must_use]
    pub fn is_mode_of(&self) -> Option<u16> {
        (self.port != 0 && self.key.name == "mode").then_some(self.port)
    }

    /// The table as it is written, as `services.443`.
    #[must_use]
    pub fn table(&self) -> String {
        if self.port == 0 {
            self.key.table.to_owned()
        } else {
            format!("{SERVICES}.{}", self.port)
        }
    }

    /// Where it stands among all.
    fn rank(&self) -> (u16, usize, usize) {
        let table = TABLES
            .iter()
            .position(|table| table.name == self.key.table)
            .unwrap_or(TABLES.len());
        let name = TABLES
            .get(table)
            .and_then(|table| table.keys.iter().position(|key| key.name == self.key.name));
        (self.port, table, name.unwrap_or(0))
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.table(), self.key.name)
    }
}

impl PartialEq for KeyPath {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for KeyPath {}

impl PartialOrd for KeyPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for KeyPath {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

/// The port that a name of a table below `services` is.
///
/// # Errors
/// It is none.
pub fn port(name: &str) -> Result<u16, String> {
    name.parse()
        .ok()
        .filter(|port| *port != 0 && name.bytes().all(|byte| byte.is_ascii_digit()))
        .ok_or_else(|| {
            format!(
                "\"{name}\" is no service: expected a TCP port from 1 to 65535, as [services.443]"
            )
        })
}

/// What to say of a table that is none.
#[must_use]
pub fn no_table(name: &str) -> String {
    let names = TABLES.map(|table| table.name);
    match nearest(name, names) {
        Some(near) => format!("unknown table [{name}]: did you mean [{near}]?"),
        None => format!(
            "unknown table [{name}]: there are [{}] and [services.PORT]",
            names[..names.len() - 1].join("], [")
        ),
    }
}

/// What to say of a key that a table has not; `shown` is the table as it is
/// written.
#[must_use]
pub fn no_key(table: &Table, name: &str, shown: &str) -> String {
    let begin = format!("unknown key \"{name}\" in [{shown}]");
    if let Some(near) = nearest(name, table.keys.iter().map(|key| key.name)) {
        return format!("{begin}: did you mean \"{near}\"?");
    }
    match elsewhere(name) {
        Some(key) if key.table != table.name => {
            format!("{begin}: it belongs into [{}]", key.table)
        }
        _ => {
            let names: Vec<_> = table.keys.iter().map(|key| key.name).collect();
            format!("{begin}: there are {}", names.join(", "))
        }
    }
}

/// The key of that name in whatever table.
fn elsewhere(name: &str) -> Option<&'static Key> {
    TABLES.into_iter().find_map(|table| table.key(name))
}

/// The nearest key to a name without table, to be said.
fn nearest_path(name: &str) -> String {
    let keys = TABLES.into_iter().flat_map(|table| table.keys);
    nearest(name, keys.map(|key| key.name))
        .and_then(elsewhere)
        .map_or_else(String::new, |key| {
            format!("; did you mean {}?", key.pattern())
        })
}

/// The name that somebody may have meant.
fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of its characters may differ, transposed ones once.
    let most = (name.chars().count() / 3).clamp(1, 4);
    names
        .into_iter()
        .map(|known| (distance(name, known), known))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

fn distance(name: &str, known: &str) -> usize {
    // A name of any length may stand in a file.
    if name.len() > 2 * known.len() + 2 {
        return usize::MAX;
    }
    let plain = name.to_ascii_lowercase().replace('-', "_");
    strsim::damerau_levenshtein(&plain, known)
}
