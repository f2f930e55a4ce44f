//! What a lab puts on the machine, and how it goes away: at the end, on a signal, or by the next
//! lab when the owner was killed.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{CLIENT_INTERFACE, SERVER_INTERFACE, engines};

/// How long processes have between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(1);

/// The folder of all labs.
pub(super) fn base() -> PathBuf {
    let run = Path::new("/run");
    let parent = if run.is_dir() {
        run.to_path_buf()
    } else {
        std::env::temp_dir()
    };
    parent.join("syn-guard-lab")
}

/// Knows all names of a lab and removes what bears them; works from any thread, more than once.
#[derive(Clone, Debug)]
pub struct Cleaner {
    name: String,
}

impl Cleaner {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
        }
    }

    /// The lab's name, which nothing else on the machine bears.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn server_name(&self) -> String {
        format!("{}-server", self.name)
    }

    pub(super) fn client_name(&self) -> String {
        format!("{}-client", self.name)
    }

    pub(super) fn wire_name(&self) -> String {
        format!("{}-wire", self.name)
    }

    fn dir(&self) -> PathBuf {
        base().join(&self.name)
    }

    pub(super) fn bpf_dir(&self) -> PathBuf {
        self.dir().join("bpf")
    }

    pub(super) fn state_dir(&self) -> PathBuf {
        self.dir().join("state")
    }

    /// Makes the lab's folders and mounts its BPF file system.
    pub(super) fn make_folders(&self) -> Result<()> {
        for dir in [self.bpf_dir(), self.state_dir()] {
            fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        }
        let dir = self.bpf_dir();
        mount(
            Some("bpf"),
            &dir,
            Some("bpf"),
            MsFlags::empty(),
            Some("mode=0700"),
        )
        .with_context(|| format!("mounting bpf at {}", dir.display()))
    }

    /// Cleans on drop unless told to keep.
    pub(super) fn guard(&self) -> Guard {
        Guard {
            cleaner: Some(self.clone()),
        }
    }

    /// Ends the lab's processes and removes its namespaces, mount and folders.
    pub fn clean(&self) {
        for (name, interface) in [
            (self.server_name(), SERVER_INTERFACE),
            (self.client_name(), CLIENT_INTERFACE),
        ] {
            end_processes(&name);
            // Deleting the link ends its kernel threads now; a namespace dies some time later.
            ip(&["-n", &name, "link", "del", interface]);
            ip(&["netns", "del", &name]);
        }
        // Its interfaces went with their peers. Most labs have none.
        if Path::new("/run/netns").join(self.wire_name()).exists() {
            ip(&["netns", "del", &self.wire_name()]);
        }
        engines::remove_cgroups(&self.name);
        // Errors mean that there is nothing to remove.
        let _ = umount2(&self.bpf_dir(), MntFlags::MNT_DETACH);
        let _ = fs::remove_dir_all(self.dir());
    }
}

/// See [`Cleaner::guard`].
#[derive(Debug)]
pub(super) struct Guard {
    cleaner: Option<Cleaner>,
}

impl Guard {
    pub(super) fn keep(mut self) {
        self.cleaner = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(cleaner) = &self.cleaner {
            cleaner.clean();
        }
    }
}

/// Removes what dead labs left. The caller holds the lock, so no living lab owns any of it.
pub(super) fn remove_leftovers() {
    let mut names: Vec<String> = [PathBuf::from("/run/netns"), base()]
        .iter()
        .filter_map(|dir| fs::read_dir(dir).ok())
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| lab_name(&name).map(str::to_owned))
        .collect();
    names.sort();
    names.dedup();
    for name in names {
        Cleaner::new(&name).clean();
    }
}

/// `sg-<pid>-<number>` of a namespace's or folder's name.
fn lab_name(name: &str) -> Option<&str> {
    let lab = name
        .strip_suffix("-server")
        .or_else(|| name.strip_suffix("-client"))
        .or_else(|| name.strip_suffix("-wire"))
        .unwrap_or(name);
    let (pid, number) = lab.strip_prefix("sg-")?.split_once('-')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits(pid) && digits(number)).then_some(lab)
}

fn ip(arguments: &[&str]) {
    // Failure means that it is gone already.
    let _ = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

fn end_processes(namespace: &str) {
    for (signal, patience) in [(Signal::SIGTERM, GRACE), (Signal::SIGKILL, GRACE)] {
        let deadline = Instant::now() + patience;
        let mut pids = processes(namespace);
        for pid in &pids {
            // It may have ended meanwhile.
            let _ = kill(*pid, signal);
        }
        while !pids.is_empty() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
            pids = processes(namespace);
        }
        if pids.is_empty() {
            return;
        }
    }
}

/// Processes other than this one that live in a namespace.
fn processes(namespace: &str) -> Vec<Pid> {
    let Ok(wanted) = fs::metadata(Path::new("/run/netns").join(namespace)) else {
        return Vec::new();
    };
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|&pid| pid.cast_unsigned() != std::process::id())
        .filter(|pid| {
            fs::metadata(format!("/proc/{pid}/ns/net"))
                .is_ok_and(|found| found.ino() == wanted.ino() && found.dev() == wanted.dev())
        })
        .map(Pid::from_raw)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::lab_name;

    #[test]
    fn only_names_of_labs_count_as_leftovers() {
        assert_eq!(lab_name("sg-12-0-server"), Some("sg-12-0"));
        assert_eq!(lab_name("sg-12-0-wire"), Some("sg-12-0"));
        assert_eq!(lab_name("sg-12-3"), Some("sg-12-3"));
        for other in ["lock", "sg-", "sg-1", "sg-a-1", "sg-1-b-server", "mysg-1-1"] {
            assert_eq!(lab_name(other), None, "{other}");
        }
    }
}
