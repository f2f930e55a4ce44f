//! `cargo xtask setup`: finds what the build, the tests and the demo need, and installs what is
//! not there.
//!
//! [`probe`] looks, [`plan`] decides the next step, [`perform`] takes it; then it looks again. A
//! step that failed is not tried twice, so the plan goes on to the next way.

mod perform;
mod plan;
mod probe;
pub(crate) mod unpacked;

use std::path::PathBuf;

use anyhow::{Result, bail};

pub use self::plan::Need;
use self::plan::Next;
use crate::build::Paths;

/// The programs the eBPF build uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tools {
    /// A compiler with the sources of `core`.
    pub rustc: PathBuf,
    /// The cargo that drives it.
    pub cargo: PathBuf,
    /// The clippy of that compiler.
    pub cargo_clippy: Option<PathBuf>,
    /// bpf-linker.
    pub linker: PathBuf,
    /// cargo-fuzz, which only the tests need.
    pub cargo_fuzz: Option<PathBuf>,
}

/// Sees to it that all of `need` is there; silent when it is.
///
/// # Errors
/// Something is missing that cannot be installed from here; the message says what to install.
pub fn run(need: Need, paths: &Paths) -> Result<Tools> {
    let mut failed = Vec::new();
    let mut done = Vec::new();
    loop {
        let found = probe::probe(need, paths);
        match plan::next(&found, need, &failed) {
            Next::Ready(tools) => return Ok(tools),
            Next::Stuck(message) => bail!(message),
            Next::Do(step) => {
                if done.contains(&step) {
                    // It ended well and changed nothing that the plan sees.
                    failed.push(step);
                    continue;
                }
                if let Err(error) = perform::perform(&step, paths) {
                    eprintln!("xtask: {error:#}");
                    failed.push(step.clone());
                }
                done.push(step);
            }
        }
    }
}
