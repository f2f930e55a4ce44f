//! `syn-guard status`: what the running guard says of itself.

mod render;
mod units;

use std::{
    io::{self, Write as _},
    path::Path,
};

use anyhow::Context as _;

pub use render::render;

use crate::client;

/// Show what the running guard does
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct StatusArgs {
    /// The whole report as one JSON object; times in seconds, sizes in bytes
    #[arg(long)]
    pub json: bool,
}

/// Asks the guard at `socket` and writes its report to the standard output.
/// A reader that closes its end early (`| head`) is no error.
pub async fn run(args: &StatusArgs, socket: &Path) -> anyhow::Result<()> {
    let report = client::status(socket).await?;
    let text = if args.json {
        serde_json::to_string_pretty(&report)? + "\n"
    } else {
        render(&report)
    };
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to the standard output"),
    }
}

#[cfg(test)]
pub(crate) mod tests;
