//! Listeners whose own queue is small, which no sysctl makes larger.

use std::collections::HashSet;

use serde::Serialize;

use crate::kernel::owners::Owners;
use crate::kernel::sock_diag::Listener;

/// A queue below this fills within seconds of a slow flood.
const SMALL: u32 = 512;

/// A listener with a small queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SmallQueue {
    /// Where it listens.
    pub local: String,
    /// The program, and its process's id; none where it is not known.
    pub program: Option<String>,
    /// Half-open connections that it takes.
    pub backlog: u32,
}

/// The listeners that somebody outside can reach and whose queue is small
/// because the program asked for no more than that.
pub fn small_queues(listeners: &[Listener], somaxconn: u64) -> Vec<SmallQueue> {
    let small: Vec<_> = listeners
        .iter()
        .filter(|listener| {
            !listener.local.ip().is_loopback()
                && listener.backlog < SMALL
                && u64::from(listener.backlog) < somaxconn
        })
        .collect();
    let inodes: HashSet<u64> = small.iter().map(|listener| listener.inode).collect();
    let owners = Owners::scan(&inodes);
    let mut found: Vec<_> = small
        .into_iter()
        .map(|listener| SmallQueue {
            local: listener.local.to_string(),
            program: owners
                .get(listener.inode)
                .map(|owner| format!("{} (pid {})", owner.program, owner.pid)),
            backlog: listener.backlog,
        })
        .collect();
    found.sort_by(|one, other| one.local.cmp(&other.local));
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(local: &str, backlog: u32) -> Listener {
        Listener {
            local: local.parse().unwrap(),
            ipv6_socket: false,
            v6_only: false,
            backlog,
            accept_queue: 0,
            rcvbuf: 0,
            tos: 0,
            traffic_class: 0,
            mptcp: false,
            inode: 0,
        }
    }

    #[test]
    fn only_small_ones_that_others_reach_and_the_program_wanted_small() {
        let all = [
            listener("0.0.0.0:80", 128),
            listener("127.0.0.1:81", 128),
            listener("198.18.0.1:82", 4096),
        ];
        let found = small_queues(&all, 4096);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].local, "0.0.0.0:80");
        assert_eq!(found[0].program, None);
        assert!(
            small_queues(&all, 128).is_empty(),
            "somaxconn made it small"
        );
    }
}
