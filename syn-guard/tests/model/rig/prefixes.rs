//! Listed prefixes, told to both.

use ipnet::IpNet;
use syn_guard::datapath::prefix_key;
use syn_guard_common::abi::{ListKind, PrefixEntry, prefix_flags};

use super::Rig;
use crate::reference::Prefix;

/// A time that is over.
const OVER_NS: u64 = 1;

/// What the program is told of a prefix.
pub fn entry(prefix: IpNet, list: ListKind) -> PrefixEntry {
    PrefixEntry {
        list: list as u32,
        bits: prefix_key(prefix).bits as u8,
        flags: match prefix {
            IpNet::V4(_) => 0,
            IpNet::V6(_) => prefix_flags::IPV6,
        },
        ..PrefixEntry::default()
    }
}

impl Rig {
    /// Lists a prefix.
    pub fn list(&mut self, prefix: &str, list: ListKind) {
        self.tell(prefix, Some(list), list, None);
    }

    /// Lists a prefix whose time is over; `afterwards` it is what the
    /// configuration says.
    pub fn list_ended(&mut self, prefix: &str, list: ListKind, afterwards: Option<ListKind>) {
        self.tell(prefix, None, list, afterwards);
    }

    fn tell(
        &mut self,
        prefix: &str,
        now: Option<ListKind>,
        list: ListKind,
        afterwards: Option<ListKind>,
    ) {
        let prefix: IpNet = prefix.parse().unwrap();
        let told = PrefixEntry {
            ends_ns: now.map_or(OVER_NS, |_| 0),
            afterwards: afterwards.map_or(0, |list| list as u8),
            ..entry(prefix, list)
        };
        let prefixes = &mut self.datapath.maps.prefixes;
        prefixes.change([(prefix, Some(told))]).unwrap();
        self.world.prefixes.push(Prefix {
            network: prefix.network(),
            bits: prefix.prefix_len().into(),
            list: now,
            afterwards,
        });
    }
}
