//! Rows as JSON.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use serde::Serialize;

/// One object with one key, and a line's end.
pub(super) fn write<T: Serialize>(out: &mut dyn Write, key: &str, rows: &[T]) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &BTreeMap::from([(key, rows)]))?;
    writeln!(out)
}
