//! `cargo xtask bench`: what syn-guard costs, and what the others cost.
//!
//! [`budget`] says what a packet may cost; [`path`], [`alone`], [`flat_out`], [`rates`], [`growth`],
//! [`size`] and [`controller`] measure, in interleaved rounds; [`report`] makes tables, JSON and a
//! page of it. [`check`] compares with limits what must not become slower, [`bulk`] and [`lists`]
//! among it.

pub mod alone;
pub mod budget;
pub mod bulk;
pub mod check;
pub mod controller;
pub mod defence;
mod flat_out;
pub mod growth;
pub mod lists;
pub mod path;
pub mod rates;
pub mod report;
mod row;
pub mod size;
mod stats;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use self::{
    budget::{Goal, Line},
    defence::Defence,
    report::{LeftOut, Report},
};
pub use self::{flat_out::FlatOut, row::Row, stats::Spread};
use crate::{
    build::{self, Paths},
    lab::Lab,
    setup::{self, Need},
};

/// Forged SYNs a second.
const RATES: [u64; 4] = [100_000, 300_000, Goal::RATE, 2_000_000];

/// Rounds unless told otherwise.
const ROUNDS: u16 = 5;
/// Seconds of a round of honest connections unless told otherwise.
const SECONDS: u64 = 2;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// What each kind of packet costs in the real path
    Path,
    /// What it costs the programs alone
    Alone,
    /// How many SYNs one core answers
    FlatOut,
    /// Honest connections against the rate of a flood, for every defence
    Rates,
    /// How cost grows with services, sources and prefixes
    Growth,
    /// How large the programs are
    Size,
    /// What the controller costs, by the number of services
    Controller,
}

/// What the bench can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// What to measure; everything unless given
    #[arg(value_enum)]
    pub parts: Vec<Part>,
    /// Interleaved rounds of each measurement, half of them of longer ones
    #[arg(long, default_value_t = ROUNDS, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub rounds: u16,
    /// Seconds of a round of honest connections
    #[arg(long, default_value_t = SECONDS, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub seconds: u64,
    /// Write the numbers there, as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Measure nothing, take the numbers of that file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["parts", "rounds", "seconds", "json"])]
    pub from: Option<PathBuf>,
    /// Write docs/performance.md with its curves and its numbers
    #[arg(long)]
    pub docs: bool,
    /// Compare with limits what depends on how fast the machine is: what each kind of packet costs,
    /// cookies, honest connections, CPU, iperf3. Takes some minutes, fails when something is past its
    /// limit. For before a change lands, on a machine with nothing else to do
    #[arg(long, conflicts_with_all = ["parts", "rounds", "seconds", "json", "from", "docs"])]
    pub check: bool,
}

/// Sets up, builds, measures, and prints tables.
///
/// # Errors
/// It is not root who runs this, something is missing or fails.
pub fn run(options: &Options, paths: &Paths) -> Result<()> {
    if options.check {
        return check::run(paths);
    }
    let report = match &options.from {
        Some(file) => read(file)?,
        None => measured(options, paths)?,
    };
    print!("{}", report::text::terminal(&report));
    if let Some(file) = &options.json {
        write(file, &report.to_json()?)?;
    }
    if options.docs {
        for (name, text) in report::page::files(&report)? {
            let file = paths.root.join(name);
            if let Some(folder) = file.parent() {
                std::fs::create_dir_all(folder)
                    .with_context(|| format!("making {}", folder.display()))?;
            }
            write(&file, &text)?;
        }
    }
    Ok(())
}

fn read(file: &Path) -> Result<Report> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    serde_json::from_str(&text)
        .with_context(|| format!("{} is not what `--json` writes", file.display()))
}

fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))
}

/// Installs what is missing and builds.
fn prepare(need: Need, paths: &Paths) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "the bench makes network namespaces and loads eBPF programs; run it as root: \
             sudo -E env \"PATH=$PATH\" cargo xtask bench"
        );
    }
    let tools = setup::run(need, paths)?;
    build::run(&tools, paths, true)?;
    Ok(())
}

fn measured(options: &Options, paths: &Paths) -> Result<Report> {
    prepare(Need::Demo, paths)?;
    let mut left_out = Vec::new();
    if options.wants(Part::Rates)
        && let Err(error) = setup::run(Need::Bench, paths)
    {
        left_out.push(LeftOut::new(Defence::Synproxy, format!("{error:#}")));
    }
    let started = Instant::now();
    let report = measure(options, left_out)?;
    let minutes = started.elapsed().as_secs_f64() / 60.0;
    eprintln!("xtask: measured in {minutes:.1} min");
    Ok(report)
}

fn measure(options: &Options, left_out: Vec<LeftOut>) -> Result<Report> {
    let rounds = usize::from(options.rounds);
    // Of what takes long.
    let fewer = rounds.div_ceil(2);
    let mut report = Report {
        machine: machine()?,
        command: options.command(),
        left_out,
        ..Report::default()
    };
    if options.wants(Part::Path) {
        say("packets in the real path");
        report.path = Some(path::measure(&Lab::new()?, &Line::ALL, rounds)?);
    }
    if options.wants(Part::Alone) {
        say("packets in the programs alone");
        // Short ones, of which more cost little.
        report.alone = Some(alone::measure(&Lab::new()?, rounds * 5)?.rows);
    }
    if options.wants(Part::FlatOut) {
        say("flat out");
        report.flat_out = Some(flat_out::measure(&Lab::new()?, rounds)?);
    }
    if options.wants(Part::Rates) {
        say("honest connections by the rate of a flood");
        let mut defences = Vec::new();
        for defence in Defence::ALL {
            if report.left_out.iter().any(|it| it.defence == defence) {
                continue;
            }
            match defence.obstacle()? {
                None => defences.push(defence),
                Some(why) => report.left_out.push(LeftOut::new(defence, why)),
            }
        }
        for left_out in &report.left_out {
            eprintln!("xtask: {left_out}");
        }
        let seconds = Duration::from_secs(options.seconds);
        report.rates = Some(rates::measure(&defences, &RATES, fewer, seconds)?);
    }
    if options.wants(Part::Growth) {
        say("growth");
        report.growth = Some(growth::measure(&Lab::new()?, fewer)?);
    }
    if options.wants(Part::Size) {
        say("size of the programs");
        report.size = Some(size::measure(&Lab::new()?, fewer)?);
    }
    if options.wants(Part::Controller) {
        say("the controller");
        report.controller = Some(controller::measure(&controller::SERVICES, fewer)?);
    }
    Ok(report)
}

fn say(what: &str) {
    eprintln!("xtask: measuring: {what}");
}

impl Options {
    fn wants(&self, part: Part) -> bool {
        self.parts.is_empty() || self.parts.contains(&part)
    }

    /// What measures the same again.
    fn command(&self) -> String {
        let mut command = "cargo xtask bench".to_owned();
        for part in &self.parts {
            if let Some(value) = clap::ValueEnum::to_possible_value(part) {
                command += " ";
                command += value.get_name();
            }
        }
        if self.rounds != ROUNDS {
            command += &format!(" --rounds {}", self.rounds);
        }
        if self.seconds != SECONDS {
            command += &format!(" --seconds {}", self.seconds);
        }
        command
    }
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

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Args {
        #[command(flatten)]
        options: Options,
    }

    fn options(arguments: &[&str]) -> Options {
        Args::try_parse_from([&["bench"], arguments].concat())
            .unwrap()
            .options
    }

    #[test]
    fn the_command_says_what_was_asked_for() {
        assert_eq!(options(&["--docs"]).command(), "cargo xtask bench");
        assert_eq!(
            options(&["flat-out", "rates", "--rounds", "7", "--seconds", "9"]).command(),
            "cargo xtask bench flat-out rates --rounds 7 --seconds 9"
        );
    }

    #[test]
    fn numbers_are_measured_or_read() {
        assert!(Args::try_parse_from(["bench", "--from", "x", "--docs"]).is_ok());
        for other in ["path", "--rounds=1", "--seconds=1", "--json=x"] {
            let arguments = ["bench", "--from", "x", other];
            assert!(Args::try_parse_from(arguments).is_err(), "{other}");
        }
    }

    #[test]
    fn what_is_checked_is_not_chosen() {
        assert!(options(&["--check"]).check);
        for other in [
            "path",
            "--rounds=1",
            "--seconds=1",
            "--json=x",
            "--from=x",
            "--docs",
        ] {
            let arguments = ["bench", "--check", other];
            assert!(Args::try_parse_from(arguments).is_err(), "{other}");
        }
    }
}
