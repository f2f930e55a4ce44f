//! The base chains of nftables: those that packets come by.

use netlink_sys::protocols::NETLINK_NETFILTER;

use super::super::netlink::{NetlinkError, attributes, collect};
use super::hooks::{NFGENMSG, is_not_there};

/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETCHAIN`.
const GET_CHAIN: u16 = 10 << 8 | 4;
/// `NFTA_CHAIN_HOOK`, which only a base chain has, and `NFTA_CHAIN_TYPE`.
const HOOK: u16 = 4;
const TYPE: u16 = 7;

/// A base chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// `NFPROTO_...`.
    pub family: u8,
    /// `filter`, `nat` or `route`.
    pub kind: Option<String>,
}

/// The base chains of this network namespace, of all families.
///
/// # Errors
/// The kernel refuses to tell, or they keep changing.
pub fn chains() -> Result<Vec<Chain>, NetlinkError> {
    // struct nfgenmsg: all families.
    let found = collect(
        NETLINK_NETFILTER,
        GET_CHAIN,
        &[0; NFGENMSG],
        |_, payload| {
            let mut chain = Chain {
                family: payload.first().copied().unwrap_or_default(),
                kind: None,
            };
            let mut is_base = false;
            for attribute in attributes(payload, NFGENMSG) {
                let attribute = attribute?;
                match attribute.kind() {
                    HOOK => is_base = true,
                    TYPE => {
                        let name = attribute.value().split(|byte| *byte == 0).next();
                        chain.kind = name.map(|name| String::from_utf8_lossy(name).into_owned());
                    }
                    _ => {}
                }
            }
            Ok(is_base.then_some(chain))
        },
    );
    match found {
        Err(error) if is_not_there(&error) => Ok(Vec::new()),
        found => found,
    }
}
