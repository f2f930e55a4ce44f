//! `[lists]`.

use std::path::PathBuf;

use ipnet::IpNet;

use super::{Key, Kind, Scalar, Table, Value};
use crate::prefixes::parse;

/// Allowed and denied prefixes.
pub const TABLE: Table = Table {
    name: "lists",
    doc: "Allowed and denied prefixes of addresses. The longest that fits an address decides; what is on both lists is allowed.",
    keys: &[
        Key {
            table: "lists",
            name: "allow",
            kind: Kind::List(Scalar::Prefix),
            computed: None,
            doc: "Prefixes whose SYNs always pass to the kernel.",
            restart: false,
            flag: None,
            get: |wanted, _| Some(Value::texts(&wanted.options.lists.allow)),
            set: |wanted, _, value| wanted.options.lists.allow = prefixes(value),
        },
        Key {
            table: "lists",
            name: "allow_files",
            kind: Kind::List(Scalar::Path),
            computed: None,
            doc: "Files with such prefixes, one a line; read again when they change.",
            restart: false,
            flag: None,
            get: |wanted, _| Some(paths(&wanted.options.lists.allow_files)),
            set: |wanted, _, value| wanted.options.lists.allow_files = files(value),
        },
        Key {
            table: "lists",
            name: "deny",
            kind: Kind::List(Scalar::Prefix),
            computed: None,
            doc: "Prefixes whose SYNs are dropped.",
            restart: false,
            flag: None,
            get: |wanted, _| Some(Value::texts(&wanted.options.lists.deny)),
            set: |wanted, _, value| wanted.options.lists.deny = prefixes(value),
        },
        Key {
            table: "lists",
            name: "deny_files",
            kind: Kind::List(Scalar::Path),
            computed: None,
            doc: "Files with such prefixes, one a line; read again when they change.",
            restart: false,
            flag: None,
            get: |wanted, _| Some(paths(&wanted.options.lists.deny_files)),
            set: |wanted, _, value| wanted.options.lists.deny_files = files(value),
        },
    ],
};

pub(super) fn prefixes(value: &Value) -> Vec<IpNet> {
    let list = value.list().iter();
    list.filter_map(|element| parse(element.text()).ok())
        .collect()
}

fn paths(files: &[PathBuf]) -> Value {
    Value::texts(files.iter().map(|file| file.display()))
}

fn files(value: &Value) -> Vec<PathBuf> {
    let list = value.list().iter();
    list.map(|element| element.text().into()).collect()
}
