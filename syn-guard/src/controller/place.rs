//! Prefixes of both families in one space.

use std::net::IpAddr;

use syn_guard_common::abi::RouteKey;

/// Bits before an IPv4 address in the space of both (RFC 4291 section 2.5.5.2).
const MAPPED: u32 = 96;

/// A prefix, in the order of the lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    bits: u32,
    address: u128,
}

impl Place {
    /// The prefix of an address.
    #[must_use]
    pub fn new(address: IpAddr, length: u8) -> Self {
        let (address, more) = match address {
            IpAddr::V4(address) => (address.to_ipv6_mapped(), MAPPED),
            IpAddr::V6(address) => (address, 0),
        };
        let bits = u32::from(length) + more;
        Self {
            bits,
            address: u128::from(address),
        }
        .shortened(bits)
    }

    /// The prefix around all addresses of a family.
    #[must_use]
    pub fn everybody(ipv6: bool) -> Self {
        let address = if ipv6 {
            IpAddr::from([0; 16])
        } else {
            IpAddr::from([0; 4])
        };
        Self::new(address, 0)
    }

    /// Its bits, 96 more for IPv4.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.bits
    }

    /// Whether it is one of IPv6 addresses.
    #[must_use]
    pub fn is_ipv6(self) -> bool {
        self.bits < MAPPED || self.shortened(MAPPED) != Self::everybody(false)
    }

    /// The prefix of so many bits around it.
    #[must_use]
    pub fn shortened(self, bits: u32) -> Self {
        let bits = bits.min(128);
        let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
        Self {
            bits,
            address: self.address & mask,
        }
    }

    /// The key that the data path looks up.
    #[must_use]
    pub fn route_key(self) -> RouteKey {
        RouteKey {
            bits: self.bits,
            address: IpAddr::from(self.address.to_be_bytes()).into(),
        }
    }
}
