//! The command line: one module a verb.

mod args;
mod bpffs;
mod config;
mod detach;
mod events;
mod flags;
mod instance;
mod list;
mod output;
mod prefixes;
mod protect;
mod run;
mod set;

use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;

use crate::control::ListName;
use crate::datapath::one_line;
use args::{Cli, Verb};

/// Runs the program: exit status 0, 1 after an error, 2 after wrong usage.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and the version.
        Err(error) if !error.use_stderr() || error.kind() == SHORT_HELP => error.exit(),
        Err(error) => {
            eprintln!("syn-guard: {}", usage(&error.to_string()));
            return ExitCode::from(2);
        }
    };
    let done = match cli.verb {
        Verb::Run(args) => run::run(&args, &cli.paths),
        Verb::List(args) => list::run(&args, &cli.paths),
        Verb::Status(args) => runtime()
            .and_then(|runtime| runtime.block_on(crate::status::run(&args, &cli.paths.control()))),
        Verb::Events(args) => events::run(args, &cli.paths),
        Verb::Protect(args) => protect::run(&args, &cli.paths),
        Verb::Set(args) => set::set(&args, &cli.paths),
        Verb::Allow(verb) => prefixes::run(ListName::Allow, &verb, &cli.paths),
        Verb::Deny(verb) => prefixes::run(ListName::Deny, &verb, &cli.paths),
        Verb::Reload => set::reload(&cli.paths),
        Verb::Tune(args) => crate::tune::run(&args, &cli.paths.state_dir),
        Verb::Config(verb) => config::run(&verb, &cli.paths),
        Verb::Detach => detach::run(&cli.paths),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("syn-guard: {}", one_line(&*error));
            ExitCode::FAILURE
        }
    }
}

const SHORT_HELP: ErrorKind = ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;

/// What clap says in paragraphs, in one line.
fn usage(text: &str) -> String {
    let lines: Vec<_> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .filter(|line| !line.is_empty())
        .collect();
    let text = lines.join(" ");
    format!(
        "{} (see --help)",
        text.strip_prefix("error: ").unwrap_or(&text)
    )
}

/// A runtime of one thread: what it waits for is rare.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    use anyhow::Context as _;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}
