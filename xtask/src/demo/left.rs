//! What syn-guard could leave on a server, before it came and after it went.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use aya::programs::loaded_programs;

use crate::lab::{Lab, SERVER_INTERFACE};

/// The kernel frees programs some time after the last reference goes.
const FREED: Duration = Duration::from_secs(3);

/// Programs and sysctls as they are now.
pub(super) struct Before {
    programs: BTreeSet<u32>,
    sysctls: BTreeMap<String, String>,
}

impl Before {
    /// Looks before syn-guard starts.
    pub(super) fn look(lab: &Lab) -> Result<Self> {
        Ok(Self {
            programs: programs()?,
            sysctls: sysctls(lab)?,
        })
    }

    /// What is there now that was not: empty after a clean stop.
    pub(super) fn left(&self, lab: &Lab) -> Result<Vec<String>> {
        let mut left = Vec::new();
        if lab.guard_pins().exists() {
            left.push(format!("pins in {}", lab.guard_pins().display()));
        }
        let link = lab
            .server()
            .output("ip", &["-o", "link", "show", SERVER_INTERFACE])?;
        if link.contains("xdp") {
            left.push(format!("an XDP program on {SERVER_INTERFACE}"));
        }
        let deadline = Instant::now() + FREED;
        let loaded = loop {
            let loaded = programs()?.difference(&self.programs).count();
            if loaded == 0 || Instant::now() > deadline {
                break loaded;
            }
            thread::sleep(Duration::from_millis(20));
        };
        if loaded > 0 {
            left.push(format!("{loaded} loaded programs"));
        }
        left.extend(changes(&self.sysctls, &sysctls(lab)?));
        Ok(left)
    }
}

/// The ids of all programs that bear syn-guard's name.
fn programs() -> Result<BTreeSet<u32>> {
    Ok(loaded_programs()
        // One that went away meanwhile cannot be asked for its name.
        .filter_map(Result::ok)
        .filter(|program| program.name().starts_with(b"syn_guard"))
        .map(|program| program.id())
        .collect())
}

/// The TCP sysctls of the server's namespace that can be read.
fn sysctls(lab: &Lab) -> Result<BTreeMap<String, String>> {
    lab.server()
        .run(|| -> Result<_> {
            let folder = fs::read_dir("/proc/sys/net/ipv4")?;
            Ok(folder
                .filter_map(|entry| {
                    let entry = entry.ok()?;
                    let name = entry.file_name().into_string().ok()?;
                    let value = fs::read_to_string(entry.path()).ok()?;
                    name.starts_with("tcp_").then_some((name, value))
                })
                .collect())
        })?
        .context("reading the TCP sysctls")
}

fn changes(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    before
        .iter()
        .filter_map(|(name, was)| {
            let is = after.get(name).map_or("", String::as_str);
            (is != was).then(|| format!("net.ipv4.{name}: {} -> {}", was.trim(), is.trim()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_name_both_values() {
        let of = |value: &str| BTreeMap::from([("tcp_syncookies".to_owned(), value.to_owned())]);
        assert!(changes(&of("1\n"), &of("1\n")).is_empty());
        assert_eq!(
            changes(&of("0\n"), &of("1\n")),
            ["net.ipv4.tcp_syncookies: 0 -> 1"]
        );
    }
}
