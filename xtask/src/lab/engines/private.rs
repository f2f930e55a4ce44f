//! A place for programs that are not installed.

use std::{ffi::OsStr, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;

use crate::{
    build::Paths,
    lab::{Child, Lab, Namespace, START},
    setup::unpacked,
};

const SCRIPT: &str = include_str!("private.sh");
/// No program in there loads a kernel module: `br_netfilter`, which dockerd asks for, would change
/// how the machine's own bridges filter. What the kernel loads by itself it still does.
const NO_MODULES: [&str; 3] = ["setpriv", "--bounding-set", "-sys_module"];
/// Where Debian has its programs.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Mount and process namespaces within the lab server's network namespace: the machine's files with
/// those of the unpacked packages over them. What is written there is in memory and in no other
/// place. Dropping it ends all processes in there, those of containers too, and with them all mounts.
#[derive(Debug)]
pub struct Private {
    server: Namespace,
    first: Child,
}

impl Private {
    /// Makes one. `None`, with the reason on stderr, where the packages are not to be had; with
    /// `CI=true` that is an error on Debian and its like.
    pub fn for_test(lab: &Lab) -> Result<Option<Self>> {
        let Some(tree) = unpacked::tree(&Paths::find()?) else {
            if !unpacked::is_debian() {
                eprintln!("skipped: the firewalls and container engines are Debian's packages");
                return Ok(None);
            }
            let reason = "no firewalls and container engines below the target folder: \
                          run `cargo xtask setup` as root";
            if std::env::var_os("CI").is_some_and(|ci| ci == "true") {
                bail!(reason);
            }
            eprintln!("skipped: {reason}");
            return Ok(None);
        };
        Self::make(lab, tree).map(Some)
    }

    fn make(lab: &Lab, tree: PathBuf) -> Result<Self> {
        let root = lab.path("private");
        std::fs::create_dir(&root).with_context(|| format!("making {}", root.display()))?;
        let server = lab.server().clone();
        let mut first = server.command("unshare");
        first
            .args(["--mount", "--pid", "--fork", "--kill-child"])
            .args(NO_MODULES)
            .args(["sh", "-euc", SCRIPT, "private"])
            .arg(tree)
            .arg(root)
            .env("PATH", PATH);
        let mut first = server.spawn(&mut first)?;
        first.wait_for_line("ready", START)?;
        Ok(Self { server, first })
    }

    /// A command that will run in there.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.server.command("nsenter");
        let namespaces = format!("/proc/{}/ns", self.first.pid());
        command
            .arg(format!("--mount={namespaces}/mnt"))
            .arg(format!("--pid={namespaces}/pid_for_children"))
            .args(NO_MODULES)
            .arg(program)
            .env("PATH", PATH)
            .env("LC_ALL", "C.UTF-8");
        command
    }

    /// Starts a program in there, with its output in files of the lab.
    pub fn spawn<A: AsRef<OsStr>>(&self, program: &str, arguments: &[A]) -> Result<Child> {
        self.server.spawn(self.command(program).args(arguments))
    }

    /// Runs a program in there to its end and returns what it wrote; a failure carries its stderr.
    pub fn output<A: AsRef<OsStr>>(&self, program: &str, arguments: &[A]) -> Result<String> {
        let output = self
            .command(program)
            .args(arguments)
            .output()
            .with_context(|| format!("running {program}"))?;
        ensure!(
            output.status.success(),
            "{program}: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        String::from_utf8(output.stdout).with_context(|| format!("{program} wrote no UTF-8"))
    }

    /// Runs a shell script in there; a failing command ends it.
    pub fn shell(&self, script: &str) -> Result<String> {
        self.output("sh", &["-euc", script])
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        // The first process in there goes with it, and all others with that one.
        let _ = self.first.signal(Signal::SIGKILL);
    }
}
