//! `cargo xtask`: set-up, build, tests and demo of syn-guard.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::{
    bench,
    build::{self, Paths},
    demo, fuzz,
    setup::{self, Need},
    test, vm,
};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about,
    disable_help_subcommand = true
)]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what the build, the tests and the demo need
    Setup,
    /// Build the eBPF objects and the syn-guard binary
    Build {
        /// Build the binary with optimizations
        #[arg(long)]
        release: bool,
    },
    /// Measure what syn-guard and the others cost, or check that it is within limits
    Bench(bench::Options),
    /// Show a flood against nginx: without a guard, with the kernel's cookies, with syn-guard
    Demo(demo::Options),
    /// Fuzz the parser, the SYN-ACK builder and the cookies
    Fuzz(fuzz::Options),
    /// Check the format, lint, run all tests, and fuzz for a moment
    Test {
        /// Run the tests that need a kernel on this one of Debian's, in an emulated machine
        #[arg(long, value_name = "VERSION", value_parser = vm::KERNELS)]
        kernel: Option<String>,
        /// Arguments for `cargo test`, such as `-p syn-guard` or a test's name
        #[arg(last = true)]
        args: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(&Args::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: &Verb) -> anyhow::Result<()> {
    if matches!(verb, Verb::Demo(_)) {
        demo::check_root()?;
    }
    let paths = Paths::find()?;
    match verb {
        Verb::Setup => {
            setup::run(Need::Test, &paths)?;
            println!("all there: rustc with sources, bpf-linker, and the programs of the tests");
        }
        Verb::Build { release } => {
            let tools = setup::run(Need::Build, &paths)?;
            let built = build::run(&tools, &paths, *release)?;
            println!("{}", built.binary.display());
        }
        Verb::Bench(options) => bench::run(options, &paths)?,
        Verb::Demo(options) => demo::run(options, &paths)?,
        Verb::Fuzz(options) => {
            let tools = setup::run(Need::Test, &paths)?;
            fuzz::run(&tools, &paths, options)?;
        }
        Verb::Test { kernel: None, args } => {
            let tools = setup::run(Need::Test, &paths)?;
            test::run(&tools, &paths, args)?;
        }
        Verb::Test {
            kernel: Some(series),
            args,
        } => {
            let tools = setup::run(Need::OldKernel, &paths)?;
            vm::run(&tools, &paths, series, args)?;
        }
    }
    Ok(())
}
