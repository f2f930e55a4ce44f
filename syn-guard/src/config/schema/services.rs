//! `[services.PORT]`.

use super::detection::{mode, mode_value};
use super::lists::prefixes;
use super::{Key, Kind, MODES, MOST, SERVICES, Scalar, Table, Value, number};
use crate::config::wanted::Wanted;
use crate::controller::ServiceOptions;

/// What a service may do.
pub const MODE: Key = Key {
    table: SERVICES,
    name: "mode",
    kind: Kind::One(MODES),
    computed: Some("as in [detection]"),
    doc: "What the service may do.",
    restart: false,
    flag: None,
    get: |wanted, port| own(wanted, port)?.mode.map(mode_value),
    set: |wanted, port, value| of(wanted, port).mode = Some(mode(value)),
};

/// What holds for one service.
pub const TABLE: Table = Table {
    name: SERVICES,
    doc: "What holds for the service of one port, as `[services.443]`, in place of `[detection]`.",
    keys: &[
        MODE,
        Key {
            table: SERVICES,
            name: "max_half_open",
            kind: number("half-open connections", 1, MOST),
            computed: Some("as in [detection]"),
            doc: "Half-open connections at which the service protects.",
            restart: false,
            flag: None,
            get: |wanted, port| own(wanted, port)?.max_half_open.map(Value::Integer),
            set: |wanted, port, value| of(wanted, port).max_half_open = Some(value.integer()),
        },
        Key {
            table: SERVICES,
            name: "max_unanswered_rate",
            kind: number("unanswered SYNs a second", 0, MOST),
            computed: Some("as in [detection]"),
            doc: "Unanswered SYNs a second at which the service protects; 0 is no limit.",
            restart: false,
            flag: None,
            get: |wanted, port| own(wanted, port)?.max_unanswered_rate.map(Value::Integer),
            set: |wanted, port, value| {
                of(wanted, port).max_unanswered_rate = Some(value.integer());
            },
        },
        Key {
            table: SERVICES,
            name: "open_to",
            kind: Kind::List(Scalar::Prefix),
            computed: None,
            doc: "To whom a firewall opens the port, where not to everybody: the others' SYNs go to the stack, which drops them; only these get cookies. Name IPv6 prefixes too, or no IPv6 client gets any. Services may differ in it by 15 sets of prefixes. Empty: everybody.",
            restart: false,
            flag: None,
            get: |wanted, port| {
                let open_to = own(wanted, port).map(|own| own.open_to.as_slice());
                Some(Value::texts(open_to.unwrap_or_default()))
            },
            set: |wanted, port, value| of(wanted, port).open_to = prefixes(value),
        },
    ],
};

fn own(wanted: &Wanted, port: u16) -> Option<&ServiceOptions> {
    wanted.options.services.get(&port)
}

fn of(wanted: &mut Wanted, port: u16) -> &mut ServiceOptions {
    wanted.options.services.entry(port).or_default()
}
