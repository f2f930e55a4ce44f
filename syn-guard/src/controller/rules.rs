//! What netfilter does, read as seldom as can be: a host may have thousands of chains.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::warn;

use crate::datapath::one_line;
use crate::kernel::netfilter::{Netfilter, legacy_tables, virtual_addresses, virtual_services};

/// How old it may be. nftables tells of its changes, and of iptables-legacy's tables and
/// IPVS's services it is looked at each time which there are; what else hangs in netfilter
/// does not tell.
const AT_LATEST: Duration = Duration::from_secs(10);

/// Addresses and ports, 0 for all, whose connections IPVS leads elsewhere: as many as were
/// read.
pub type VirtualAddresses = Arc<BTreeSet<(IpAddr, u16)>>;

/// What netfilter does, as it was read last.
#[derive(Debug, Default)]
pub struct Rules {
    found: Netfilter,
    tables: Vec<String>,
    services: Vec<String>,
    /// What they say of addresses and ports.
    virtual_addresses: VirtualAddresses,
    /// The services are others than before.
    other_services: bool,
    read_at: Option<Instant>,
    /// It was said that it cannot be read.
    said: bool,
}

impl Rules {
    /// nftables tells of a change.
    pub const fn changed(&mut self) {
        self.read_at = None;
    }

    /// What IPVS leads elsewhere, as it was read last.
    pub fn virtual_addresses(&self) -> VirtualAddresses {
        Arc::clone(&self.virtual_addresses)
    }

    /// Whether IPVS leads other connections elsewhere than when this was asked last.
    pub const fn take_other_services(&mut self) -> bool {
        std::mem::replace(&mut self.other_services, false)
    }

    /// What netfilter does now; where that cannot be found out, the worst.
    pub fn read(&mut self) -> Netfilter {
        let tables = legacy_tables();
        let services = virtual_services();
        let fresh = self.read_at.is_some_and(|at| at.elapsed() < AT_LATEST);
        if fresh && tables == self.tables && services == self.services {
            return self.found;
        }
        self.tables = tables;
        if services != self.services {
            self.other_services = true;
            self.virtual_addresses = virtual_addresses(&services).into();
            self.services = services;
        }
        self.found = match Netfilter::read() {
            Ok(found) => {
                self.read_at = Some(Instant::now());
                self.said = false;
                found
            }
            Err(error) => {
                self.read_at = None;
                if !std::mem::replace(&mut self.said, true) {
                    warn!(
                        "whether there are firewall rules and NAT cannot be read ({}): cookies are made as if there were",
                        one_line(&error)
                    );
                }
                Netfilter {
                    nat: true,
                    rules: true,
                }
            }
        };
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_again_once_something_changed() {
        let mut rules = Rules::default();
        rules.read();
        if rules.read_at.is_none() {
            // Not even root may read it here.
            assert!(rules.said && rules.found.nat);
            return;
        }
        // What is remembered counts, as long as nothing changes.
        let other = Netfilter {
            nat: !rules.found.nat,
            ..rules.found
        };
        let right = std::mem::replace(&mut rules.found, other);
        assert_eq!(rules.read(), other);
        rules.changed();
        assert_eq!(rules.read(), right);
        rules.found = other;
        rules.tables.push("a table that is no more".to_owned());
        assert_eq!(rules.read(), right);
        assert!(!rules.take_other_services());
        rules.found = other;
        rules.services.push("a service that is no more".to_owned());
        assert_eq!(rules.read(), right);
        assert!(rules.take_other_services() && !rules.take_other_services());
    }
}
