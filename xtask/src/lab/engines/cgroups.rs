//! Groups of processes that container engines make: they are the machine's, in whatever namespace
//! one makes them.

use std::{fs, path::Path, thread, time::Duration};

/// Removes the group of this name with those in it, once their processes have ended.
pub(in crate::lab) fn remove(name: &str) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for mount in mounts.lines() {
        let mut fields = mount.split(' ').skip(1);
        if let (Some(place), Some("cgroup2")) = (fields.next(), fields.next()) {
            remove_all(&Path::new(place).join(name));
        }
    }
}

fn remove_all(group: &Path) {
    // A group's files are no files that one removes.
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_all(&entry.path());
        }
    }
    // The last process may be on its way out.
    for _ in 0..100 {
        if !group.exists() || fs::remove_dir(group).is_ok() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
}
