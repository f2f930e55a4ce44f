//! The configuration: flags over file over defaults, and another one while the
//! guard runs. Needs root; without it the tests say so and pass, except where
//! `CI=true`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

#[path = "../common/mod.rs"]
mod common;

mod changes;
mod mistakes;

use std::{fs, path::PathBuf, process::Output, time::Duration};

use aya::programs::{SchedClassifier, TcAttachType};
use nix::sys::signal::Signal;
use xtask::lab::{Guard, Lab, SERVER_INTERFACE};

/// Long enough for anything that a reload or a second of the controller does.
const SOON: Duration = Duration::from_secs(30);

/// A guard with a file of its own.
struct Configured {
    lab: Lab,
    file: PathBuf,
}

impl Configured {
    fn new(lab: Lab, text: &str) -> Self {
        let file = lab.path("config.toml");
        fs::write(&file, text).unwrap();
        Self { lab, file }
    }

    fn start(&self, flags: &[&str]) -> Guard {
        let arguments = [&["--config", self.file()], flags].concat();
        Guard::start(&self.lab, &arguments).unwrap()
    }

    fn file(&self) -> &str {
        self.file.to_str().unwrap()
    }

    /// Another file, and SIGHUP; until the log has a line with `says`.
    fn reload(&self, guard: &mut Guard, text: &str, says: &str) -> String {
        fs::write(&self.file, text).unwrap();
        guard.child().signal(Signal::SIGHUP).unwrap();
        guard.child().wait_for_line(says, SOON).unwrap()
    }

    /// Value and origin of a key, as `config show --json` has them.
    fn entry(&self, key: &str, flags: &[&str]) -> (serde_json::Value, String) {
        let arguments = [&["config", "show", "--json"], flags].concat();
        let report = self.lab.syn_guard_output(&arguments).unwrap();
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        let entries = report["entries"].as_array().unwrap();
        let entry = entries.iter().find(|entry| entry["key"] == key).unwrap();
        let origin = &entry["origin"];
        let origin = match origin["from"].as_str().unwrap() {
            "file" => {
                assert_eq!(origin["file"], self.file());
                format!("line {}", origin["line"])
            }
            "flag" => origin["flag"].as_str().unwrap().to_owned(),
            other => other.to_owned(),
        };
        (entry["value"].clone(), origin)
    }
}

fn state(guard: &Guard, lab: &Lab) -> String {
    let service = guard.service(lab, 80).unwrap();
    service["state"].as_str().unwrap().to_owned()
}

/// The ids of the attached programs.
fn programs(lab: &Lab) -> (String, Vec<u32>) {
    let link = lab
        .server()
        .output("ip", &["-d", "link", "show", SERVER_INTERFACE])
        .unwrap();
    let (_, xdp) = link.split_once("prog/xdp id ").unwrap();
    let query = || SchedClassifier::query_tcx(SERVER_INTERFACE, TcAttachType::Ingress);
    let tcx = match lab.server().run(query).unwrap() {
        Ok((_, programs)) => programs
            .iter()
            .map(aya::programs::ProgramInfo::id)
            .collect(),
        // Linux 6.1 has no TCX.
        Err(_) => Vec::new(),
    };
    (xdp.split_whitespace().next().unwrap().to_owned(), tcx)
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}
