//! The maps of listed prefixes: what they hold is remembered, so that only what
//! differs is changed.

use std::collections::HashMap;
use std::net::IpAddr;

use aya::Ebpf;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, MapData, MapError};
use ipnet::IpNet;
use syn_guard_common::abi::{MAX_PREFIXES, PrefixEntry, RouteKey};
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
        let held = entries
            .iter()
            .flatten()
            .take(MAX_PREFIXES as usize)
            .map(|(key, entry)| (prefix(key.prefix_len(), key.data().into()), entry))
            .collect();
        Ok(Self {
            entries,
            filter_map: take!(ebpf, "PREFIX_FILTER"),
            filter: Box::default(),
            held,
        })
    }

    /// What the data path goes by.
    #[must_use]
    pub const fn held(&self) -> &HashMap<IpNet, PrefixEntry> {
        &self.held
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
        self.write_filter()?;
        result.map(|()| changed)
    }

    /// Lists a prefix, or takes it out.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn change(
        &mut self,
        prefix: IpNet,
        entry: Option<PrefixEntry>,
    ) -> Result<(), DataPathError> {
        match entry {
            Some(entry) => self.put(prefix, entry)?,
            None => self.take_out(prefix),
        }
        self.write_filter()
    }

    fn put(&mut self, prefix: IpNet, entry: PrefixEntry) -> Result<(), DataPathError> {
        let key = key(prefix);
        let result = self
            .entries
            .insert(&Key::new(key.bits, key.address), entry, 0);
        match result {
            Ok(()) => {
                self.held.insert(prefix, entry);
                Ok(())
            }
            Err(MapError::SyscallError(error))
                if error.io_error.raw_os_error() == Some(libc::ENOSPC) =>
            {
                Err(broken(
                    "PREFIXES",
                    &format!("there are more than {MAX_PREFIXES} prefixes: list fewer"),
                ))
            }
            Err(error) => Err(broken("PREFIXES", &error)),
        }
    }

    fn take_out(&mut self, prefix: IpNet) {
        let key = key(prefix);
        // Gone already is as good.
        let _ = self.entries.remove(&Key::new(key.bits, key.address));
        self.held.remove(&prefix);
    }

    /// Tells the data path whom a prefix may match; a prefix is listed from then
    /// on.
    fn write_filter(&mut self) -> Result<(), DataPathError> {
        *self.filter = PrefixFilter::default();
        for prefix in self.held.keys() {
            self.filter.add(&key(*prefix));
        }
        self.filter_map
            .set(0, self.filter.as_ref(), 0)
            .map_err(|error| broken("PREFIX_FILTER", &error))
    }
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
