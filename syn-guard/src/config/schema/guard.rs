//! `[guard]`.

use clap::ValueEnum;

use super::{Key, Kind, Scalar, Table, Value};

/// What is guarded, and how the guard itself runs.
pub const TABLE: Table = Table {
    name: "guard",
    doc: "What is guarded, and how the guard itself runs.",
    keys: &[
        Key {
            table: "guard",
            name: "interfaces",
            kind: Kind::List(Scalar::Interface),
            computed: Some("the interfaces of the default routes"),
            doc: "Interfaces to guard.",
            restart: true,
            flag: Some("--iface"),
            get: |wanted, _| some(Value::texts(&wanted.options.interfaces)),
            set: |wanted, _, value| {
                wanted.options.interfaces = texts(value);
            },
        },
        Key {
            table: "guard",
            name: "ports",
            kind: Kind::List(Scalar::Port),
            computed: Some("every port that somebody outside can reach"),
            doc: "TCP ports to guard. Without it the guard follows listeners that come and go.",
            restart: false,
            flag: Some("--ports"),
            get: |wanted, _| {
                let ports = wanted.options.ports.iter();
                some(Value::List(
                    ports.map(|port| Value::Integer((*port).into())).collect(),
                ))
            },
            set: |wanted, _, value| {
                let ports = value.list().iter();
                wanted.options.ports = ports
                    .filter_map(|port| u16::try_from(port.integer()).ok())
                    .collect();
            },
        },
        Key {
            table: "guard",
            name: "engine",
            kind: Kind::One(Scalar::Choice(&["auto", "reqsk", "kernel"])),
            computed: None,
            doc: "Who makes and validates SYN cookies: syn-guard itself (`reqsk`, Linux 6.9), or the kernel. `auto` takes the best that the kernel has. With NAT in the namespace, or on a bridge's port whose packets the firewall gets, the kernel does for as long as that is so, whatever stands here.",
            restart: true,
            flag: Some("--engine"),
            get: |wanted, _| Some(word(wanted.engine)),
            set: |wanted, _, value| choose(&mut wanted.engine, value),
        },
        Key {
            table: "guard",
            name: "xdp_mode",
            kind: Kind::One(Scalar::Choice(&["auto", "native", "generic"])),
            computed: None,
            doc: "Where the XDP program runs: in the driver (`native`), or in the stack (`generic`), which is several times slower. `auto` takes the driver where it takes the program.",
            restart: true,
            flag: Some("--xdp-mode"),
            get: |wanted, _| Some(word(wanted.xdp_mode)),
            set: |wanted, _, value| choose(&mut wanted.xdp_mode, value),
        },
        Key {
            table: "guard",
            name: "metrics_listen",
            kind: Kind::One(Scalar::Address),
            computed: None,
            doc: "Where Prometheus gets its metrics: `/metrics`, and `/healthz`.",
            restart: true,
            flag: Some("--metrics-listen"),
            get: |wanted, _| Some(Value::Text(wanted.metrics_listen.to_string())),
            set: |wanted, _, value| {
                if let Ok(address) = value.text().parse() {
                    wanted.metrics_listen = address;
                }
            },
        },
        Key {
            table: "guard",
            name: "log_format",
            kind: Kind::One(Scalar::Choice(&["text", "json"])),
            computed: None,
            doc: "How the log on stderr looks: for people, or one JSON object a line.",
            restart: true,
            flag: Some("--log-format"),
            get: |wanted, _| Some(word(wanted.log_format)),
            set: |wanted, _, value| choose(&mut wanted.log_format, value),
        },
        Key {
            table: "guard",
            name: "ebpf_log",
            kind: Kind::One(Scalar::Choice(&["off", "debug"])),
            computed: None,
            doc: "Rare decisions of the eBPF programs in the log, for diagnosis.",
            restart: true,
            flag: Some("--ebpf-log"),
            get: |wanted, _| Some(word(wanted.ebpf_log)),
            set: |wanted, _, value| choose(&mut wanted.ebpf_log, value),
        },
    ],
};

/// A list that is not empty.
fn some(list: Value) -> Option<Value> {
    (!list.list().is_empty()).then_some(list)
}

fn texts(value: &Value) -> Vec<String> {
    let list = value.list().iter();
    list.map(|element| element.text().to_owned()).collect()
}

/// The word for a choice.
fn word(choice: impl ValueEnum) -> Value {
    let name = choice.to_possible_value();
    Value::Text(name.map_or_else(String::new, |name| name.get_name().to_owned()))
}

/// The choice that a word stands for.
fn choose<T: ValueEnum>(choice: &mut T, value: &Value) {
    if let Ok(chosen) = T::from_str(value.text(), false) {
        *choice = chosen;
    }
}
