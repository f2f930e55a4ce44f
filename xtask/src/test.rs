//! `cargo xtask test`: format, lints and all tests, each to its end, then what failed.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    build::{self, Built, Paths},
    command, fuzz,
    lab::ENGINE,
    setup::Tools,
};

/// Test files whose guards send cookies: they run with each engine.
const COOKIE_TESTS: [&str; 10] = [
    "acks",
    "bad_wire",
    "config",
    "cookie",
    "life",
    "listeners",
    "open_connections",
    "programs",
    "stack",
    "wire",
];

/// The workspace without the crates that only build for the BPF target.
const HOST: [&str; 5] = [
    "--workspace",
    "--exclude",
    "syn-guard-ebpf",
    "--exclude",
    "lab-ebpf",
];

/// Builds, then runs every check even when one before it failed.
///
/// # Errors
/// The build fails, or a check does; the message names each that did.
pub fn run(tools: &Tools, paths: &Paths, args: &[String]) -> Result<()> {
    let built = build::run(tools, paths, true)?;
    let mut failed = Vec::new();
    let mut check = |name: &str, result: Result<()>| {
        if let Err(error) = result {
            eprintln!("xtask: {error:#}");
            failed.push(name.to_owned());
        }
    };
    check("format (`cargo fmt --all` mends it)", format(paths));
    check("clippy", clippy(paths, &built));
    check("clippy of the eBPF crates", build::clippy(tools, paths));
    if args.is_empty() {
        let fuzzed = fuzz::run(tools, paths, &fuzz::Options::short());
        check("fuzzing", fuzzed);
    }
    let mut tests = tests(paths, &built, args, None)?;
    if args.is_empty() {
        println!("xtask: the cookie tests once more, with the engine `kernel`");
        let again = self::tests(paths, &built, &cookie_tests(), Some("kernel"))?;
        tests.passed += again.passed;
        let failures = again.failed.into_iter();
        failed.extend(failures.map(|name| format!("{name} (engine kernel)")));
    }
    failed.extend(tests.failed);

    if failed.is_empty() {
        let fuzzing = if args.is_empty() { ", fuzzing" } else { "" };
        println!(
            "xtask: format, clippy{fuzzing} and {} tests are fine",
            tests.passed
        );
        return Ok(());
    }
    bail!(
        "{} tests passed; failed:\n    {}",
        tests.passed,
        failed.join("\n    ")
    );
}

fn cargo(paths: &Paths) -> Command {
    let mut cargo = Command::new(command::cargo());
    cargo.current_dir(&paths.root);
    cargo
}

fn format(paths: &Paths) -> Result<()> {
    command::run(cargo(paths).args(["fmt", "--all", "--check"]))?;
    let fuzz = "syn-guard-common/fuzz/Cargo.toml";
    command::run(cargo(paths).args(["fmt", "--manifest-path", fuzz, "--check"]))
}

fn clippy(paths: &Paths, built: &Built) -> Result<()> {
    let mut cargo = cargo(paths);
    cargo.arg("clippy").args(HOST).arg("--all-targets");
    command::run(built.export(&mut cargo).args(["--", "-D", "warnings"]))
}

/// What selects [`COOKIE_TESTS`]: of the workspace, as it was built before.
fn cookie_tests() -> Vec<String> {
    let files = COOKIE_TESTS.iter().flat_map(|file| ["--test", file]);
    files.map(str::to_owned).collect()
}

/// Results, as the test programs write them.
#[derive(Default)]
pub(crate) struct Tests {
    pub(crate) passed: u32,
    pub(crate) failed: Vec<String>,
}

/// Passes on what `cargo test` writes and keeps the results. `engine`: that of every guard.
fn tests(paths: &Paths, built: &Built, args: &[String], engine: Option<&str>) -> Result<Tests> {
    let mut cargo = cargo(paths);
    built.export(&mut cargo).args(["test", "--no-fail-fast"]);
    if let Some(engine) = engine {
        cargo.env(ENGINE, engine);
    }
    if !args
        .iter()
        .any(|arg| arg == "-p" || arg.starts_with("--package"))
    {
        cargo.args(HOST);
    }
    cargo.args(args).stdout(Stdio::piped());
    command::say(&cargo);
    let mut child = cargo.spawn().context("cannot start cargo")?;
    let stdout = child.stdout.take().context("cargo has no output")?;
    let mut tests = Tests::default();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("cannot read the output of `cargo test`")?;
        println!("{line}");
        tests.read(&line);
    }
    let status = child.wait().context("cannot wait for cargo")?;
    if !status.success() && tests.failed.is_empty() {
        tests.failed.push(format!("cargo test ({status})"));
    }
    Ok(tests)
}

impl Tests {
    /// Takes in a line of the output.
    pub(crate) fn read(&mut self, line: &str) {
        if let Some(name) = line
            .strip_prefix("test ")
            .and_then(|it| it.strip_suffix(" ... FAILED"))
        {
            self.failed.push(format!("test {name}"));
        } else if let Some(result) = line.strip_prefix("test result: ") {
            let passed = result
                .split_once(". ")
                .and_then(|(_, rest)| rest.split(' ').next());
            self.passed += passed.and_then(|passed| passed.parse().ok()).unwrap_or(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Tests;

    #[test]
    fn reads_the_output_of_cargo_test() {
        let mut tests = Tests::default();
        for line in [
            "test flow::key ... ok",
            "test flow::other ... FAILED",
            "test result: FAILED. 12 passed; 1 failed; 0 ignored; finished in 0.1s",
            "test result: ok. 3 passed; 0 failed",
        ] {
            tests.read(line);
        }
        assert_eq!(tests.passed, 15);
        assert_eq!(tests.failed, ["test flow::other"]);
    }
}
