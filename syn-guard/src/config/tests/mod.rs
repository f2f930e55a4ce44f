mod documents;
mod files;
mod sources;

use std::fs;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::file::parse;
use super::place::Origin;
use super::schema::{KeyPath, Kind, SERVICES, Scalar, TABLES};
use super::*;

/// What is wrong with a text, a line each, without the file's name.
fn wrong(text: &str) -> Vec<String> {
    match parse(Path::new("f"), text) {
        Ok(_) => Vec::new(),
        Err(problems) => problems
            .iter()
            .map(|problem| {
                let line = problem.to_string();
                assert!(!line.contains('\n'), "{line}");
                line.strip_prefix("f:").expect("a place").to_owned()
            })
            .collect(),
    }
}

/// All keys, those of services as port 443's.
fn keys() -> impl Iterator<Item = KeyPath> {
    let keys = TABLES.into_iter().flat_map(|table| table.keys);
    keys.map(|key| KeyPath {
        key,
        port: if key.table == SERVICES { 443 } else { 0 },
    })
}

/// A text that sets one key.
fn sets(path: KeyPath, value: &str) -> String {
    format!("[{}]\n{} = {value}\n", path.table(), path.key.name)
}
