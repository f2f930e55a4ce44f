//! A process of the lab.

use std::{
    fs::{self, File},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{self, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::patience::patiently;

/// How long a dropped process has between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(3);

/// A running process whose output goes to files. Dropping it ends the process.
#[derive(Debug)]
pub struct Child {
    name: String,
    process: process::Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Child {
    pub(super) fn spawn(command: &mut Command, logs: &Path) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);

        let name = Path::new(command.get_program())
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let stdout = logs.join(format!("{name}-{number}.out"));
        let stderr = logs.join(format!("{name}-{number}.err"));
        let create = |path: &Path| {
            File::create(path).with_context(|| format!("creating {}", path.display()))
        };
        let process = command
            .stdin(Stdio::null())
            .stdout(create(&stdout)?)
            .stderr(create(&stderr)?)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self {
            name,
            process,
            stdout,
            stderr,
        })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What it wrote to standard output so far.
    pub fn stdout(&self) -> Result<String> {
        read(&self.stdout)
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> Result<String> {
        read(&self.stderr)
    }

    /// Sends a signal, unless it has been waited for.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if let Some(status) = self.process.try_wait()? {
            bail!("{} has ended: {status}", self.name);
        }
        kill(Pid::from_raw(self.pid().cast_signed()), signal)
            .with_context(|| format!("sending {signal} to {}", self.name))
    }

    /// Waits for its end; an error when it does not end in time.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + patiently(timeout);
        loop {
            if let Some(status) = self.process.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!("{} did not end within {timeout:?}", self.name);
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.process.try_wait()?.is_none())
    }

    /// Sends SIGTERM and waits for the end.
    pub fn stop(&mut self, timeout: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(timeout)
    }

    /// Waits until a line of its output (either kind) contains `pattern`, and returns that line.
    /// The error carries all output, also when the process ends before.
    pub fn wait_for_line(&mut self, pattern: &str, timeout: Duration) -> Result<String> {
        let deadline = Instant::now() + patiently(timeout);
        loop {
            let ended = self.process.try_wait()?;
            let (stdout, stderr) = (self.stdout()?, self.stderr()?);
            if let Some(line) = [&stdout, &stderr]
                .into_iter()
                .flat_map(|text| text.lines())
                .find(|line| line.contains(pattern))
            {
                return Ok(line.to_owned());
            }
            let why = match ended {
                Some(status) => format!("ended ({status})"),
                None if Instant::now() >= deadline => format!("had {timeout:?}"),
                None => {
                    thread::sleep(Duration::from_millis(5));
                    continue;
                }
            };
            bail!(
                "{} {why} and wrote no line with {pattern:?}\n--- stdout\n{stdout}--- stderr\n{stderr}",
                self.name
            );
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.stop(GRACE).is_err() {
            // Errors mean that it has ended.
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
        if thread::panicking() {
            let status = self.process.try_wait().ok().flatten();
            let signal = status.and_then(|status| status.signal());
            eprintln!(
                "--- {} ({status:?}, signal {signal:?}), the end of its stderr\n{}",
                self.name,
                last_lines(&self.stderr().unwrap_or_default(), 40)
            );
        }
    }
}

fn read(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
