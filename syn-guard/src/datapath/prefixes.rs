//! The maps of listed prefixes: what they hold is remembered, so that only what
//! differs is changed.

use std::collections::HashMap;
use std::net::IpAddr;

use aya::Ebpf;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, MapData, MapError};
use ipnet::IpNet;
use syn_guard_common::abi::{ListKind, MAX_PREFIXES, PrefixEntry, RouteKey};
use syn_guard_common::address::Address;
use syn_guard_common::prefix_filter::PrefixFilter;

use super::DataPathError;
use super::maps::{broken, take};

/// Bits of a mapped IPv4 address before the address.
const MAPPED_BITS: u32 = 96;

/// The listed prefixes.
pub struct PrefixMaps {
    entries: LpmTrie<MapData, Address, PrefixEntry>,
    filter_map: Array<MapData, PrefixFilter>,
    filter: Box<PrefixFilter>,
    held: HashMap<IpNet, PrefixEntry>,
    /// Prefixes of each list, as in [`ListKind::ALL`].
    counts: [u64; ListKind::ALL.len()],
}

/// How many prefixes became listed, another or unlisted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Listed that were not.
    pub added: usize,
    /// On another list, or for another time.
    pub changed: usize,
    /// Not listed any more.
    pub removed: usize,
}

impl PrefixMaps {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, DataPathError> {
        let entries: LpmTrie<_, Address, PrefixEntry> = take!(ebpf, "PREFIXES");
        // What an earlier controller left.
        let found: Vec<_> = entries
            .iter()
            .flatten()
            .take(MAX_PREFIXES as usize)
            .map(|(key, entry)| (prefix(key.prefix_len(), key.data().into()), entry))
            .collect();
        let mut maps = Self {
            entries,
            filter_map: take!(ebpf, "PREFIX_FILTER"),
            filter: Box::default(),
            held: HashMap::new(),
            counts: Default::default(),
        };
        for (prefix, entry) in found {
            maps.remember(prefix, Some(entry));
        }
        maps.compute_filter();
        Ok(maps)
    }

    /// What the data path goes by.
    #[must_use]
    pub const fn held(&self) -> &HashMap<IpNet, PrefixEntry> {
        &self.held
    }

    /// How many prefixes of a list the data path goes by.
    #[must_use]
    pub fn count(&self, list: ListKind) -> u64 {
        let counts = ListKind::ALL.into_iter().zip(self.counts);
        counts.filter(|it| it.0 == list).map(|it| it.1).sum()
    }

    /// Makes the data path go by `wanted`, and by nothing else.
    ///
    /// # Errors
    /// When the kernel refuses: there are too many, say. What could be changed
    /// is.
    pub fn replace(
        &mut self,
        wanted: &HashMap<IpNet, PrefixEntry>,
    ) -> Result<Changed, DataPathError> {
        let mut changed = Changed::default();
        let held = self.held.keys().copied();
        let unwanted: Vec<_> = held.filter(|it| !wanted.contains_key(it)).collect();
        for prefix in unwanted {
            self.take_out(prefix);
            changed.removed += 1;
        }
        let mut differing: Vec<_> = wanted
            .iter()
            .filter(|(prefix, entry)| self.held.get(prefix) != Some(entry))
            .collect();
        // Neighbours in the tree one after the other: the kernel finds their way
        // in the caches.
        differing.sort_unstable_by_key(|(prefix, _)| **prefix);
        let mut result = Ok(());
        for (prefix, entry) in differing {
            if self.held.contains_key(prefix) {
                changed.changed += 1;
            } else {
                changed.added += 1;
            }
            result = self.put(*prefix, *entry);
            if result.is_err() {
                break;
            }
        }
        // Also when it is only half done: what is there must be found.
        self.compute_filter();
        self.write_filter()?;
        result.map(|()| changed)
    }

    /// Lists prefixes, or takes them out: the filter is written once for all.
    ///
    /// # Errors
    /// When the kernel refuses one, the first of them; the others are changed.
    pub fn change(
        &mut self,
        changes: impl IntoIterator<Item = (IpNet, Option<PrefixEntry>)>,
    ) -> Result<(), DataPathError> {
        let mut result = Ok(());
        let mut removed = false;
        for (prefix, entry) in changes {
            let Some(entry) = entry else {
                self.take_out(prefix);
                removed = true;
                continue;
            };
            let new = !self.held.contains_key(&prefix);
            match self.put(prefix, entry) {
                Ok(()) if new => self.filter.add(&key(prefix)),
                done => result = result.and(done),
            }
        }
        // A bit may stand for others, too.
        if removed {
            self.compute_filter();
        }
        self.write_filter()?;
        result
    }

    fn put(&mut self, prefix: IpNet, entry: PrefixEntry) -> Result<(), DataPathError> {
        let key = key(prefix);
        let key = Key::new(key.bits, key.address);
        let mut result = self.entries.insert(&key, entry, 0);
        // Before Linux 6.13 a full map refuses another value of a key, too.
        if result.as_ref().is_err_and(no_room) && self.held.contains_key(&prefix) {
            self.take_out(prefix);
            result = self.entries.insert(&key, entry, 0);
        }
        match result {
            Ok(()) => {
                self.remember(prefix, Some(entry));
                Ok(())
            }
            Err(error) if no_room(&error) => Err(broken(
                "PREFIXES",
                &format!("there are {MAX_PREFIXES} prefixes already: list fewer"),
            )),
            Err(error) => Err(broken("PREFIXES", &error)),
        }
    }

    fn take_out(&mut self, prefix: IpNet) {
        let key = key(prefix);
        // Gone already is as good.
        let _ = self.entries.remove(&Key::new(key.bits, key.address));
        self.remember(prefix, None);
    }

    /// What the map holds for a prefix now.
    fn remember(&mut self, prefix: IpNet, entry: Option<PrefixEntry>) {
        let before = match entry {
            Some(entry) => self.held.insert(prefix, entry),
            None => self.held.remove(&prefix),
        };
        for (list, count) in ListKind::ALL.into_iter().zip(&mut self.counts) {
            let one = |it: PrefixEntry| u64::from(it.list == list as u32);
            *count += entry.map_or(0, one);
            *count -= before.map_or(0, one);
        }
    }

    fn compute_filter(&mut self) {
        *self.filter = PrefixFilter::default();
        for prefix in self.held.keys() {
            self.filter.add(&key(*prefix));
        }
    }

    /// Tells the data path whom a prefix may match; a prefix is listed from then
    /// on.
    fn write_filter(&mut self) -> Result<(), DataPathError> {
        self.filter_map
            .set(0, self.filter.as_ref(), 0)
            .map_err(|error| broken("PREFIX_FILTER", &error))
    }
}

/// Whether the map is full.
fn no_room(error: &MapError) -> bool {
    matches!(error, MapError::SyscallError(error) if error.io_error.raw_os_error() == Some(libc::ENOSPC))
}

/// The map's key for a prefix.
#[must_use]
pub fn key(prefix: IpNet) -> RouteKey {
    let bits = u32::from(prefix.prefix_len());
    RouteKey {
        bits: match prefix {
            IpNet::V4(_) => bits + MAPPED_BITS,
            IpNet::V6(_) => bits,
        },
        address: prefix.network().into(),
    }
}

/// The prefix of a map's key.
fn prefix(bits: u32, address: IpAddr) -> IpNet {
    let bits = if address.is_ipv4() {
        bits.saturating_sub(MAPPED_BITS)
    } else {
        bits
    };
    // Keys are made of prefixes: an address has as many bits.
    IpNet::new(address, bits as u8).unwrap_or_else(|_| address.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back() {
        for text in [
            "0.0.0.0/0",
            "192.0.2.0/24",
            "::/0",
            "::/96",
            "2001:db8::/32",
        ] {
            let expected: IpNet = text.parse().unwrap();
            let key = key(expected);
            assert_eq!(prefix(key.bits, key.address.into()), expected);
        }
        assert_eq!(key("192.0.2.0/24".parse().unwrap()).bits, 120);
    }
}
