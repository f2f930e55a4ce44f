//! `syn-guard protect`.

use clap::Args;

use super::args::Paths;
use super::runtime;
use crate::client;
use crate::control::ProtectMode;

/// A service and what it is to do.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct ProtectArgs {
    /// The service's port
    #[arg(value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// What it is to do until syn-guard stops
    #[arg(value_enum)]
    mode: ProtectMode,
}

pub(super) fn run(args: &ProtectArgs, paths: &Paths) -> anyhow::Result<()> {
    let socket = paths.control();
    let report = runtime()?.block_on(client::set_mode(&socket, args.port, args.mode))?;
    println!(
        "service {}: mode {} -> {}, {}",
        report.port, report.from, report.to, report.state
    );
    Ok(())
}
