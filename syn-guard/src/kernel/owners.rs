//! Which process holds a socket.

use std::{
    collections::{HashMap, HashSet},
    fs,
};

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its id.
    pub pid: u32,
    /// Its name (`/proc/PID/comm`), other than printable characters as `?`.
    pub program: String,
}

/// The processes that hold sockets, by inode, and as which descriptor.
#[derive(Clone, Debug, Default)]
pub struct Owners(HashMap<u64, (Owner, i32)>);

impl Owners {
    /// Looks through the open files of every process for these sockets.
    ///
    /// Of several holders the one with the lowest id is kept, most often the
    /// parent of the others. Processes that vanish meanwhile and those of
    /// other users (without CAP_SYS_PTRACE) are passed over.
    #[must_use]
    pub fn scan(inodes: &HashSet<u64>) -> Self {
        let mut found = HashMap::new();
        if inodes.is_empty() {
            return Self(found);
        }
        for pid in pids() {
            let mut owner = None;
            // As the ids rise, the first holder of a socket has the lowest.
            for (inode, descriptor) in sockets(&format!("/proc/{pid}/fd")) {
                if inodes.contains(&inode) {
                    let owner = owner.get_or_insert_with(|| Owner {
                        pid,
                        program: program(pid),
                    });
                    found
                        .entry(inode)
                        .or_insert_with(|| (owner.clone(), descriptor));
                }
            }
        }
        Self(found)
    }

    /// Who holds the socket.
    #[must_use]
    pub fn get(&self, inode: u64) -> Option<&Owner> {
        self.0.get(&inode).map(|(owner, _)| owner)
    }

    /// The process that holds the socket, and as which descriptor.
    #[must_use]
    pub fn descriptor(&self, inode: u64) -> Option<(u32, i32)> {
        self.0
            .get(&inode)
            .map(|(owner, descriptor)| (owner.pid, *descriptor))
    }
}

/// All process ids, rising.
pub(super) fn pids() -> Vec<u32> {
    let mut pids: Vec<u32> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    pids
}

/// The process's name, fit for a terminal.
pub(super) fn program(pid: u32) -> String {
    let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    // A process names itself: an escape sequence must not reach the terminal.
    String::from_utf8_lossy(&name)
        .trim_end_matches('\n')
        .chars()
        .map(|c| {
            if c.is_control() || c == '\u{fffd}' {
                '?'
            } else {
                c
            }
        })
        .collect()
}

/// The sockets among the open files of a process: inode and descriptor.
fn sockets(directory: &str) -> impl Iterator<Item = (u64, i32)> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let inode = socket_inode(fs::read_link(entry.path()).ok()?.to_str()?)?;
            Some((inode, entry.file_name().to_str()?.parse().ok()?))
        })
}

/// `socket:[12345]`
fn socket_inode(target: &str) -> Option<u64> {
    target
        .strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::sock_diag::listeners;
    use std::net::TcpListener;

    #[test]
    fn reads_links() {
        assert_eq!(socket_inode("socket:[12345]"), Some(12345));
        assert_eq!(socket_inode("pipe:[12345]"), None);
        assert_eq!(socket_inode("/dev/null"), None);
    }

    #[test]
    fn finds_ourselves() {
        let ours = TcpListener::bind("127.0.0.1:0").unwrap();
        let local = ours.local_addr().unwrap();
        let inode = listeners()
            .unwrap()
            .into_iter()
            .find(|listener| listener.local == local)
            .unwrap()
            .inode;
        let owners = Owners::scan(&HashSet::from([inode]));
        assert_eq!(owners.get(inode).unwrap().pid, std::process::id());
        assert!(!owners.get(inode).unwrap().program.is_empty());
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&ours);
        assert_eq!(
            owners.descriptor(inode),
            Some((std::process::id(), descriptor))
        );
        assert_eq!(owners.descriptor(1), None);
        assert!(Owners::scan(&HashSet::new()).get(inode).is_none());
    }
}
