//! What the flags of `run` set.

use std::collections::btree_map::Entry;

use anyhow::bail;
use clap::ValueEnum;

use super::args::RunArgs;
use crate::config::schema::KeyPath;
use crate::config::{ConfigError, Layer, Origin, Setting, Value, assign};

/// What `--set KEY=VALUE` sets.
pub(super) fn assignment(text: &str) -> Result<(KeyPath, Setting), ConfigError> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| ConfigError::one("expected KEY=VALUE, as detection.hold=30"))?;
    let (path, value) = assign(key.trim(), value.trim())?;
    let origin = Origin::Flag {
        flag: "--set".to_owned(),
    };
    Ok((path, Setting::new(value, origin)))
}

/// What all flags set.
///
/// # Errors
/// A key is set twice.
pub(super) fn layer(args: &RunArgs) -> anyhow::Result<Layer> {
    let mut layer = Layer::new();
    for path in KeyPath::all() {
        let Some(flag) = path.key.flag else { continue };
        if let Some(value) = of_flag(args, flag) {
            let origin = Origin::Flag {
                flag: flag.to_owned(),
            };
            layer.insert(path, Setting::new(value, origin));
        }
    }
    for (path, setting) in &args.assignments {
        match layer.entry(*path) {
            Entry::Vacant(entry) => {
                entry.insert(setting.clone());
            }
            Entry::Occupied(entry) => bail!(
                "{path} is set twice, by {} and --set: leave one out",
                entry.get().origin
            ),
        }
    }
    Ok(layer)
}

/// The value of a flag that was given.
fn of_flag(args: &RunArgs, flag: &str) -> Option<Value> {
    let list = |list: Vec<Value>| (!list.is_empty()).then_some(Value::List(list));
    match flag {
        "--iface" => list(args.interfaces.iter().cloned().map(Value::Text).collect()),
        "--ports" => list(
            args.ports
                .iter()
                .map(|port| Value::Integer((*port).into()))
                .collect(),
        ),
        "--mode" => word(args.mode),
        "--engine" => word(args.engine),
        "--xdp-mode" => word(args.xdp_mode),
        "--max-half-open" => args.max_half_open.map(Value::Integer),
        "--hold" => args.hold.map(Value::Integer),
        "--metrics-listen" => args
            .metrics_listen
            .map(|address| Value::Text(address.to_string())),
        "--log-format" => word(args.log_format),
        "--ebpf-log" => word(args.ebpf_log),
        _ => None,
    }
}

fn word(choice: Option<impl ValueEnum>) -> Option<Value> {
    let name = choice?.to_possible_value()?;
    Some(Value::Text(name.get_name().to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::args::{Cli, Verb};
    use super::*;

    fn layer_of(arguments: &[&str]) -> anyhow::Result<Layer> {
        let all = [&["syn-guard", "run"], arguments].concat();
        match Cli::try_parse_from(all)?.verb {
            Verb::Run(args) => layer(&args),
            _ => bail!("another verb"),
        }
    }

    #[test]
    fn every_flag_of_the_table_sets_its_key() {
        let arguments = [
            ("--iface", "eth0", "guard.interfaces = [\"eth0\"]"),
            ("--ports", "80,443", "guard.ports = [80, 443]"),
            ("--engine", "kernel", "guard.engine = \"kernel\""),
            ("--xdp-mode", "native", "guard.xdp_mode = \"native\""),
            (
                "--metrics-listen",
                "[::1]:1",
                "guard.metrics_listen = \"[::1]:1\"",
            ),
            ("--log-format", "json", "guard.log_format = \"json\""),
            ("--ebpf-log", "debug", "guard.ebpf_log = \"debug\""),
            ("--mode", "observe", "detection.mode = \"observe\""),
            ("--max-half-open", "7", "detection.max_half_open = 7"),
            ("--hold", "9", "detection.hold = 9"),
        ];
        for path in KeyPath::all().filter(|path| path.key.flag.is_some()) {
            let flag = path.key.flag.unwrap();
            let (_, value, set) = arguments.iter().find(|it| it.0 == flag).expect(flag);
            let layer = layer_of(&[flag, value]).unwrap();
            let shown: Vec<_> = layer
                .iter()
                .map(|(path, setting)| format!("{path} = {}", setting.value))
                .collect();
            assert_eq!(shown, [*set]);
            let (_, setting) = layer.first_key_value().unwrap();
            assert_eq!(setting.origin.to_string(), flag);
        }
    }

    #[test]
    fn set_takes_every_key_and_says_what_is_wrong() {
        let layer = layer_of(&[
            "--set",
            "services.443.mode=off",
            "--set",
            "guard.ports=443,80",
        ]);
        assert_eq!(layer.unwrap().len(), 2);
        for (arguments, says) in [
            (&["--set", "detection.hold"][..], "expected KEY=VALUE"),
            (&["--set", "detection.hold=0"], "seconds from 1 to 86400"),
            (&["--set", "detection.hld=1"], "did you mean \"hold\"?"),
            (
                &["--hold", "5", "--set", "detection.hold=6"],
                "detection.hold is set twice, by --hold and --set",
            ),
        ] {
            let error = layer_of(arguments).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
