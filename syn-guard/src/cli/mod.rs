//! The command line: one module a verb.

mod args;
mod bpffs;
mod detach;
mod instance;
mod list;
mod run;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Cli, Verb};

/// Runs the program: exit status 0, 1 after an error, 2 after wrong usage.
#[must_use]
pub fn main() -> ExitCode {
    // clap prints usage errors and leaves with status 2.
    let cli = Cli::parse();
    let done = match cli.verb {
        Verb::Run(args) => run::run(&args, &cli.paths),
        Verb::List(args) => list::run(&args, &cli.paths),
        Verb::Status(args) => runtime()
            .and_then(|runtime| runtime.block_on(crate::status::run(&args, &cli.paths.control()))),
        Verb::Detach => detach::run(&cli.paths),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("syn-guard: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A runtime of one thread: what it waits for is rare.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    use anyhow::Context as _;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}
