//! The `syn-guard` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    syn_guard::cli::main()
}
