//! The configuration file.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::effective::{Layer, Setting, wanted};
use super::error::{ConfigError, Problem};
use super::listed;
use super::place::{Cursor, Origin, Place};
use super::relations;
use super::schema::{self, Key, KeyPath, Kind, SERVICES, Table, Unfit};
use super::text::{article, says, says_of_element};
use super::value::Value;

/// The file that is read when none is named.
pub const DEFAULT_FILE: &str = "/etc/syn-guard/config.toml";
/// A larger file is none of ours, bytes: 100,000 prefixes take 2 MB.
const LARGEST: u64 = 16 << 20;

/// Reads a file, and everything that it names.
///
/// # Errors
/// All that is wrong with it.
pub fn check(file: &Path) -> Result<(), ConfigError> {
    let layer = read(file)?;
    let mut problems = relations::problems(&layer, &wanted(&layer).options);
    problems.extend(listed::problems(&layer, &Layer::new()));
    if problems.is_empty() {
        return Ok(());
    }
    Err(ConfigError {
        file: Some(file.to_owned()),
        problems,
    })
}

/// What a file sets.
///
/// # Errors
/// It cannot be read, or all that is wrong with it.
pub(super) fn read(file: &Path) -> Result<Layer, ConfigError> {
    let problems = match text(file) {
        Ok(text) => match parse(file, &text) {
            Ok(layer) => return Ok(layer),
            Err(problems) => problems,
        },
        Err(error) => vec![Problem::new(format!("{}: {error}", file.display()))],
    };
    Err(ConfigError {
        file: Some(file.to_owned()),
        problems,
    })
}

fn text(file: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(file)?
        .take(LARGEST + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::other("larger than 16 MiB: no configuration"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = error
            .as_bytes()
            .get(..error.utf8_error().valid_up_to())
            .map_or(0, |good| good.iter().filter(|byte| **byte == b'\n').count());
        io::Error::other(format!("line {} is not UTF-8", line + 1))
    })
}

/// What a file's text sets, or all that is wrong with it, in its order.
pub(super) fn parse(file: &Path, text: &str) -> Result<Layer, Vec<Problem>> {
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader {
        file,
        cursor: Cursor::new(text),
        layer: Layer::new(),
        problems: Vec::new(),
    };
    for error in errors {
        let span = error.span().unwrap_or(text.len()..text.len());
        let says = match (error.message(), text.get(span.clone())) {
            ("duplicate key", Some(key)) => format!("duplicate key {key}: leave one out"),
            (message, _) => format!("no TOML: {}", one_line(message)),
        };
        reader.problem(span.start, says);
    }
    reader.root(root.get_ref());
    let mut problems = reader.problems;
    if problems.is_empty() {
        return Ok(reader.layer);
    }
    problems.sort_by_key(|problem| {
        problem
            .place
            .as_ref()
            .map(|place| (place.line, place.column))
    });
    // Where one thing is wrong in two ways, the first says it.
    problems.dedup_by(|second, first| second.place == first.place);
    Err(problems)
}

fn one_line(message: &str) -> String {
    let words: Vec<_> = message.split_whitespace().collect();
    words.join(" ")
}

struct Reader<'a> {
    file: &'a Path,
    cursor: Cursor<'a>,
    layer: Layer,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn place(&mut self, byte: usize) -> Place {
        let (line, column) = self.cursor.find(byte);
        Place {
            file: self.file.to_owned(),
            line,
            column,
        }
    }

    fn problem(&mut self, byte: usize, says: impl Into<String>) {
        let place = self.place(byte);
        self.problems.push(Problem::at(place, says));
    }

    fn root(&mut self, root: &DeTable<'_>) {
        for (name, value) in root {
            let at = name.span().start;
            let Some(table) = schema::table(name.get_ref()) else {
                let says = match (value.get_ref(), KeyPath::parse(name.get_ref())) {
                    (DeValue::Table(_), _) | (_, Ok(_)) => schema::no_table(name.get_ref()),
                    (_, Err(says)) => says,
                };
                self.problem(at, says);
                continue;
            };
            let Some(entries) = self.table(name.get_ref(), value) else {
                continue;
            };
            if table.name == SERVICES {
                self.services(table, entries);
            } else {
                self.keys(table, 0, table.name, entries);
            }
        }
    }

    /// The entries of what must be a table.
    fn table<'v>(
        &mut self,
        name: &str,
        value: &'v Spanned<DeValue<'_>>,
    ) -> Option<&'v DeTable<'v>> {
        let found = value.get_ref().type_str();
        let entries = value.get_ref().as_table();
        if entries.is_none() {
            let says = format!(
                "{name}: expected a table, as [{name}], found {} {found}",
                article(found)
            );
            self.problem(value.span().start, says);
        }
        entries
    }

    fn services(&mut self, table: &Table, ports: &DeTable<'_>) {
        for (name, value) in ports {
            match schema::port(name.get_ref()) {
                Ok(port) => {
                    let shown = format!("{SERVICES}.{port}");
                    if let Some(entries) = self.table(&shown, value) {
                        self.keys(table, port, &shown, entries);
                    }
                }
                Err(says) => self.problem(name.span().start, says),
            }
        }
    }

    fn keys(&mut self, table: &Table, port: u16, shown: &str, entries: &DeTable<'_>) {
        for (name, value) in entries {
            match table.key(name.get_ref()) {
                Some(key) => self.value(key, port, name.span().start, value),
                None => {
                    let says = schema::no_key(table, name.get_ref(), shown);
                    self.problem(name.span().start, says);
                }
            }
        }
    }

    fn value(&mut self, key: &'static Key, port: u16, at: usize, value: &Spanned<DeValue<'_>>) {
        let path = KeyPath { key, port };
        let (read, elements) = match key.kind {
            Kind::One(scalar) => match scalar.of_toml(value.get_ref()) {
                Ok(read) => (read, Vec::new()),
                Err(unfit) => {
                    self.problem(value.span().start, says(path, &unfit));
                    return;
                }
            },
            Kind::List(scalar) => {
                let Some(array) = value.get_ref().as_array() else {
                    let unfit = Unfit {
                        found: schema::shown(value.get_ref()),
                        found_type: Some(value.get_ref().type_str()),
                        expected: key.kind.expected(),
                        why: None,
                    };
                    self.problem(value.span().start, says(path, &unfit));
                    return;
                };
                let (mut list, mut elements) = (Vec::new(), Vec::new());
                for element in array {
                    let at = element.span().start;
                    match scalar.of_toml(element.get_ref()) {
                        Ok(read) => {
                            list.push(read);
                            elements.push(self.cursor.find(at));
                        }
                        Err(unfit) => self.problem(at, says_of_element(path, &unfit)),
                    }
                }
                (Value::List(list), elements)
            }
        };
        let setting = Setting {
            value: read,
            origin: Origin::File(self.place(at)),
            elements,
        };
        self.layer.insert(path, setting);
    }
}
