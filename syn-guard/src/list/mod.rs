//! `syn-guard list`: the half-open connections of this host.
//!
//! Needs no privilege; without it the programs of other users are not seen.
//!
//! # JSON
//!
//! `--json` prints one object with one key, `half_open`, `by_source` or
//! `by_service`, which holds a list. Keys are those of [`Row`], [`SourceRow`]
//! and [`ServiceRow`]; what is not known is `null`; times are in seconds.

mod group;
mod json;
mod netstat;
mod read;
mod rows;
mod source;
mod table;

use std::io::{self, BufWriter, Write};

use anyhow::Context as _;

pub use group::{ServiceRow, SourceRow, by_service, by_source};
pub use read::{Snapshot, snapshot};
pub use rows::{Row, rows};
pub use source::Source;

/// List half-open connections
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct ListArgs {
    /// One line for each source (IPv4 address, IPv6 /64), the largest first
    #[arg(long, conflicts_with_all = ["by_service", "netstat"])]
    pub by_source: bool,
    /// One line for each service, the largest first
    #[arg(long, conflicts_with = "netstat")]
    pub by_service: bool,
    /// One JSON object; times in seconds
    #[arg(long, conflicts_with = "netstat")]
    pub json: bool,
    /// The lines of `netstat -nat | grep SYN_RECV`
    #[arg(long)]
    pub netstat: bool,
}

/// What the running guard knows of a service.
pub trait GuardView {
    /// The state of the service at that port; none when it is not guarded.
    fn service_state(&self, port: u16) -> Option<String>;
}

/// Reads the half-open connections and writes them to the standard output. A
/// reader that closes its end early (`| head`) is no error.
pub fn run(args: &ListArgs, guard: &dyn GuardView) -> anyhow::Result<()> {
    let snapshot = snapshot(!args.netstat)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let written = write(args, &snapshot, guard, &mut out).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to the standard output"),
    }
}

/// Writes what `args` ask for.
pub fn write(
    args: &ListArgs,
    snapshot: &Snapshot,
    guard: &dyn GuardView,
    out: &mut dyn Write,
) -> io::Result<()> {
    if args.netstat {
        return netstat::write(&snapshot.half_open, out);
    }
    let rows = rows(snapshot, guard);
    if args.by_source {
        let sources = by_source(&rows);
        if args.json {
            return json::write(out, "by_source", &sources);
        }
        table::write_sources(&sources, &rows, out)
    } else if args.by_service {
        let services = by_service(&rows, snapshot);
        if args.json {
            return json::write(out, "by_service", &services);
        }
        table::write_services(&services, &rows, out)
    } else if args.json {
        json::write(out, "half_open", &rows)
    } else {
        table::write_rows(&rows, out)
    }
}

#[cfg(test)]
mod tests;
