//! `[limits]`.

use super::{Key, MOST, Table, Value, number};

/// What one source, prefix or forger may do.
pub const TABLE: Table = Table {
    name: "limits",
    doc: "What one source or one prefix may do while a service protects, and one forger of ACKs while cookies are validated, 30 s longer; 0 is no limit. What is over it is dropped, never answered.",
    keys: &[
        Key {
            table: "limits",
            name: "ipv4_bits",
            kind: number("bits", 8, 32),
            computed: None,
            doc: "Bits of an IPv4 address that make a source.",
            restart: false,
            flag: None,
            get: |wanted, _| Some(Value::Integer(wanted.options.limits.ipv4_bits.into())),
            set: |wanted, _, value| bits(&mut wanted.options.limits.ipv4_bits, value),
        },
        Key {
            table: "limits",
            name: "ipv6_bits",
            kind: number("bits", 16, 128),
            computed: None,
            doc: "Bits of an IPv6 address that make a source: a network's customer has a /64 at least.",
            restart: false,
            flag: None,
            get: |wanted, _| Some(Value::Integer(wanted.options.limits.ipv6_bits.into())),
            set: |wanted, _, value| bits(&mut wanted.options.limits.ipv6_bits, value),
        },
        Key {
            table: "limits",
            name: "source_half_open",
            kind: number("half-open connections", 0, MOST),
            computed: None,
            doc: "Half-open connections of a source.",
            restart: false,
            flag: None,
            get: |wanted, _| Some(Value::Integer(wanted.options.limits.source_half_open)),
            set: |wanted, _, value| wanted.options.limits.source_half_open = value.integer(),
        },
        Key {
            table: "limits",
            name: "source_rate",
            kind: number("unanswered SYNs a second", 0, MOST),
            computed: None,
            doc: "Unanswered SYNs a second of a source. Handshakes that complete never count.",
            restart: false,
            flag: None,
            get: |wanted, _| Some(Value::Integer(wanted.options.limits.source_rate)),
            set: |wanted, _, value| wanted.options.limits.source_rate = value.integer(),
        },
        Key {
            table: "limits",
            name: "reply_rate",
            kind: number("unanswered replies a second", 0, MOST),
            computed: None,
            doc: "Unanswered replies a second to a prefix (IPv4 /24, IPv6 /48), so that nobody can use the guard to flood it.",
            restart: false,
            flag: None,
            get: |wanted, _| Some(Value::Integer(wanted.options.limits.reply_rate)),
            set: |wanted, _, value| wanted.options.limits.reply_rate = value.integer(),
        },
        Key {
            table: "limits",
            name: "stray_rate",
            kind: number("stray ACKs a second", 0, MOST),
            computed: None,
            doc: "ACKs a second to a service that belong to no connection and are no valid cookie, each CPU for itself. Below it the kernel answers them with RST.",
            restart: false,
            flag: None,
            get: |wanted, _| Some(Value::Integer(wanted.options.limits.stray_rate)),
            set: |wanted, _, value| wanted.options.limits.stray_rate = value.integer(),
        },
    ],
};

fn bits(bits: &mut u8, value: &Value) {
    if let Ok(number) = u8::try_from(value.integer()) {
        *bits = number;
    }
}
