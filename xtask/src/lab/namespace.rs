//! A network namespace: commands, closures and sysctls in it.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::{fd::AsFd as _, unix::process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result, bail};
use nix::sched::{CloneFlags, setns};

use super::child::Child;

/// A network namespace of the lab.
///
/// Only the network namespace is entered, so files and pinned BPF objects stay visible inside.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: String,
    file: Arc<File>,
    logs: PathBuf,
}

impl Namespace {
    pub(super) fn open(name: &str, logs: &Path) -> Result<Self> {
        let path = Path::new("/run/netns").join(name);
        let file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
        Ok(Self {
            name: name.to_owned(),
            file: Arc::new(file),
            logs: logs.to_owned(),
        })
    }

    /// Its name, as `ip netns` lists it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run inside. It gets SIGKILL when the thread that starts it ends.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let file = Arc::clone(&self.file);
        // SAFETY: the closure makes two system calls and allocates nothing.
        unsafe {
            command.pre_exec(move || {
                setns(file.as_fd(), CloneFlags::CLONE_NEWNET)?;
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        command
    }

    /// A command that will run inside and is ended after a minute, with status 124: for clients that
    /// would wait for an answer for ever.
    pub fn command_within_a_minute(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.command("timeout");
        command.args(["-k", "5", "60"]).arg(program);
        command
    }

    /// Starts a command made by [`Namespace::command`], with its output in files of the lab.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        Child::spawn(command, &self.logs)
    }

    /// Runs a program to its end and returns its standard output; a failure carries its stderr.
    pub fn output<A: AsRef<OsStr>>(&self, program: &str, arguments: &[A]) -> Result<String> {
        let output = self
            .command(program)
            .args(arguments)
            .output()
            .with_context(|| format!("running {program} in {}", self.name))?;
        if !output.status.success() {
            bail!(
                "{program} in {}: {}: {}",
                self.name,
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        String::from_utf8(output.stdout).with_context(|| format!("{program} wrote no UTF-8"))
    }

    /// Runs a closure on a thread inside; panics pass through.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter()?;
                Ok(work())
            });
            match inside.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Starts a closure on a thread inside.
    pub fn start<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> JoinHandle<Result<T>> {
        let namespace = self.clone();
        thread::spawn(move || {
            namespace.enter()?;
            work()
        })
    }

    /// Reads a sysctl such as `net.ipv4.tcp_syncookies`.
    pub fn sysctl(&self, name: &str) -> Result<String> {
        self.run(|| fs::read_to_string(sysctl_path(name)))?
            .map(|value| value.trim().to_owned())
            .with_context(|| format!("reading {name}"))
    }

    /// Sets a sysctl of this namespace.
    pub fn set_sysctl(&self, name: &str, value: &str) -> Result<()> {
        if !name.starts_with("net.") {
            bail!("{name} does not belong to a network namespace");
        }
        self.run(|| fs::write(sysctl_path(name), value))?
            .with_context(|| format!("setting {name} to {value}"))
    }

    fn enter(&self) -> Result<()> {
        setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("entering {}", self.name))
    }
}

fn sysctl_path(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name.replace('.', "/"))
}
