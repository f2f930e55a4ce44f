//! Settings of several origins, one over the other.

use std::collections::BTreeMap;

use super::place::Origin;
use super::schema::KeyPath;
use super::value::Value;
use super::wanted::Wanted;

/// A value that somebody set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The value.
    pub value: Value,
    /// Who set it.
    pub origin: Origin,
    /// Lines and columns of the elements of a list, when it is a file's.
    pub elements: Vec<(usize, usize)>,
}

impl Setting {
    /// A value without places of elements.
    #[must_use]
    pub const fn new(value: Value, origin: Origin) -> Self {
        Self {
            value,
            origin,
            elements: Vec::new(),
        }
    }
}

/// What one origin sets.
pub type Layer = BTreeMap<KeyPath, Setting>;

/// What holds when later layers override earlier ones.
pub(super) fn merge(layers: &[&Layer]) -> Layer {
    let mut merged = Layer::new();
    for layer in layers {
        for (path, setting) in *layer {
            merged.insert(*path, setting.clone());
        }
    }
    merged
}

/// The typed form of what holds.
pub(super) fn wanted(layer: &Layer) -> Wanted {
    let mut wanted = Wanted::default();
    for (path, setting) in layer {
        (path.key.set)(&mut wanted, path.port, &setting.value);
    }
    wanted
}

/// A key's value as it holds, with the words for one that is computed.
pub(super) fn shown(layer: &Layer, path: KeyPath) -> String {
    match layer.get(&path) {
        Some(setting) => setting.value.to_string(),
        None => path.key.default_words(),
    }
}
