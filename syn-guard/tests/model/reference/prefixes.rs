//! Who is on which list.

use std::net::IpAddr;

use syn_guard_common::abi::ListKind;

use super::world::{World, within};

/// A listed prefix.
#[derive(Clone, Copy, Debug)]
pub struct Prefix {
    pub network: IpAddr,
    pub bits: u32,
    /// None: its time is over.
    pub list: Option<ListKind>,
    /// What the configuration says of the same prefix.
    pub afterwards: Option<ListKind>,
}

impl World {
    /// What the longest prefix says that says something.
    pub fn list_of(&self, client: IpAddr) -> Option<ListKind> {
        let says = |prefix: &Prefix| prefix.list.or(prefix.afterwards);
        self.prefixes
            .iter()
            .filter(|prefix| within(client, prefix.network, prefix.bits))
            .filter(|prefix| says(prefix).is_some())
            .max_by_key(|prefix| prefix.bits)
            .and_then(says)
    }
}
