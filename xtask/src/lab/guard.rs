//! syn-guard itself, running on the lab's server.

use std::{
    collections::HashMap,
    path::PathBuf,
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use aya::programs::{ProgramFd, loaded_programs};
use nix::{sys::signal::Signal, unistd::Pid};

use super::{Child, Lab, SERVER_INTERFACE, SharedMaps, Size, fetch};
use crate::build::Paths;

/// How long a start may take, with a million prefixes on a machine that others keep busy.
const START: Duration = Duration::from_secs(120);
/// How long a stop may take, with the wait for cookies that are out.
const STOP: Duration = Duration::from_secs(15);
/// The variable that names the engine of every guard, for tests that run with
/// each.
pub const ENGINE: &str = "SYN_GUARD_ENGINE";
/// Where the guard offers its metrics, in the server's namespace.
const METRICS: &str = "127.0.0.1:9469";

/// A running guard. Dropping it stops it.
pub struct Guard {
    child: Child,
}

/// The programs of a running guard.
pub struct Programs {
    /// At XDP.
    pub xdp: ProgramFd,
    /// At TC, where the engine has one.
    pub tc: Option<ProgramFd>,
    /// Instructions that the verifier looked at, of both.
    pub verified: [u32; 2],
    /// What all of them are, in the order of loading.
    pub sizes: Vec<Size>,
}

/// The program, as built last: `SYN_GUARD_BIN`, or the release build.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("SYN_GUARD_BIN") {
        return Ok(path.into());
    }
    let path = Paths::find()?.target.join("release/syn-guard");
    if !path.exists() {
        bail!("no {}: run cargo xtask build --release", path.display());
    }
    Ok(path)
}

impl Lab {
    /// The program with some arguments and this lab's directories, to run on the server.
    pub fn syn_guard(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = self.server().command(binary()?);
        command
            .args(arguments)
            .arg("--state-dir")
            .arg(self.guard_state())
            .arg("--bpf-dir")
            .arg(self.guard_pins());
        Ok(command)
    }

    /// What a verb prints; an error when it fails.
    pub fn syn_guard_output(&self, arguments: &[&str]) -> Result<String> {
        let output = self.syn_guard(arguments)?.output()?;
        if !output.status.success() {
            bail!(
                "syn-guard {}: {}: {}",
                arguments.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        String::from_utf8(output.stdout).context("output that is not UTF-8")
    }

    /// Where a guard keeps its state.
    #[must_use]
    pub fn guard_state(&self) -> PathBuf {
        self.path("syn-guard")
    }

    /// Where a guard pins.
    #[must_use]
    pub fn guard_pins(&self) -> PathBuf {
        self.bpf_dir().join("syn-guard")
    }
}

impl Guard {
    /// Starts `syn-guard run` on the server's interface and waits until it guards.
    pub fn start(lab: &Lab, arguments: &[&str]) -> Result<Self> {
        let engine = std::env::var(ENGINE).unwrap_or_default();
        let mut all = vec!["run", "--iface", SERVER_INTERFACE];
        if !engine.is_empty() && !arguments.contains(&"--engine") {
            all.extend(["--engine", &engine]);
        }
        // The machine's own configuration is not the lab's.
        let config = lab.path("no-config.toml");
        if !arguments.contains(&"--config") {
            std::fs::write(&config, "").context("writing an empty configuration")?;
            all.extend(["--config", config.to_str().context("the lab's folder")?]);
        }
        all.extend(arguments);
        let mut child = lab.server().spawn(&mut lab.syn_guard(&all)?)?;
        child.wait_for_line("is guarding", START)?;
        Ok(Self { child })
    }

    /// Its process.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// What it logged so far.
    pub fn log(&self) -> Result<String> {
        self.child.stderr()
    }

    /// What Prometheus would get.
    pub fn metrics(&self, lab: &Lab) -> Result<String> {
        let body = fetch(lab.server(), None, METRICS.parse()?, "/metrics")?;
        String::from_utf8(body).context("metrics that are not UTF-8")
    }

    /// What `syn-guard status --json` says.
    pub fn status(&self, lab: &Lab) -> Result<serde_json::Value> {
        Ok(serde_json::from_str(
            &lab.syn_guard_output(&["status", "--json"])?,
        )?)
    }

    /// What it says of a service in `syn-guard status --json`.
    pub fn service(&self, lab: &Lab, port: u16) -> Result<serde_json::Value> {
        let status = self.status(lab)?;
        status["services"]
            .as_array()
            .and_then(|services| services.iter().find(|service| service["port"] == port))
            .cloned()
            .with_context(|| format!("no service {port} in {status}"))
    }

    /// Its programs.
    pub fn programs(&self) -> Result<Programs> {
        let ids = self.program_ids()?;
        let (mut xdp, mut tc, mut verified) = (None, None, [0; 2]);
        let mut sizes = Vec::new();
        for program in loaded_programs() {
            let program = program?;
            if !ids.contains(&program.id()) {
                continue;
            }
            let looked_at = program.verified_instruction_count().unwrap_or(0);
            sizes.push(Size::of(&program)?);
            match program.name_as_str() {
                Some("syn_guard") => (xdp, verified[0]) = (Some(program.fd()?), looked_at),
                Some("syn_guard_ack") => (tc, verified[1]) = (Some(program.fd()?), looked_at),
                _ => {}
            }
        }
        let xdp = xdp.context("the guard has no XDP program")?;
        sizes.sort_by_key(|size| size.loaded_at);
        Ok(Programs {
            xdp,
            tc,
            verified,
            sizes,
        })
    }

    /// Its maps that all CPUs share.
    pub fn shared_maps(&self) -> Result<SharedMaps> {
        let ids = self.program_ids()?;
        let mut programs = Vec::new();
        for program in loaded_programs() {
            let program = program?;
            if ids.contains(&program.id()) {
                programs.push(program);
            }
        }
        SharedMaps::of(&programs)
    }

    /// The ids of the programs that its process holds.
    fn program_ids(&self) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        for file in std::fs::read_dir(format!("/proc/{}/fdinfo", self.child.pid()))? {
            // A file that is closed meanwhile is none of them.
            let Ok(text) = std::fs::read_to_string(file?.path()) else {
                continue;
            };
            let id = text.lines().find_map(|line| line.strip_prefix("prog_id:"));
            ids.extend(id.and_then(|id| id.trim().parse::<u32>().ok()));
        }
        Ok(ids)
    }

    /// Resident memory, bytes.
    pub fn resident_bytes(&self) -> Result<u64> {
        self.memory("VmRSS:")
    }

    /// The most that was ever resident, bytes.
    pub fn most_resident_bytes(&self) -> Result<u64> {
        self.memory("VmHWM:")
    }

    /// A line of `/proc/PID/status`, bytes.
    fn memory(&self, name: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.pid()))?;
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|rest| rest.trim().strip_suffix(" kB"))
            .and_then(|kilobytes| kilobytes.trim().parse::<u64>().ok())
            .map(|kilobytes| kilobytes * 1024)
            .with_context(|| format!("no {name}"))
    }

    /// CPU time that it took so far, all threads together.
    pub fn cpu_time(&self) -> Result<Duration> {
        let pid = Pid::from_raw(self.child.pid().cast_signed());
        let time = nix::time::clock_gettime(nix::time::clock_getcpuclockid(pid)?)?;
        Ok(time.into())
    }

    /// Kernel memory of its maps, bytes: `memlock` of its descriptors (`bpf_map_show_fdinfo`),
    /// each map once.
    pub fn map_bytes(&self) -> Result<u64> {
        let mut by_id = HashMap::new();
        for file in std::fs::read_dir(format!("/proc/{}/fdinfo", self.child.pid()))? {
            // A file that is closed meanwhile is none of them.
            let Ok(text) = std::fs::read_to_string(file?.path()) else {
                continue;
            };
            let field = |name| {
                let value = text.lines().find_map(|line| line.strip_prefix(name))?;
                value.trim().parse::<u64>().ok()
            };
            if let (Some(id), Some(bytes)) = (field("map_id:"), field("memlock:")) {
                by_id.insert(id, bytes);
            }
        }
        Ok(by_id.values().sum())
    }

    /// Ends it without the wait for cookies that are out: SIGTERM, and again.
    pub fn stop_at_once(mut self) -> Result<ExitStatus> {
        self.child.signal(Signal::SIGTERM)?;
        let again = self.child.wait(Duration::from_millis(200));
        if let Ok(status) = again {
            return Ok(status);
        }
        self.child.signal(Signal::SIGTERM)?;
        self.child.wait(STOP)
    }

    /// Sends a signal and waits for the end.
    pub fn stop(mut self, signal: Signal) -> Result<ExitStatus> {
        self.child.signal(signal)?;
        self.child.wait(STOP)
    }
}
