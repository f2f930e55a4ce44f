//! `[detection]`.

use std::time::Duration;

use syn_guard_common::abi::Mode;

use super::{Key, Kind, MODES, MOST, Table, Value, number};
use crate::controller::mode_name;

/// When services protect, and when they stop.
pub const TABLE: Table = Table {
    name: "detection",
    doc: "When services protect, and when they stop.",
    keys: &[
        Key {
            table: "detection",
            name: "mode",
            kind: Kind::One(MODES),
            computed: None,
            doc: "What services may do: nothing, SYNs pass uncounted (`off`); count and never answer (`observe`); answer with cookies during an attack (`auto`); answer every SYN with a cookie (`protect`).",
            restart: false,
            flag: Some("--mode"),
            get: |wanted, _| Some(mode_value(wanted.options.detection.mode)),
            set: |wanted, _, value| wanted.options.detection.mode = mode(value),
        },
        Key {
            table: "detection",
            name: "max_half_open",
            kind: number("half-open connections", 1, MOST),
            computed: Some("half of the listener's backlog, at least 16"),
            doc: "Half-open connections at which a service protects; more than 65,536 stand for 65,536.",
            restart: false,
            flag: Some("--max-half-open"),
            get: |wanted, _| wanted.options.detection.max_half_open.map(Value::Integer),
            set: |wanted, _, value| {
                wanted.options.detection.max_half_open = Some(value.integer());
            },
        },
        Key {
            table: "detection",
            name: "max_retransmitted",
            kind: number("half-open connections", 0, MOST),
            computed: Some("four fifths of the limit of half-open connections"),
            doc: "Half-open connections whose SYN-ACK was sent again at least once, at which a service protects; 0 is no limit.",
            restart: false,
            flag: None,
            get: |wanted, _| {
                wanted
                    .options
                    .detection
                    .max_retransmitted
                    .map(Value::Integer)
            },
            set: |wanted, _, value| {
                wanted.options.detection.max_retransmitted = Some(value.integer());
            },
        },
        Key {
            table: "detection",
            name: "max_refused_rate",
            kind: number("connections a second", 0, MOST),
            computed: None,
            doc: "Connections a second that the kernel refused for want of backlog, at which services near their limit protect; 0 is no limit.",
            restart: false,
            flag: None,
            get: |wanted, _| Some(Value::Integer(wanted.options.detection.max_refused_rate)),
            set: |wanted, _, value| {
                wanted.options.detection.max_refused_rate = value.integer();
            },
        },
        Key {
            table: "detection",
            name: "max_unanswered_rate",
            kind: number("unanswered SYNs a second", 0, MOST),
            computed: Some("as many as half-open connections, but at least 1,000"),
            doc: "Unanswered SYNs a second at which a service protects; 0 is no limit.",
            restart: false,
            flag: None,
            get: |wanted, _| {
                wanted
                    .options
                    .detection
                    .max_unanswered_rate
                    .map(Value::Integer)
            },
            set: |wanted, _, value| {
                wanted.options.detection.max_unanswered_rate = Some(value.integer());
            },
        },
        Key {
            table: "detection",
            name: "calm_percent",
            kind: number("percent", 1, 99),
            computed: None,
            doc: "It is calm while the pressure, and each other signal, is below this share of its limit. Hardening ends below this share of `harden.at_percent`.",
            restart: false,
            flag: None,
            get: |wanted, _| Some(Value::Integer(wanted.options.detection.calm_percent)),
            set: |wanted, _, value| wanted.options.detection.calm_percent = value.integer(),
        },
        Key {
            table: "detection",
            name: "hold",
            kind: number("seconds", 1, 86_400),
            computed: None,
            doc: "How long it must be calm before a service stops protecting.",
            restart: false,
            flag: Some("--hold"),
            get: |wanted, _| Some(Value::Integer(wanted.options.detection.hold.as_secs())),
            set: |wanted, _, value| {
                wanted.options.detection.hold = Duration::from_secs(value.integer());
            },
        },
    ],
};

/// A mode as a value.
pub(super) fn mode_value(mode: Mode) -> Value {
    Value::Text(mode_name(mode).to_owned())
}

/// The mode that a value is.
pub(super) fn mode(value: &Value) -> Mode {
    match value.text() {
        "off" => Mode::Off,
        "observe" => Mode::Observe,
        "protect" => Mode::Protect,
        _ => Mode::Auto,
    }
}
