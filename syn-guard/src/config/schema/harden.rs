//! `[harden]`.

use super::{Key, Kind, Scalar, Table, Value, number};

/// The first step of the ladder.
pub const TABLE: Table = Table {
    name: "harden",
    doc: "The first step of the ladder: the kernel gives up half-open connections sooner, so that more fit into the queues that there are. Undone when the attack is over.",
    keys: &[
        Key {
            table: "harden",
            name: "enabled",
            kind: Kind::One(Scalar::Bool),
            computed: None,
            doc: "Whether the guard changes these settings of the kernel at all.",
            restart: false,
            flag: None,
            get: |wanted, _| Some(Value::Bool(wanted.options.harden.enabled)),
            set: |wanted, _, value| wanted.options.harden.enabled = *value == Value::Bool(true),
        },
        Key {
            table: "harden",
            name: "at_percent",
            kind: number("percent", 1, 100),
            computed: None,
            doc: "At which share of a service's limit of half-open connections.",
            restart: false,
            flag: None,
            get: |wanted, _| Some(Value::Integer(wanted.options.harden.at_percent)),
            set: |wanted, _, value| wanted.options.harden.at_percent = value.integer(),
        },
        Key {
            table: "harden",
            name: "synack_retries",
            kind: number("retransmissions", 0, 15),
            computed: None,
            doc: "`net.ipv4.tcp_synack_retries` then, unless it is less.",
            restart: false,
            flag: None,
            get: |wanted, _| Some(Value::Integer(wanted.options.harden.synack_retries)),
            set: |wanted, _, value| wanted.options.harden.synack_retries = value.integer(),
        },
        Key {
            table: "harden",
            name: "max_syn_backlog",
            kind: number("connections", 128, 1 << 20),
            computed: None,
            doc: "`net.ipv4.tcp_max_syn_backlog` then, unless it is more. Counts only where `tcp_syncookies` is 0.",
            restart: false,
            flag: None,
            get: |wanted, _| Some(Value::Integer(wanted.options.harden.max_syn_backlog)),
            set: |wanted, _, value| wanted.options.harden.max_syn_backlog = value.integer(),
        },
        Key {
            table: "harden",
            name: "somaxconn",
            kind: number("connections", 128, 1 << 20),
            computed: None,
            doc: "`net.core.somaxconn` then, unless it is more. Counts for programs that call `listen()` from then on.",
            restart: false,
            flag: None,
            get: |wanted, _| Some(Value::Integer(wanted.options.harden.somaxconn)),
            set: |wanted, _, value| wanted.options.harden.somaxconn = value.integer(),
        },
    ],
};
