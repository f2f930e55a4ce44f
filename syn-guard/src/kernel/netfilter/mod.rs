//! What netfilter does in this network namespace: whether there is NAT, whether there
//! are rules at all, and notice of changes.
//!
//! Four sources, since no one of them tells all: the chains of nftables, the tables of
//! iptables-legacy, the virtual services of IPVS, and the list of hooks, which not every
//! kernel has.

mod chains;
mod changes;
mod hooks;
mod ipvs;
mod legacy;

pub use chains::{Chain, chains};
pub use changes::RuleChanges;
pub use hooks::{Hook, hooks};
pub use ipvs::{addresses as virtual_addresses, services as virtual_services};
pub use legacy::tables as legacy_tables;

use super::netlink::NetlinkError;

/// `NFPROTO_IPV4` and `NFPROTO_IPV6` of `linux/netfilter.h`.
const FAMILIES: [u8; 2] = [2, 10];
/// `NF_INET_PRE_ROUTING`, `_LOCAL_IN`, `_LOCAL_OUT` and `_POST_ROUTING`: the hooks
/// that a SYN to this host and its answer come by.
const HOOKS: [u32; 4] = [0, 1, 3, 4];
const LOCAL_IN: u32 = 1;

/// Functions that no packet is changed, dropped or led elsewhere by, as the kernel
/// calls them (6.18): those of conntrack and its defragmentation, which let pass what
/// they cannot make sense of, and those of security modules, which look at labels that
/// only rules give.
const HARMLESS: [&str; 14] = [
    "ipv4_conntrack_in",
    "ipv4_conntrack_local",
    "ipv6_conntrack_in",
    "ipv6_conntrack_local",
    "ipv4_conntrack_defrag",
    "ipv6_defrag",
    "nf_confirm",
    "ipv4_confirm",
    "ipv6_confirm",
    "selinux_ip_forward",
    "selinux_ip_output",
    "selinux_ip_postroute",
    "apparmor_ip_postroute",
    "smack_ip_output",
];
/// The functions that hang NAT into the way to a socket.
const NAT: [&str; 2] = ["nf_nat_ipv4_local_in", "nf_nat_ipv6_local_in"];

/// What netfilter does here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Netfilter {
    /// There is NAT, for either family.
    pub nat: bool,
    /// There are rules by which a SYN or its answer may be dropped, changed or led to
    /// another socket or host.
    pub rules: bool,
}

impl Netfilter {
    /// Looks at this network namespace. What the kernel does not have is not there.
    ///
    /// # Errors
    /// The kernel refuses to tell, or keeps changing.
    pub fn read() -> Result<Self, NetlinkError> {
        let mut found = Self::default();
        for chain in chains()? {
            found.add_chain(&chain);
        }
        for table in legacy_tables() {
            found.rules = true;
            found.nat |= table == "nat";
        }
        found.rules |= !virtual_services().is_empty();
        for family in FAMILIES {
            for at in HOOKS {
                for hook in hooks(family, at)? {
                    found.add_hook(at, &hook);
                }
            }
        }
        Ok(found)
    }

    fn add_chain(&mut self, chain: &Chain) {
        self.rules = true;
        self.nat |= chain.kind.as_deref() == Some("nat");
    }

    fn add_hook(&mut self, at: u32, hook: &Hook) {
        let function = hook.function.as_deref().unwrap_or_default();
        self.nat |= NAT.iter().any(|name| function.starts_with(name))
            || (at == LOCAL_IN && hook.module.as_deref() == Some("nf_nat"));
        self.rules |= !HARMLESS.contains(&function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(function: &str, module: Option<&str>) -> Hook {
        Hook {
            priority: 0,
            function: Some(function.to_owned()),
            module: module.map(str::to_owned),
        }
    }

    fn found(hooks: &[(u32, Hook)]) -> Netfilter {
        let mut found = Netfilter::default();
        for (at, hook) in hooks {
            found.add_hook(*at, hook);
        }
        found
    }

    #[test]
    fn conntrack_and_labels_are_no_rule_and_nat_is_one() {
        let conntrack = [
            (0, hook("ipv4_conntrack_defrag", Some("nf_defrag_ipv4"))),
            (0, hook("ipv4_conntrack_in", Some("nf_conntrack"))),
            (1, hook("nf_confirm", Some("nf_conntrack"))),
            // As on each host with AppArmor.
            (4, hook("apparmor_ip_postroute", None)),
        ];
        assert_eq!(found(&conntrack), Netfilter::default());
        let filter = [(1, hook("nft_do_chain_inet", Some("nf_tables")))];
        let rules = Netfilter {
            nat: false,
            rules: true,
        };
        assert_eq!(found(&filter), rules);
        for nat in [hook("nf_nat_ipv6_local_in", None), hook("", Some("nf_nat"))] {
            let both = Netfilter {
                nat: true,
                rules: true,
            };
            assert_eq!(found(&[(1, nat)]), both);
        }
    }

    #[test]
    fn a_chain_of_nftables_is_a_rule_and_one_of_nat_is_nat() {
        for (kind, nat) in [("filter", false), ("nat", true), ("route", false)] {
            let mut found = Netfilter::default();
            found.add_chain(&Chain {
                family: 2,
                kind: Some(kind.to_owned()),
            });
            assert_eq!(found, Netfilter { nat, rules: true }, "{kind}");
        }
    }

    #[test]
    fn what_the_kernel_does_not_name_counts_as_a_rule() {
        let unnamed = Hook {
            priority: 0,
            function: None,
            module: None,
        };
        assert!(found(&[(0, unnamed)]).rules);
    }
}
