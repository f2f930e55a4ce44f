//! `syn-guard config`.

use std::path::Path;

use anyhow::bail;

use super::args::{ConfigVerb, Paths, RunArgs};
use super::{flags, runtime};
use crate::client::{self, ClientError};
use crate::config::{self, ConfigReport, ConfigSource};

pub(super) fn run(verb: &ConfigVerb, paths: &Paths) -> anyhow::Result<()> {
    match verb {
        ConfigVerb::Check { file } => check(file),
        ConfigVerb::Show { run, json } => show(run, *json, paths),
        ConfigVerb::Example => {
            print!("{}", config::example());
            Ok(())
        }
    }
}

fn check(file: &Path) -> anyhow::Result<()> {
    let Err(error) = config::check(file) else {
        println!("{}: no mistakes", file.display());
        return Ok(());
    };
    // As compilers do, so that editors find the places.
    for problem in &error.problems {
        eprintln!("{problem}");
    }
    match error.problems.len() {
        1 => bail!("{}: 1 mistake", file.display()),
        count => bail!("{}: {count} mistakes", file.display()),
    }
}

fn show(args: &RunArgs, json: bool, paths: &Paths) -> anyhow::Result<()> {
    let flags = flags::layer(args)?;
    // Whoever names a file or a flag asks what would be with it.
    let running = if args.config.is_none() && flags.is_empty() {
        match runtime()?.block_on(client::config(&paths.control())) {
            Ok(report) => Some(report),
            Err(ClientError::NoGuard { .. }) => None,
            Err(error) => return Err(error.into()),
        }
    } else {
        None
    };
    let (report, whose) = match running {
        Some(report) => (report, "The running guard"),
        None => {
            let source = ConfigSource::load(args.config.clone(), flags)?;
            (source.report(), "What `syn-guard run` would use")
        }
    };
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}{}", head(&report, whose), config::show(&report));
    }
    Ok(())
}

/// Says what follows.
fn head(report: &ConfigReport, whose: &str) -> String {
    match &report.file {
        Some(file) => format!("# {whose}; file: {}\n", file.display()),
        None => format!("# {whose}; no file: there is no {}\n", config::DEFAULT_FILE),
    }
}
