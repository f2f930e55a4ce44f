//! A signal ends the demo at any moment, and nothing of it stays.
//!
//! The watching thread hastens the end - it ends the programs of set-up and build, or those of the
//! lab - while the main thread, which looks at [`Interrupt::check`] between its steps, goes back
//! and drops what it holds. Where it does not come back in time the watching thread exits for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::signal::unix::{SignalKind, signal};

use crate::lab::Cleaner;

/// How long the main thread has to come back.
const PATIENCE: Duration = Duration::from_secs(15);
/// The same while it waits for another lab to end, which may take minutes.
const LAB_PATIENCE: Duration = Duration::from_secs(1);
/// How often things are looked at.
const TICK: Duration = Duration::from_millis(20);
/// Programs get Ctrl-C as well and may fail of it just before it is noticed here.
const LATE: Duration = Duration::from_millis(300);

/// Knows whether a signal came.
pub(super) struct Interrupt {
    shared: Arc<Shared>,
    watcher: JoinHandle<()>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    signal: Option<Signal>,
    stage: Stage,
    cleaner: Option<Cleaner>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Set-up and build: other programs are at work.
    Preparing,
    /// The lab is waited for, or being made.
    Making,
    /// There is a lab.
    Lab,
    /// The main thread is done.
    Ended,
}

impl Interrupt {
    /// Takes the signals from now on.
    pub(super) fn watch() -> Result<Self> {
        // Programs whose parent ended first stay in sight, as children of this one.
        nix::sys::prctl::set_child_subreaper(true).context("keeping sight of programs")?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                signal: None,
                stage: Stage::Preparing,
                cleaner: None,
            }),
            changed: Condvar::new(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("watching for signals")?;
        let inside = runtime.enter();
        let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
        let mut hang_up = signal(SignalKind::hangup()).context("SIGHUP")?;
        drop(inside);
        let for_watcher = Arc::clone(&shared);
        let watcher = thread::spawn(move || {
            let signal = runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => Signal::SIGINT,
                    _ = terminate.recv() => Signal::SIGTERM,
                    _ = hang_up.recv() => Signal::SIGHUP,
                }
            });
            for_watcher.stop(signal);
        });
        Ok(Self { shared, watcher })
    }

    /// A lab is made next.
    pub(super) fn making(&self) -> Result<()> {
        self.shared.lock().stage = Stage::Making;
        self.check()
    }

    /// What a signal is to clean from now on.
    pub(super) fn made(&self, cleaner: Cleaner) -> Result<()> {
        let mut state = self.shared.lock();
        state.stage = Stage::Lab;
        state.cleaner = Some(cleaner);
        drop(state);
        self.check()
    }

    /// An error once a signal came.
    pub(super) fn check(&self) -> Result<()> {
        self.sleep(Duration::ZERO)
    }

    /// Sleeps; an error as soon as a signal came.
    pub(super) fn sleep(&self, duration: Duration) -> Result<()> {
        let calm = |state: &mut State| state.signal.is_none();
        let state = self.shared.lock();
        let (state, _) = self
            .shared
            .changed
            .wait_timeout_while(state, duration, calm)
            .unwrap_or_else(PoisonError::into_inner);
        match state.signal {
            None => Ok(()),
            Some(signal) => bail!("{signal}"),
        }
    }

    /// Passes the result on, or ends the process when a signal came: all that the main thread held
    /// must have been dropped.
    pub(super) fn end(self, result: Result<()>) -> Result<()> {
        if result.is_err() {
            // An error here is the signal.
            let _ = self.sleep(LATE);
        }
        let mut state = self.shared.lock();
        state.stage = Stage::Ended;
        let (signal, cleaner) = (state.signal, state.cleaner.take());
        drop(state);
        let Some(signal) = signal else { return result };
        self.shared.changed.notify_all();
        // It has nothing to say but that it is done.
        let _ = self.watcher.join();
        exit(signal, cleaner.as_ref());
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that the main thread comes back; if it does not, ends the process.
    fn stop(&self, signal: Signal) {
        eprintln!("\nxtask: {signal}: cleaning up");
        self.lock().signal = Some(signal);
        self.changed.notify_all();
        let start = Instant::now();
        let mut told = BTreeSet::new();
        let mut cleaned = false;
        loop {
            let state = self.lock();
            let (stage, cleaner) = (state.stage, state.cleaner.clone());
            drop(state);
            match stage {
                Stage::Ended if !tell_descendants(signal, &mut told) => return,
                Stage::Preparing => {
                    tell_descendants(signal, &mut told);
                }
                Stage::Making if start.elapsed() > LAB_PATIENCE && !lab_exists() => break,
                Stage::Lab if !cleaned => {
                    cleaned = true;
                    cleaner.iter().for_each(Cleaner::clean);
                }
                Stage::Making | Stage::Lab | Stage::Ended => {}
            }
            if start.elapsed() > PATIENCE {
                break;
            }
            thread::sleep(TICK);
        }
        exit(signal, self.lock().cleaner.as_ref());
    }
}

fn exit(signal: Signal, cleaner: Option<&Cleaner>) -> ! {
    // Once more: a step that was under way may have come after the first time.
    if let Some(cleaner) = cleaner {
        cleaner.clean();
        eprintln!("xtask: the lab is gone, nothing is left");
    }
    std::process::exit(128 + signal as i32)
}

/// Whether this process has made namespaces of a lab.
fn lab_exists() -> bool {
    let prefix = format!("sg-{}-", std::process::id());
    fs::read_dir("/run/netns")
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .any(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
}

/// Sends the signal to all programs that this one started, and that they started, once to each;
/// whether there are any.
fn tell_descendants(signal: Signal, told: &mut BTreeSet<u32>) -> bool {
    let living = descendants(std::process::id(), &parents());
    for &pid in &living {
        if told.insert(pid) {
            // It may have ended meanwhile.
            let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
        }
    }
    !living.is_empty()
}

/// Every process that lives, and its parent.
fn parents() -> BTreeMap<u32, u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            Some((pid, parent(&stat)?))
        })
        .collect()
}

/// The parent in `/proc/<pid>/stat`, unless the process has ended. The name before it may hold
/// spaces and parentheses.
fn parent(stat: &str) -> Option<u32> {
    let (_, fields) = stat.rsplit_once(") ")?;
    match fields.split_once(' ')? {
        ("Z" | "X", _) => None,
        (_, rest) => rest.split(' ').next()?.parse().ok(),
    }
}

fn descendants(ancestor: u32, parents: &BTreeMap<u32, u32>) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let mut new = vec![ancestor];
    while let Some(parent) = new.pop() {
        for (&pid, _) in parents.iter().filter(|(_, it)| **it == parent) {
            if found.insert(pid) {
                new.push(pid);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_children_and_theirs() {
        let parents = BTreeMap::from([(2, 1), (3, 2), (4, 3), (5, 2), (6, 1)]);
        assert_eq!(descendants(2, &parents), BTreeSet::from([3, 4, 5]));
        assert_eq!(descendants(6, &parents), BTreeSet::new());
    }

    #[test]
    fn reads_the_parent_of_the_living() {
        assert_eq!(parent("12 (a) b (c) S 7 12 12 0"), Some(7));
        assert_eq!(parent("12 (cat) R 1"), Some(1));
        assert_eq!(parent("12 (cat) Z 1 12"), None);
        assert_eq!(parent("nonsense"), None);
    }
}
