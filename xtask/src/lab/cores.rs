//! Who works on which core.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare},
    unistd::Pid,
};

use super::Namespace;

/// The first core that this process may use: packet work of the server.
pub(crate) fn first() -> Result<usize> {
    usable()?.first().copied().context("no usable core")
}

/// The last core that this process may use: floods.
pub(crate) fn last() -> Result<usize> {
    usable()?.last().copied().context("no usable core")
}

/// Pins the calling thread.
pub(crate) fn pin(core: usize) -> Result<()> {
    pin_task(Pid::from_raw(0), core)
}

/// Makes an interface do its packet work in a kernel thread, pins that, and puts it before all
/// ordinary processes, as packet work outside a thread would be.
pub(super) fn thread_packet_work(
    namespace: &Namespace,
    interface: &str,
    core: usize,
) -> Result<()> {
    namespace
        .run(|| write_sysfs(&format!("/sys/class/net/{interface}/threaded"), "1"))?
        .with_context(|| format!("giving {interface} a kernel thread"))?;
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        let threads = napi_threads(interface)?;
        for thread in &threads {
            pin_task(*thread, core)?;
            prioritize(*thread)?;
        }
        if !threads.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("{interface} has no kernel thread for its packet work");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The kernel threads of an interface; only one lab lives at a time, so the name is enough.
fn napi_threads(interface: &str) -> Result<Vec<Pid>> {
    let prefix = format!("napi/{interface}");
    Ok(fs::read_dir("/proc")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            fs::read_to_string(format!("/proc/{pid}/comm"))
                .is_ok_and(|name| name.starts_with(&prefix))
        })
        .map(Pid::from_raw)
        .collect())
}

/// Writes a file of the sysfs that belongs to the calling thread's network namespace. The thread
/// gets a mount namespace of its own for that, so it must be one that ends soon.
fn write_sysfs(path: &str, value: &str) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("leaving the mount namespace")?;
    let nothing: Option<&str> = None;
    mount(
        nothing,
        "/",
        nothing,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        nothing,
    )
    .context("making mounts private")?;
    mount(
        Some("sysfs"),
        "/sys",
        Some("sysfs"),
        MsFlags::empty(),
        nothing,
    )
    .context("mounting sysfs")?;
    fs::write(path, value).with_context(|| format!("writing {path}"))
}

fn usable() -> Result<Vec<usize>> {
    // The main thread's set: pinned threads may start this too.
    let set = sched_getaffinity(Pid::this())?;
    Ok((0..CpuSet::count())
        .filter(|core| set.is_set(*core).unwrap_or(false))
        .collect())
}

fn pin_task(task: Pid, core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    sched_setaffinity(task, &set).with_context(|| format!("pinning to core {core}"))
}

/// Puts a thread before all ordinary ones.
pub(super) fn prioritize(task: Pid) -> Result<()> {
    let first = libc::sched_param { sched_priority: 1 };
    // SAFETY: the parameters outlive the call.
    let result =
        unsafe { libc::sched_setscheduler(task.as_raw(), libc::SCHED_FIFO, &raw const first) };
    if result != 0 {
        return Err(std::io::Error::last_os_error()).context("giving a thread priority");
    }
    Ok(())
}
