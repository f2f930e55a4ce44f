//! The one table of keys. Validation, `config show`, the reference and the
//! suggestions are made from it.

mod detection;
mod guard;
mod harden;
mod kind;
mod limits;
mod lists;
mod path;
mod services;

use super::value::Value;
use super::wanted::Wanted;

pub use kind::{Kind, Scalar, Unfit, shown};
pub use path::{KeyPath, no_key, no_table, port};

/// The table whose tables are named after ports.
pub const SERVICES: &str = "services";
/// How the reference writes a port in a key's path.
pub const PORT: &str = "PORT";

/// A key.
#[derive(Debug)]
pub struct Key {
    /// Its table; [`SERVICES`]: one for each port.
    pub table: &'static str,
    /// Its name there.
    pub name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// What its default is, where that is no fixed value.
    pub computed: Option<&'static str>,
    /// What it does, in sentences.
    pub doc: &'static str,
    /// Whether a change waits for the next start.
    pub restart: bool,
    /// The flag of `run` that sets it, besides `--set`.
    pub flag: Option<&'static str>,
    /// Its value; none where that is computed.
    pub get: fn(&Wanted, u16) -> Option<Value>,
    /// Takes a value that [`Self::kind`] allows.
    pub set: fn(&mut Wanted, u16, &Value),
}

/// What a table is about.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// A sentence or two.
    pub doc: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
}

/// All tables, in the order in which they are shown.
pub const TABLES: [&Table; 6] = [
    &guard::TABLE,
    &detection::TABLE,
    &harden::TABLE,
    &limits::TABLE,
    &lists::TABLE,
    &services::TABLE,
];

/// The table of that name.
#[must_use]
pub fn table(name: &str) -> Option<&'static Table> {
    TABLES.into_iter().find(|table| table.name == name)
}

impl Table {
    /// The key of that name.
    #[must_use]
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

impl Key {
    /// Its path in the reference, as `detection.hold` or `services.PORT.mode`.
    #[must_use]
    pub fn pattern(&self) -> String {
        if self.table == SERVICES {
            format!("{SERVICES}.{PORT}.{}", self.name)
        } else {
            format!("{}.{}", self.table, self.name)
        }
    }

    /// Its default, as it is shown.
    #[must_use]
    pub fn default_words(&self) -> String {
        match ((self.get)(&Wanted::default(), 0), self.computed) {
            (_, Some(words)) => words.to_owned(),
            (Some(value), None) => value.to_string(),
            (None, None) => "none".to_owned(),
        }
    }
}

/// The modes, in words.
const MODES: Scalar = Scalar::Choice(&["off", "observe", "auto", "protect"]);

/// The most half-open connections, or SYNs a second, that anybody sets a limit to.
const MOST: u64 = 1_000_000_000;

const fn number(unit: &'static str, min: u64, max: u64) -> Kind {
    Kind::One(Scalar::Number { unit, min, max })
}
