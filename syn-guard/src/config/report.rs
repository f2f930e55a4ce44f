//! What holds, and where it comes from: for `config show` and the control
//! socket.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::effective::Layer;
use super::place::Origin;
use super::schema::KeyPath;
use super::value::Value;
use super::wanted::Wanted;

/// What holds, key by key, in the order of the reference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigReport {
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    /// All keys, and those of services that are set.
    pub entries: Vec<ConfigEntry>,
}

/// A key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigEntry {
    /// Its path, as `detection.hold`.
    pub key: String,
    /// Its value; none where that is computed.
    pub value: Option<Value>,
    /// How it is computed, where it is.
    pub computed: Option<String>,
    /// Where it comes from.
    pub origin: Origin,
    /// What it will be after a restart, where that differs.
    pub after_restart: Option<String>,
}

/// The report of what holds.
pub(super) fn report(
    file: Option<PathBuf>,
    layer: &Layer,
    after_restart: impl Fn(KeyPath) -> Option<String>,
) -> ConfigReport {
    let services = layer.keys().copied().filter(|path| path.port != 0);
    let entries = KeyPath::all()
        .chain(services)
        .map(|path| match layer.get(&path) {
            Some(setting) => ConfigEntry {
                key: path.to_string(),
                value: Some(setting.value.clone()),
                computed: None,
                origin: setting.origin.clone(),
                after_restart: after_restart(path),
            },
            None => ConfigEntry {
                key: path.to_string(),
                value: (path.key.get)(&Wanted::default(), path.port),
                computed: path.key.computed.map(str::to_owned),
                origin: Origin::Default,
                after_restart: after_restart(path),
            },
        })
        .collect();
    ConfigReport { file, entries }
}
