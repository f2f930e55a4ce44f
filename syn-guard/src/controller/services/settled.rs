//! What the data path was told all of: while it holds nothing is to be told.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::controller::listeners::Host;
use crate::kernel::sock_diag::{AcceptQueue, Listener};

/// What services, their limits and their listeners were made from.
#[derive(Debug)]
pub(super) struct Settled {
    host: Host,
    listeners: Vec<Listener>,
    /// Ports of all listening sockets by inode, those of proxies among them.
    sockets: HashMap<u64, u16>,
    /// Lives of half-open connections: now, and usually.
    lives: (u64, u64),
}

impl Settled {
    pub(super) fn new(
        host: &Host,
        listeners: &[Listener],
        sockets: HashMap<u64, u16>,
        lives: (u64, u64),
    ) -> Self {
        Self {
            sockets,
            host: host.clone(),
            listeners: listeners.to_vec(),
            lives,
        }
    }

    /// Whether it is still so, and no accept queue is or was full: what is told of
    /// these holds for a moment only.
    pub(super) fn holds(&self, host: &Host, listeners: &[Listener], lives: (u64, u64)) -> bool {
        self.lives == lives
            && self.listeners.len() == listeners.len()
            && self.listeners.iter().zip(listeners).all(same)
            && self.host == *host
    }

    /// Takes the accept queues of now, at some `ports` or at all: the ports at which
    /// one is or was full; none where other sockets listen there than before, or with
    /// another backlog.
    pub(super) fn follow(
        &mut self,
        queues: &HashMap<u64, AcceptQueue>,
        ports: Option<&HashSet<u16>>,
    ) -> Option<BTreeSet<u16>> {
        let is_meant = |port: u16| ports.is_none_or(|ports| ports.contains(&port));
        let meant = self.sockets.iter().filter(|(_, port)| is_meant(**port));
        if meant.count() != queues.len() {
            return None;
        }
        let mut full = BTreeSet::new();
        for listener in &mut self.listeners {
            let port = listener.local.port();
            if !is_meant(port) {
                continue;
            }
            let queue = queues.get(&listener.inode)?;
            if queue.backlog != listener.backlog {
                return None;
            }
            let was_full = listener.is_full();
            listener.accept_queue = queue.waiting;
            if was_full || listener.is_full() {
                full.insert(port);
            }
        }
        Some(full)
    }

    /// The listeners on these ports.
    pub(super) fn listeners(&self, ports: &BTreeSet<u16>) -> Vec<Listener> {
        let on_them = |listener: &&Listener| ports.contains(&listener.local.port());
        self.listeners.iter().filter(on_them).copied().collect()
    }
}

/// Whether a listener's entries are the same.
fn same((old, new): (&Listener, &Listener)) -> bool {
    let empty = |listener: &Listener| Listener {
        accept_queue: 0,
        ..*listener
    };
    !old.is_full() && !new.is_full() && empty(old) == empty(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::listeners::tests::{host, listener};

    const LIVES: (u64, u64) = (63, 63);

    fn three() -> Vec<Listener> {
        (1..4_u16)
            .map(|number| Listener {
                inode: number.into(),
                ..listener(&format!("0.0.0.0:{}", 79 + number), 10, 0)
            })
            .collect()
    }

    fn settled(listeners: &[Listener]) -> Settled {
        let sockets = listeners.iter().map(|it| (it.inode, it.local.port()));
        Settled::new(&host(), listeners, sockets.collect(), LIVES)
    }

    #[test]
    fn connections_that_wait_change_nothing_until_a_queue_is_full() {
        let (host, mut now) = (host(), three());
        let before = settled(&now);
        assert!(before.holds(&host, &now, LIVES));
        now[1].accept_queue = 10;
        assert!(before.holds(&host, &now, LIVES));
        now[1].accept_queue = 11;
        assert!(!before.holds(&host, &now, LIVES));
        assert!(!settled(&now).holds(&host, &now, LIVES));
    }

    #[test]
    fn whatever_else_changes_is_news() {
        let (host, now) = (host(), three());
        let settled = settled(&now);
        assert!(!settled.holds(&host, &now[..2], LIVES));
        assert!(!settled.holds(&host, &now, (7, 63)));
        let mut other = now.clone();
        other[2].rcvbuf += 1;
        assert!(!settled.holds(&host, &other, LIVES));
        let mut moved = host.clone();
        moved.own.pop();
        assert!(!settled.holds(&moved, &now, LIVES));
    }

    #[test]
    fn of_accept_queues_only_full_ones_are_told() {
        let queue = |waiting| AcceptQueue {
            waiting,
            backlog: 10,
        };
        let queues = |waiting: [u32; 3]| -> HashMap<u64, AcceptQueue> {
            (1..).zip(waiting.map(queue)).collect()
        };
        let mut settled = settled(&three());
        let mut follow = |waiting| settled.follow(&queues(waiting), None);
        assert_eq!(follow([3, 0, 10]), Some([].into()));
        assert_eq!(follow([3, 11, 0]), Some([81].into()));
        // It is told, too, that it is not full any more.
        assert_eq!(follow([3, 0, 0]), Some([81].into()));
        assert_eq!(follow([3, 0, 0]), Some([].into()));
        let listeners = settled.listeners(&[81].into());
        assert_eq!(listeners.len(), 1);
        // It listens anew, with more room.
        let more = AcceptQueue {
            waiting: 0,
            backlog: 20,
        };
        let other = [(1, queue(0)), (2, more), (3, queue(0))].into();
        assert_eq!(settled.follow(&other, None), None);
        // Somebody came or went.
        let two: HashMap<_, _> = [(1, queue(0)), (3, queue(11))].into();
        assert_eq!(settled.follow(&two, None), None);
        let others = [(1, queue(0)), (2, queue(0)), (4, queue(0))].into();
        assert_eq!(settled.follow(&others, None), None);
        // At the ports that are looked at, nobody did.
        let at = |ports: &[u16]| Some(ports.iter().copied().collect::<HashSet<_>>());
        let ports = at(&[80, 82]);
        assert_eq!(settled.follow(&two, ports.as_ref()), Some([82].into()));
    }
}
