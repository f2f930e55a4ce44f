//! How long a hundred thousand prefixes take.

use std::{fmt::Write as _, fs, time::Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{growth::prefixes, stats::Spread};
use crate::lab::{Guard, Lab, Listeners};

/// Prefixes.
const COUNT: u32 = 100_000;

/// Seconds that they take.
#[derive(Clone, Copy, Debug)]
pub struct Lists {
    /// To be read from a file, merged and put into the maps.
    pub in_force: Spread,
    /// To be read in a configuration, by `syn-guard config check`.
    pub checked: Spread,
}

/// Measures both in interleaved rounds.
///
/// # Errors
/// The lab or the guard fails.
pub fn measure(lab: &Lab, rounds: usize) -> Result<Lists> {
    let _listener = Listeners::open(lab, 1)?;
    let (file, config) = (lab.path("denied"), lab.path("many.toml"));
    let lines = prefixes(COUNT);
    let mut text = "[lists]\ndeny = [\n".to_owned();
    for line in lines.lines() {
        // A string takes whatever is written to it.
        let _ = writeln!(text, "{line:?},");
    }
    text.push_str("]\n");
    fs::write(&file, &lines).context("writing a list")?;
    fs::write(&config, text).context("writing a configuration")?;
    let setting = format!("lists.deny_files={}", file.display());
    let config = config.to_str().context("the lab's folder")?;
    let (mut in_force, mut checked) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let guard = Guard::start(lab, &["--mode", "observe", "--set", &setting])?;
        in_force.push(seconds(&lab.syn_guard_output(&["events", "--json"])?)?);
        let status = guard.stop_at_once()?;
        ensure!(status.success(), "the guard ended with {status}");
        let begun = Instant::now();
        lab.syn_guard_output(&["config", "check", config])?;
        checked.push(begun.elapsed().as_secs_f64());
    }
    Ok(Lists {
        in_force: Spread::of(in_force).context("no round")?,
        checked: Spread::of(checked).context("no round")?,
    })
}

/// What the event of the lists says that they took.
fn seconds(events: &str) -> Result<f64> {
    let seconds = events.lines().find_map(|line| {
        let event: Value = serde_json::from_str(line).ok()?;
        let numbers = &event["numbers"];
        (numbers["added"].as_f64()? >= f64::from(COUNT)).then_some(())?;
        numbers["seconds"].as_f64()
    });
    seconds.with_context(|| format!("no event of {COUNT} prefixes in {events}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_of_all_prefixes_says_how_long_they_took() {
        let few = r#"{"numbers":{"added":1.0,"seconds":0.001}}"#;
        let all = r#"{"numbers":{"added":100000.0,"seconds":0.25}}"#;
        assert_eq!(seconds(&format!("{few}\n{all}\n")).unwrap(), 0.25);
        assert!(seconds(few).is_err());
    }
}
