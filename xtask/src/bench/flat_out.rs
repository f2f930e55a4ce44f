//! How many SYNs one core handles.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::stats::Spread;
use crate::lab::{Flood, Guard, Lab, Nginx};

/// What is offered, SYNs a second; none: as many as the generator makes. The more it makes, the more
/// it takes locks that the guard's core needs to give frame pages back: the most are answered where
/// little is lost.
const OFFERED: [Option<u64>; 4] = [Some(2_000_000), Some(2_500_000), Some(3_000_000), None];
const BEFORE: Duration = Duration::from_millis(500);
const MEASURED: Duration = Duration::from_secs(1);

/// What came back a second.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub struct FlatOut {
    /// Cookies.
    pub cookies: Spread,
    /// Frames of the floor.
    pub floor: Spread,
    /// Cookies as a share of the frames of the same round, percent.
    pub share: Spread,
}

/// Measures both in interleaved rounds.
///
/// # Errors
/// The lab or the guard fails.
pub fn measure(lab: &Lab, rounds: usize) -> Result<FlatOut> {
    lab.separate_cores()?;
    let nginx = Nginx::start(lab)?;
    let (mut cookies, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let floor = lab.attach_floor()?;
        floors.push(most_answers(lab, &nginx)?);
        drop(floor);
        let guard = Guard::start(lab, &["--mode", "protect"])?;
        cookies.push(most_answers(lab, &nginx)?);
        guard.stop_at_once()?;
    }
    nginx.stop()?;
    let shares = cookies.iter().zip(&floors);
    let shares = shares.map(|(cookies, floor)| cookies / floor * 100.0);
    Ok(FlatOut {
        share: Spread::of(shares.collect()).context("no round")?,
        cookies: Spread::of(cookies).context("no round")?,
        floor: Spread::of(floors).context("no round")?,
    })
}

/// The most answers a second to any of the floods.
fn most_answers(lab: &Lab, nginx: &Nginx) -> Result<f64> {
    let mut most = 0.0_f64;
    for offered in OFFERED {
        most = most.max(answers(lab, nginx, offered)?);
    }
    Ok(most)
}

/// Answers a second to a flood.
fn answers(lab: &Lab, nginx: &Nginx, offered: Option<u64>) -> Result<f64> {
    let mut flood = Flood::new(nginx.ipv4())
        .before_others()
        .duration(BEFORE + MEASURED * 4);
    if let Some(rate) = offered {
        flood = flood.rate(rate);
    }
    let flood = flood.start(lab)?;
    std::thread::sleep(BEFORE);
    let (before, start) = (lab.answers_received()?, Instant::now());
    std::thread::sleep(MEASURED);
    let answered = lab.answers_received()? - before;
    let rate = answered as f64 / start.elapsed().as_secs_f64();
    flood.stop()?;
    Ok(rate)
}
