//! `cargo xtask bench`: what syn-guard costs, and what the others cost.
//!
//! [`budget`] says what a packet may cost; [`path`], [`alone`], [`flat_out`] and [`rates`] measure,
//! each in interleaved rounds; [`report`] makes tables, JSON and curves of it.

pub mod alone;
pub mod budget;
pub mod defence;
mod flat_out;
pub mod path;
pub mod rates;
pub mod report;
mod row;
mod stats;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail};

use self::{budget::Line, defence::Defence, report::Report};
pub use self::{flat_out::FlatOut, row::Row, stats::Spread};
use crate::{
    build::{self, Paths},
    lab::Lab,
    setup::{self, Need},
};

/// Forged SYNs a second.
const RATES: [u64; 6] = [100_000, 300_000, 600_000, 1_000_000, 1_500_000, 2_000_000];

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// What each kind of packet costs the programs alone
    Alone,
    /// What it costs in the real path
    Path,
    /// How many SYNs one core answers
    FlatOut,
    /// Honest connections against the rate of a flood, for every defence
    Rates,
}

/// What the bench can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// What to measure; everything unless given
    #[arg(value_enum)]
    pub parts: Vec<Part>,
    /// Interleaved rounds of each measurement
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub rounds: u16,
    /// Seconds of a round of honest connections
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub seconds: u64,
    /// Write the numbers there, as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Sets up, builds, measures, and prints tables.
///
/// # Errors
/// It is not root who runs this, something is missing or fails.
pub fn run(options: &Options, paths: &Paths) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "the bench makes network namespaces and loads eBPF programs; run it as root: \
             sudo -E env \"PATH=$PATH\" cargo xtask bench"
        );
    }
    let tools = setup::run(Need::Demo, paths)?;
    build::run(&tools, paths, true)?;
    let report = measure(options)?;
    print!("{}", report::text::terminal(&report));
    if let Some(file) = &options.json {
        let json = serde_json::to_string_pretty(&report)?;
        std::fs::write(file, json + "\n").with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}

fn measure(options: &Options) -> Result<Report> {
    let wanted = |part| options.parts.is_empty() || options.parts.contains(&part);
    let rounds = usize::from(options.rounds);
    let mut report = Report {
        machine: machine()?,
        ..Report::default()
    };
    if wanted(Part::Alone) {
        // Short ones, of which more cost little.
        let measured = alone::measure(&Lab::new()?, rounds * 5)?;
        report.alone = Some(measured.rows);
        report.verified = Some(measured.verified);
    }
    if wanted(Part::Path) {
        report.path = Some(path::measure(&Lab::new()?, &Line::ALL, rounds)?);
    }
    if wanted(Part::FlatOut) {
        report.flat_out = Some(flat_out::measure(&Lab::new()?, rounds)?);
    }
    if wanted(Part::Rates) {
        let seconds = Duration::from_secs(options.seconds);
        report.rates = Some(rates::measure(&Defence::ALL, &RATES, rounds, seconds)?);
    }
    Ok(report)
}

/// The kernel and the processor.
fn machine() -> Result<String> {
    let kernel = nix::sys::utsname::uname()?;
    let cpus = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("", |rest| rest.trim_start_matches(['\t', ':', ' ']));
    Ok(format!(
        "Linux {}, {} cores, {model}",
        kernel.release().to_string_lossy(),
        std::thread::available_parallelism()?
    ))
}
