//! How large the programs are, and how long the kernel takes to load them.

use std::time::SystemTime;

use anyhow::{Context as _, Result, ensure};

use super::stats::Spread;
use crate::lab::{Guard, Lab, Nginx};

/// A program.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// Instructions that the verifier looked at, of the million that it may.
    pub verified: u32,
    /// Instructions that it has.
    pub instructions: u32,
    /// Bytes of machine code.
    pub machine_code: usize,
    /// Bytes of stack, of the 512 that it may have; none where that is not visible.
    pub stack: Option<u32>,
    /// Milliseconds that it takes to load: verifier and JIT.
    pub load: Spread,
}

/// Starts a guard in each round and looks at what it loaded.
///
/// # Errors
/// The lab or the guard fails.
pub fn measure(lab: &Lab, rounds: usize) -> Result<Vec<Program>> {
    let nginx = Nginx::start(lab)?;
    let mut all = Vec::new();
    for _ in 0..rounds {
        let guard = Guard::start(lab, &["--mode", "observe"])?;
        all.push(guard.programs()?.sizes);
        let status = guard.stop_at_once()?;
        ensure!(status.success(), "the guard ended with {status}");
    }
    nginx.stop()?;
    let first = all.first().context("no round")?;
    // The guard loads one right after the other. What it loads last is tiny.
    let mut programs = Vec::new();
    for (index, size) in first.iter().enumerate().rev().skip(1).rev() {
        let took = |round: &Vec<crate::lab::Size>| {
            let (this, next) = (round.get(index)?, round.get(index + 1)?);
            milliseconds(this.loaded_at, next.loaded_at)
        };
        programs.push(Program {
            name: size.name.clone(),
            verified: size.verified,
            instructions: size.instructions,
            machine_code: size.machine_code,
            stack: size.stack,
            load: Spread::of(all.iter().filter_map(took).collect()).context("no times")?,
        });
    }
    Ok(programs)
}

fn milliseconds(from: SystemTime, to: SystemTime) -> Option<f64> {
    Some(to.duration_since(from).ok()?.as_secs_f64() * 1e3)
}
