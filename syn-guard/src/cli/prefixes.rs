//! `syn-guard allow` and `syn-guard deny`.

use std::time::Duration;

use clap::Subcommand;

use super::args::Paths;
use super::output;
use super::runtime;
use crate::client;
use crate::control::ListName;
use crate::prefixes::PrefixReport;

/// What is to be done with a list.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum ListVerb {
    /// Put a prefix on the list
    Add {
        /// An address or a prefix, as 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32
        #[arg(value_name = "PREFIX")]
        prefix: String,
        /// How long, as 30s, 10m, 2h or 7d [default: until it is taken off]
        #[arg(long = "for", value_name = "TIME", value_parser = lasting)]
        lasting: Option<Duration>,
    },
    /// Take a prefix off that was put on at run time
    Del {
        /// As it was put on
        #[arg(value_name = "PREFIX")]
        prefix: String,
    },
    /// Show what is on the list, who put it there and until when
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(list: ListName, verb: &ListVerb, paths: &Paths) -> anyhow::Result<()> {
    let (socket, runtime) = (paths.control(), runtime()?);
    let name = list.kind().name();
    let text = match verb {
        ListVerb::Add { prefix, lasting } => {
            let added = client::add_prefix(&socket, list, prefix, *lasting);
            rows(&[runtime.block_on(added)?])
        }
        ListVerb::Del { prefix } => {
            let removed = client::remove_prefix(&socket, list, prefix);
            match runtime.block_on(removed)?.left {
                None => format!("no longer on the list `{name}`\n"),
                Some(left) => format!("no longer at run time; still: {}", rows(&[left])),
            }
        }
        ListVerb::List { json } => {
            let prefixes = runtime.block_on(client::prefixes(&socket, list))?;
            if *json {
                serde_json::to_string_pretty(&prefixes)? + "\n"
            } else if prefixes.is_empty() {
                format!("nothing is on the list `{name}`\n")
            } else {
                rows(&prefixes)
            }
        }
    };
    // Whoever reads no more of a long list has what he wants.
    output::write(&text).map(drop)
}

/// A line for each prefix: list, prefix, who put it there, until when.
fn rows(prefixes: &[PrefixReport]) -> String {
    let width = |text: fn(&PrefixReport) -> &str| {
        let widths = prefixes.iter().map(|prefix| text(prefix).chars().count());
        widths.max().unwrap_or(0)
    };
    let (prefix_width, origin_width) = (width(|it| &it.prefix), width(|it| &it.origin));
    let row = |it: &PrefixReport| {
        let ends = it.ends_in_seconds.map_or_else(String::new, |seconds| {
            let time = humantime::format_duration(Duration::from_secs(seconds));
            format!("ends in {time}")
        });
        let row = format!(
            "{:<5}  {:<prefix_width$}  {:<origin_width$}  {ends}",
            it.list, it.prefix, it.origin
        );
        format!("{}\n", row.trim_end())
    };
    prefixes.iter().map(row).collect()
}

/// A time of whole seconds, one at least.
fn lasting(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .ok()
        .filter(|time| time.as_secs() > 0 && time.subsec_nanos() == 0)
        .ok_or_else(|| "expected a time from 1s on, as 30s, 10m, 2h or 7d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_whole_seconds() {
        for (text, seconds) in [("30s", 30), ("10m", 600), ("2h", 7200), ("7d", 604_800)] {
            assert_eq!(lasting(text), Ok(Duration::from_secs(seconds)));
        }
        for text in ["", "0s", "10", "-1s", "500ms", "1s 1ms", "soon"] {
            assert!(lasting(text).unwrap_err().starts_with("expected a time"));
        }
    }

    #[test]
    fn rows_are_aligned() {
        let report = |prefix: &str, origin: &str, ends_in_seconds| PrefixReport {
            list: "deny".to_owned(),
            prefix: prefix.to_owned(),
            origin: origin.to_owned(),
            ends_in_seconds,
        };
        let text = rows(&[
            report("192.0.2.1/32", "config", None),
            report("2001:db8:1:2::/64", "run time", Some(598)),
        ]);
        assert_eq!(
            text,
            "deny   192.0.2.1/32       config\n\
             deny   2001:db8:1:2::/64  run time  ends in 9m 58s\n"
        );
    }
}
