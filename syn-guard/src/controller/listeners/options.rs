//! What is known of the options of listeners: read once from each, and once
//! more a while later, for a program may set them after `listen()`.

use std::collections::{HashMap, HashSet};

use tracing::warn;

use crate::kernel::owners::Owners;
use crate::kernel::sock_diag::Listener;
use crate::kernel::socket_options::{Defaults, SocketOptions};

/// How often a listener is looked at.
const LOOKS: u8 = 2;

/// The options of the listeners that are there.
#[derive(Debug, Default)]
pub struct KnownOptions {
    known: HashMap<u64, Known>,
    said: bool,
}

#[derive(Debug)]
struct Known {
    /// The process that has it open, and as which descriptor.
    holder: Option<(u32, i32)>,
    /// What `sock_diag` told of it when it was looked at.
    told: (u32, u8, u8),
    looks: u8,
    options: Option<SocketOptions>,
}

impl KnownOptions {
    /// Follows the listeners; `owners` has those of the new ones.
    pub fn follow(&mut self, listeners: &[Listener], owners: &Owners, defaults: &Defaults) {
        let there: HashSet<u64> = listeners.iter().map(|listener| listener.inode).collect();
        self.known.retain(|inode, _| there.contains(inode));
        for listener in listeners {
            let inode = listener.inode;
            let told = (listener.rcvbuf, listener.tos, listener.traffic_class);
            let known = self.known.entry(inode).or_insert_with(|| Known {
                holder: owners.descriptor(inode),
                told,
                looks: 0,
                options: None,
            });
            if known.told != told {
                // Somebody sets options right now.
                known.told = told;
                known.looks = 0;
            }
            if known.looks == LOOKS {
                continue;
            }
            known.looks += 1;
            if known.holder.is_none() {
                // Whoever it was has gone, or was not to be seen.
                known.holder = owners.descriptor(inode);
            }
            let read = match known.holder {
                Some((pid, descriptor)) => SocketOptions::read(pid, descriptor, inode, defaults),
                None => Err(std::io::ErrorKind::NotFound.into()),
            };
            match read {
                Ok(options) => known.options = Some(options),
                Err(error) => {
                    known.holder = None;
                    if !self.said && known.options.is_none() && known.looks == LOOKS {
                        self.said = true;
                        warn!(
                            "the socket options of the listener on {} cannot be read ({error}); where a program has set TCP_MAXSEG, TCP_WINDOW_CLAMP or a TTL, cookies do not say so",
                            listener.local
                        );
                    }
                }
            }
        }
    }

    /// The options by inode.
    pub fn by_inode(&self) -> HashMap<u64, SocketOptions> {
        self.known
            .iter()
            .filter_map(|(inode, known)| Some((*inode, known.options?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::TcpSettings;
    use crate::kernel::sock_diag::listeners;
    use socket2::{Domain, Socket, Type};

    #[test]
    fn options_set_late_are_seen_as_well() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.listen(5).unwrap();
        let port = socket.local_addr().unwrap().as_socket().unwrap().port();
        let settings = TcpSettings::read().unwrap();
        let defaults = Defaults {
            ttl: settings.default_ttl,
            hop_limit: settings.ipv6_all_hop_limit,
        };
        let mut known = KnownOptions::default();
        let mut look = || {
            let mut ours = listeners().unwrap();
            ours.retain(|listener| listener.local.port() == port);
            let inode = ours[0].inode;
            known.follow(&ours, &Owners::scan(&HashSet::from([inode])), &defaults);
            known.by_inode()[&inode]
        };
        assert_eq!(look().max_segment, 0);
        socket.set_tcp_mss(1000).unwrap();
        assert_eq!(look().max_segment, 1000);
        // Nobody looks for ever, but what sock_diag tells shows a change.
        socket.set_tcp_mss(900).unwrap();
        assert_eq!(look().max_segment, 1000);
        socket.set_recv_buffer_size(30_000).unwrap();
        let seen = look();
        assert_eq!((seen.max_segment, seen.buffer_locked), (900, Some(true)));
    }
}
