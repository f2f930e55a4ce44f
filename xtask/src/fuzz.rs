//! `cargo xtask fuzz`: coverage-guided fuzzing of `syn-guard-common`, whose parser, builder and
//! cookies run in the kernel. An input that breaks one of them fails it.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use clap::{Args, builder::PossibleValuesParser};

use crate::{build::Paths, command, setup::Tools};

/// The targets, as `syn-guard-common/fuzz/Cargo.toml` names them.
const TARGETS: [&str; 3] = ["parse", "answer", "cookie"];
/// Seconds that `cargo xtask test` fuzzes each target.
pub const SHORT: u64 = 10;
/// The longest input, bytes: one extension header of the longest, and the rest.
const LONGEST: u32 = 2560;

/// What is fuzzed for how long.
#[derive(Args, Debug)]
pub struct Options {
    /// Seconds for each target
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    secs: u64,
    /// Only this target
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(TARGETS))]
    target: Option<String>,
}

impl Options {
    /// All targets, each for [`SHORT`] seconds.
    #[must_use]
    pub const fn short() -> Self {
        Self {
            secs: SHORT,
            target: None,
        }
    }
}

/// Builds the targets and fuzzes one after the other.
///
/// # Errors
/// A target cannot be built or an input breaks it; the message names the input's file.
pub fn run(tools: &Tools, paths: &Paths, options: &Options) -> Result<()> {
    let cargo_fuzz = tools
        .cargo_fuzz
        .as_ref()
        .context("no cargo-fuzz; run `cargo xtask setup`")?;
    let place = Place::find(paths)?;
    command::run(&mut place.build(cargo_fuzz))?;
    let mut failed = Vec::new();
    for target in TARGETS {
        if options.target.as_ref().is_none_or(|only| only == target)
            && let Err(error) = place.fuzz(target, options.secs)
        {
            eprintln!("xtask: {error:#}");
            failed.push(target);
        }
    }
    if !failed.is_empty() {
        bail!("fuzzing found what breaks: {}", failed.join(", "));
    }
    Ok(())
}

/// Where it happens.
struct Place {
    /// The package of the targets.
    package: PathBuf,
    /// Everything that is made: the build, the corpus, what was found.
    target: PathBuf,
    /// The compiler's host.
    triple: String,
    sanitizer: &'static str,
}

impl Place {
    fn find(paths: &Paths) -> Result<Self> {
        let rustc = |arguments: &[&str]| {
            let program = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
            command::output(
                Command::new(program)
                    .args(arguments)
                    .current_dir(&paths.root),
            )
        };
        let version = rustc(&["-vV"])?;
        let triple = version.lines().find_map(|line| line.strip_prefix("host: "));
        let libraries = rustc(&["--print", "target-libdir"])?;
        Ok(Self {
            package: paths.root.join("syn-guard-common/fuzz"),
            target: paths.target.join("fuzz"),
            triple: triple.context("`rustc -vV` names no host")?.to_owned(),
            sanitizer: sanitizer(Path::new(libraries.trim())),
        })
    }

    fn build(&self, cargo_fuzz: &Path) -> Command {
        let mut command = Command::new(cargo_fuzz);
        command
            .args(["fuzz", "build", "--target", &self.triple])
            .args(["--sanitizer", self.sanitizer, "--fuzz-dir"])
            .arg(&self.package)
            .arg("--target-dir")
            .arg(&self.target)
            // Coverage and sanitizers are options of nightly, in every compiler.
            .env("RUSTC_BOOTSTRAP", "1");
        command
    }

    fn fuzz(&self, target: &str, secs: u64) -> Result<()> {
        let made = |folder: &str| -> Result<PathBuf> {
            let folder = self.target.join(folder).join(target);
            fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
            Ok(folder)
        };
        // What is found new goes to the first folder, the seeds stay as they are.
        let (corpus, artifacts) = (made("corpus")?, made("artifacts")?);
        let log = self.target.join(format!("{target}.log"));
        let program = self.target.join(&self.triple).join("release").join(target);
        let mut fuzzer = Command::new(program);
        fuzzer
            .arg(format!("-max_total_time={secs}"))
            .arg(format!("-max_len={LONGEST}"))
            .args(["-timeout=10", "-print_final_stats=1"])
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .arg(&corpus)
            .arg(self.package.join("corpus").join(target));
        command::say(&fuzzer);
        let output = File::create(&log).with_context(|| format!("writing {}", log.display()))?;
        let status = fuzzer
            .stdout(output.try_clone()?)
            .stderr(output)
            .status()
            .with_context(|| format!("cannot start the target {target}"))?;
        let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        if status.success() {
            println!("fuzz {target}: {}", summary(&text));
            return Ok(());
        }
        bail!(
            "{}",
            failure(target, &text)
                .unwrap_or_else(|| format!("{target}: {status}; see {}", log.display()))
        );
    }
}

/// AddressSanitizer, where the compiler brings its runtime: rustup's do, Debian's may not.
fn sanitizer(libraries: &Path) -> &'static str {
    let there = fs::read_dir(libraries)
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().ends_with("_rt.asan.a"));
    if there { "address" } else { "none" }
}

/// What libFuzzer did.
fn summary(log: &str) -> String {
    let runs = log
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units: "));
    let places = log
        .lines()
        .rev()
        .find_map(|line| line.split_once(" cov: ")?.1.split(' ').next());
    format!(
        "{} inputs, {} places covered, nothing found",
        runs.unwrap_or("?").trim(),
        places.unwrap_or("?")
    )
}

/// What broke and where the input is.
fn failure(target: &str, log: &str) -> Option<String> {
    let input = log.lines().find_map(|line| {
        line.split_once("Test unit written to ")?
            .1
            .split(' ')
            .next()
    })?;
    let what = log
        .lines()
        .skip_while(|line| !line.contains("panicked at ") && !line.contains("ERROR: "))
        .take(4)
        .filter(|line| !line.trim().is_empty())
        .collect::<Vec<_>>()
        .join("\n    ");
    Some(format!(
        "{target} breaks with {input}\n    {what}\n    \
         once it is mended, keep the input: cp {input} syn-guard-common/fuzz/corpus/{target}/"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_fuzzer_did() {
        let log = "#2\tINITED cov: 24 ft: 25 corp: 1/1b exec/s: 0 rss: 40Mb\n\
                   #99\tDONE   cov: 455 ft: 555 corp: 19/690b lim: 256 exec/s: 438938 rss: 535Mb\n\
                   stat::number_of_executed_units: 4294967\n";
        assert_eq!(
            summary(log),
            "4294967 inputs, 455 places covered, nothing found"
        );
        assert_eq!(failure("parse", log), None);
    }

    #[test]
    fn a_failure_names_the_input_and_the_reason() {
        let log = "thread '<unnamed>' (1) panicked at checks/parse.rs:63:13:\n\
                   passed over: Segment\n\n==1== ERROR: libFuzzer: deadly signal\n\
                   artifact_prefix='/t/'; Test unit written to /t/crash-1f\nBase64: AA==\n";
        let said = failure("parse", log).unwrap();
        assert!(
            said.starts_with("parse breaks with /t/crash-1f\n"),
            "{said}"
        );
        for part in [
            "checks/parse.rs:63:13",
            "passed over: Segment",
            "corpus/parse/",
        ] {
            assert!(said.contains(part), "{said}");
        }
    }

    #[test]
    fn the_targets_are_those_of_the_package() {
        let manifest = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../syn-guard-common/fuzz/Cargo.toml"
        );
        let manifest = fs::read_to_string(manifest).unwrap();
        let named: Vec<_> = manifest
            .split("[[bin]]\nname = \"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert_eq!(named, TARGETS);
    }
}
