//! What goes to the guard over its control socket, and comes back when it
//! refuses. What else comes back are reports.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use syn_guard_common::abi::{ListKind, Mode};

use crate::prefixes::PrefixReport;

/// `POST /v1/services/{port}/mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetMode {
    /// What the service is to do.
    pub mode: ProtectMode,
}

/// What a service is to do until the guard stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ProtectMode {
    /// Answer every SYN with a cookie: mode protect
    On,
    /// Count, never answer: mode observe, not the `off` of `run --mode off`
    Off,
    /// Answer with cookies during an attack: mode auto
    Auto,
    /// What the configuration says
    Default,
}

impl ProtectMode {
    /// The mode; none: what the configuration says.
    #[must_use]
    pub const fn mode(self) -> Option<Mode> {
        match self {
            Self::On => Some(Mode::Protect),
            Self::Off => Some(Mode::Observe),
            Self::Auto => Some(Mode::Auto),
            Self::Default => None,
        }
    }
}

/// `POST /v1/config`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetKey {
    /// As `detection.hold`.
    pub key: String,
    /// A text as on the command line, a number, true, false, or a list of
    /// those; `default` takes back what was set.
    pub value: serde_json::Value,
}

impl SetKey {
    /// The value as on the command line.
    ///
    /// # Errors
    /// Says what it is instead.
    pub fn text(&self) -> Result<String, String> {
        use serde_json::Value::{Array, Bool, Null, Number, Object, String};
        let one = |value: &serde_json::Value| match value {
            String(text) => Some(text.clone()),
            Number(number) => Some(number.to_string()),
            Bool(bool) => Some(bool.to_string()),
            Null | Array(_) | Object(_) => None,
        };
        let text = match &self.value {
            Array(list) => list
                .iter()
                .map(one)
                .collect::<Option<Vec<_>>>()
                .map(|texts| texts.join(",")),
            value => one(value),
        };
        text.ok_or_else(|| {
            format!(
                "\"value\" of {} is {}: expected a text, a number, true, false, or a list of those",
                self.key, self.value
            )
        })
    }
}

/// `POST /v1/prefixes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddPrefix {
    /// Which list.
    pub list: ListName,
    /// As `192.0.2.0/24`, `2001:db8::/32` or an address.
    pub prefix: String,
    /// How long; none: until it is taken off.
    #[serde(default)]
    pub seconds: Option<u64>,
}

/// `DELETE /v1/prefixes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemovePrefix {
    /// Which list.
    pub list: ListName,
    /// As it was put on.
    pub prefix: String,
}

/// What is said of a prefix that was taken off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// What the configuration or a file says of it, which holds again.
    pub left: Option<PrefixReport>,
}

/// Prefixes of a list in an answer at most: 15 MB.
pub const PREFIX_PAGE: usize = 100_000;

/// A list of prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListName {
    /// Their SYNs pass always.
    Allow,
    /// Their SYNs are dropped.
    Deny,
}

impl ListName {
    /// The list.
    #[must_use]
    pub const fn kind(self) -> ListKind {
        match self {
            Self::Allow => ListKind::Allow,
            Self::Deny => ListKind::Deny,
        }
    }
}

/// Every answer other than 2xx.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// What is wrong and what to do, in one line.
    pub error: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_texts_numbers_or_lists() {
        let text = |value| {
            let key = "k".to_owned();
            SetKey { key, value }.text()
        };
        assert_eq!(text(json!("30")).unwrap(), "30");
        assert_eq!(text(json!(30)).unwrap(), "30");
        assert_eq!(text(json!(false)).unwrap(), "false");
        assert_eq!(text(json!([80, "443"])).unwrap(), "80,443");
        assert_eq!(text(json!([])).unwrap(), "");
        assert_eq!(
            text(json!({"a": 1})).unwrap_err(),
            "\"value\" of k is {\"a\":1}: expected a text, a number, true, false, or a list of those"
        );
        assert!(text(json!([[1]])).is_err() && text(json!(null)).is_err());
    }
}
