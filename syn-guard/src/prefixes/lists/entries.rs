//! What the data path is told of listed prefixes.

use std::collections::HashMap;

use ipnet::IpNet;
use syn_guard_common::abi::{ListKind, PrefixEntry, prefix_flags};

use super::Lists;

impl Lists {
    /// What the data path must know of a prefix.
    #[must_use]
    pub fn entry(&self, prefix: IpNet) -> Option<PrefixEntry> {
        let lasting = self.lasting.get(&prefix);
        match (self.run_time.get(&prefix), lasting) {
            (Some(run_time), lasting) => Some(PrefixEntry {
                ends_ns: run_time.ends_ns,
                afterwards: lasting.map_or(0, |it| it.list as u8),
                flags: prefix_flags::RUN_TIME | plain(prefix, run_time.list).flags,
                ..plain(prefix, run_time.list)
            }),
            (None, Some(lasting)) => Some(plain(prefix, lasting.list)),
            (None, None) => None,
        }
    }

    /// What the data path must know, of `room` prefixes at most, and how many are
    /// left out: what was listed at run time comes first, then what is allowed,
    /// then the configuration's and the files' order.
    #[must_use]
    pub fn entries(&self, room: usize) -> (HashMap<IpNet, PrefixEntry>, usize) {
        let mut prefixes: Vec<_> = self.prefixes().collect();
        let left_out = prefixes.len().saturating_sub(room);
        if left_out > 0 {
            prefixes.sort_by_cached_key(|prefix| self.rank(*prefix));
            prefixes.truncate(room);
        }
        let entries = prefixes
            .into_iter()
            .filter_map(|prefix| Some((prefix, self.entry(prefix)?)))
            .collect();
        (entries, left_out)
    }

    /// The one of these that makes room first: the last of the configuration and the
    /// files.
    #[must_use]
    pub fn last(&self, of: impl IntoIterator<Item = IpNet>) -> Option<IpNet> {
        of.into_iter()
            .map(|prefix| self.rank(prefix))
            .filter(|(place, _)| place.is_some())
            .max()
            .map(|(_, prefix)| prefix)
    }

    /// How many prefixes are listed, those that there is no room for too.
    #[must_use]
    pub fn count(&self) -> usize {
        let run_time = self.run_time.keys();
        let only_run_time = run_time.filter(|prefix| !self.lasting.contains_key(prefix));
        self.lasting.len() + only_run_time.count()
    }

    /// The least comes first where there is no room for all; those at run time
    /// have none.
    fn rank(&self, prefix: IpNet) -> (Option<(ListKind, u16, u32)>, IpNet) {
        let lasting = self.lasting.get(&prefix);
        let lasting = lasting.filter(|_| !self.run_time.contains_key(&prefix));
        (lasting.map(|it| (it.list, it.origin, it.line)), prefix)
    }
}

/// An entry of the configuration or of a file.
pub(super) fn plain(prefix: IpNet, list: ListKind) -> PrefixEntry {
    PrefixEntry {
        list: list as u32,
        // An address has 128 bits at most.
        bits: crate::datapath::prefix_key(prefix).bits as u8,
        flags: match prefix {
            IpNet::V4(_) => 0,
            IpNet::V6(_) => prefix_flags::IPV6,
        },
        ..PrefixEntry::default()
    }
}
