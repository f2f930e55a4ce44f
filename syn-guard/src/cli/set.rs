//! `syn-guard set` and `syn-guard reload`.

use clap::Args;

use super::args::Paths;
use super::runtime;
use crate::client;
use crate::config::Applied;

/// A key of the configuration and its value.
#[derive(Clone, Debug, Args)]
pub(super) struct SetArgs {
    /// As detection.hold or services.443.mode
    #[arg(value_name = "KEY")]
    key: String,
    /// As in the configuration, lists as 80,443; default takes back what was set
    #[arg(value_name = "VALUE")]
    value: String,
}

pub(super) fn set(args: &SetArgs, paths: &Paths) -> anyhow::Result<()> {
    let socket = paths.control();
    let applied = runtime()?.block_on(client::set(&socket, &args.key, &args.value))?;
    print!("{}", said(&applied));
    Ok(())
}

pub(super) fn reload(paths: &Paths) -> anyhow::Result<()> {
    let applied = runtime()?.block_on(client::reload(&paths.control()))?;
    print!("{}", said(&applied));
    Ok(())
}

/// A line for each change.
fn said(applied: &Applied) -> String {
    let mut text: String = applied
        .changes
        .iter()
        .map(|change| format!("{change}\n"))
        .collect();
    if !applied.taken_back.is_empty() {
        text += &format!(
            "no longer set at run time: {}\n",
            applied.taken_back.join(", ")
        );
    }
    for change in &applied.waiting {
        text += &format!("needs a restart: {change}\n");
    }
    if text.is_empty() {
        text += "nothing changed\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Change;

    #[test]
    fn what_changed_waits_or_was_taken_back() {
        let nothing = Applied {
            options: crate::controller::Options::default(),
            changes: Vec::new(),
            waiting: Vec::new(),
            taken_back: Vec::new(),
        };
        assert_eq!(said(&nothing), "nothing changed\n");
        let change = |key: &str| Change {
            key: key.to_owned(),
            from: "1".to_owned(),
            to: "2".to_owned(),
        };
        let applied = Applied {
            changes: vec![change("detection.hold")],
            waiting: vec![change("guard.engine")],
            taken_back: vec!["limits.source_rate".to_owned()],
            ..nothing
        };
        assert_eq!(
            said(&applied),
            "detection.hold: 1 -> 2\n\
             no longer set at run time: limits.source_rate\n\
             needs a restart: guard.engine: 1 -> 2\n"
        );
    }
}
