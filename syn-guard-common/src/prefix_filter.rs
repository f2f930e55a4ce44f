//! The filter before the look-up of a prefix: a bit for each group of addresses
//! with a listed prefix, so that whom no prefix can match costs no look-up.
//!
//! | prefixes | a bit for | which one |
//! | --- | --- | --- |
//! | IPv4, shorter than /24 | 16 bits of the address | exact |
//! | IPv4, /24 and longer | 24 bits | by hash |
//! | IPv6, shorter than /32 | 16 bits | exact |
//! | IPv6, /32 to /47 | 32 bits | by hash |
//! | IPv6, /48 and longer | 48 bits | by hash |
//!
//! Of a hundred thousand longer prefixes every eleventh bit is set: so many
//! addresses are looked up in vain.

use core::ops::RangeInclusive;

use crate::abi::RouteKey;
use crate::address::Address;

/// Exact bits of both families, the first ones of the filter: 16 bits of an address each.
pub const EXACT: u32 = 2 << 16;
/// The position of a hashed bit is so many bits long.
const HASHED_BITS: u32 = 20;
/// Words of all bits.
pub const FILTER_WORDS: usize = (EXACT as usize + (1 << HASHED_BITS)) / 64;
/// Bits of a mapped IPv4 address before the address.
const MAPPED_BITS: u32 = 96;

/// The filter, one value of a map.
///
/// | offset | size | what |
/// | --- | --- | --- |
/// | 0 | 8 | prefixes; 0: there is nothing to look for |
/// | 8 | 147456 | a bit for each group of addresses |
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixFilter {
    /// How many prefixes there are.
    pub prefixes: u64,
    /// The bits, 64 a word, the lowest first.
    pub bits: [u64; FILTER_WORDS],
}

const _: () = assert!(size_of::<PrefixFilter>() == 8 + 147_456);

impl Default for PrefixFilter {
    fn default() -> Self {
        Self {
            prefixes: 0,
            bits: [0; FILTER_WORDS],
        }
    }
}

/// The first 32 and the next 16 bits of an address, as in numbers.
#[inline(always)]
const fn first_bits(address: &Address) -> (u32, u32) {
    if address.is_ipv4() {
        (u32::from_be(address.0[3]), 0)
    } else {
        (u32::from_be(address.0[0]), u32::from_be(address.0[1]) >> 16)
    }
}

/// The position of the exact bit.
#[inline(always)]
const fn exact(ipv4: bool, first: u32) -> u32 {
    ((!ipv4 as u32) << 16) | (first >> 16)
}

/// The position of a hashed bit: Fibonacci hashing. A forger who looks for
/// addresses that share a bit gains a look-up, no more.
#[inline(always)]
const fn hashed(kind: u64, bits: u64) -> u32 {
    let hash = (kind << 56 | bits).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    EXACT + (hash >> (64 - HASHED_BITS)) as u32
}

#[inline(always)]
const fn of_24(first: u32) -> u32 {
    hashed(1, (first >> 8) as u64)
}

#[inline(always)]
const fn of_32(first: u32) -> u32 {
    hashed(2, first as u64)
}

#[inline(always)]
const fn of_48(first: u32, next: u32) -> u32 {
    hashed(3, (first as u64) << 16 | next as u64)
}

/// Positions of the bits of which one is set if a prefix may match the address;
/// those of an IPv4 address are two, of which one stands there twice.
#[inline(always)]
#[must_use]
pub const fn positions(address: &Address) -> [u32; 3] {
    let (first, next) = first_bits(address);
    if address.is_ipv4() {
        [exact(true, first), of_24(first), of_24(first)]
    } else {
        [exact(false, first), of_32(first), of_48(first, next)]
    }
}

/// Positions of the bits that a prefix sets.
#[must_use]
pub const fn prefix_positions(key: &RouteKey) -> RangeInclusive<u32> {
    let (first, next) = first_bits(&key.address);
    let ipv4 = key.bits >= MAPPED_BITS && key.address.is_ipv4();
    let bits = if ipv4 {
        key.bits - MAPPED_BITS
    } else {
        key.bits
    };
    let one = match (ipv4, bits) {
        (true, 24..) => of_24(first),
        (false, 48..) => of_48(first, next),
        (false, 32..) => of_32(first),
        _ => exact(ipv4, first),
    };
    // A prefix of less than 16 bits has several groups of addresses.
    let more = match bits {
        0..16 => (1 << (16 - bits)) - 1,
        _ => 0,
    };
    one..=one + more
}

impl PrefixFilter {
    /// Sets the bits of a prefix.
    pub fn add(&mut self, key: &RouteKey) {
        self.prefixes += 1;
        for position in prefix_positions(key) {
            if let Some(word) = self.bits.get_mut(position as usize / 64) {
                *word |= 1 << (position % 64);
            }
        }
    }

    /// Whether a prefix may match the address: what the data path asks.
    #[must_use]
    pub fn may_match(&self, address: &Address) -> bool {
        self.prefixes != 0
            && positions(address).iter().any(|position| {
                self.bits
                    .get(*position as usize / 64)
                    .is_some_and(|word| word >> (position % 64) & 1 != 0)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use proptest::prelude::*;

    fn key(network: IpAddr, bits: u32) -> RouteKey {
        RouteKey {
            bits: if network.is_ipv4() { bits + 96 } else { bits },
            address: network.into(),
        }
    }

    fn filter(keys: &[RouteKey]) -> Box<PrefixFilter> {
        let mut filter = Box::<PrefixFilter>::default();
        keys.iter().for_each(|key| filter.add(key));
        filter
    }

    fn ipv4_network(any: u32, bits: u32) -> u32 {
        any & u32::MAX.checked_shl(32 - bits).unwrap_or(0)
    }

    fn ipv6_network(any: u128, bits: u32) -> u128 {
        any & u128::MAX.checked_shl(128 - bits).unwrap_or(0)
    }

    proptest! {
        #[test]
        fn no_ipv4_address_inside_a_prefix_is_missed(any: u32, host: u32, bits in 0_u32..=32) {
            let network = ipv4_network(any, bits);
            let mask = ipv4_network(u32::MAX, bits);
            let inside = Ipv4Addr::from_bits(network | (host & !mask));
            let key = key(Ipv4Addr::from_bits(network).into(), bits);
            prop_assert!(filter(&[key]).may_match(&inside.into()));
        }

        #[test]
        fn no_ipv6_address_inside_a_prefix_is_missed(any: u128, host: u128, bits in 0_u32..=128) {
            let network = ipv6_network(any, bits);
            let mask = ipv6_network(u128::MAX, bits);
            let inside = Address::from(Ipv6Addr::from_bits(network | (host & !mask)));
            // Mapped addresses are IPv4's, and no prefix of IPv6 means them.
            prop_assume!(!inside.is_ipv4());
            let key = key(Ipv6Addr::from_bits(network).into(), bits);
            prop_assert!(filter(&[key]).may_match(&inside));
        }

        #[test]
        fn positions_are_those_of_bits(any: [u32; 4]) {
            for position in positions(&Address(any)) {
                prop_assert!((position as usize) < FILTER_WORDS * 64);
            }
        }
    }

    #[test]
    fn short_prefixes_match_exactly_by_16_bits_and_by_family() {
        let may = |networks: &[(&str, u32)], address: &str| {
            let keys: Vec<_> = networks
                .iter()
                .map(|(network, bits)| key(network.parse().unwrap(), *bits))
                .collect();
            filter(&keys).may_match(&address.parse::<IpAddr>().unwrap().into())
        };
        let ten = [("10.0.0.0", 8)];
        assert!(may(&ten, "10.255.1.2"));
        assert!(!may(&ten, "11.0.0.1"));
        assert!(!may(&ten, "9.255.255.255"));
        assert!(!may(&ten, "a00::1"));
        assert!(may(&[("0.0.0.0", 0)], "255.255.255.255"));
        assert!(!may(&[("0.0.0.0", 0)], "2001:db8::1"));
        assert!(may(&[("::", 0)], "ffff::1"));
        assert!(!may(&[("::", 0)], "192.0.2.1"));
        assert!(!may(&[("2001:db8::", 31)], "2002:db8::1"));
        assert!(!may(&[("192.0.2.0", 24)], "192.0.3.1"));
        assert!(!may(&[("2001:db8:1::", 48)], "2001:db8:2::1"));
        assert!(!may(&[], "192.0.2.1"));
    }

    #[test]
    fn of_a_hundred_thousand_prefixes_few_addresses_are_looked_up_in_vain() {
        let keys: Vec<_> = (0..100_000_u32)
            .map(|index| {
                let any = index.wrapping_mul(2_654_435_761);
                key(Ipv4Addr::from_bits(any & !0xff).into(), 24)
            })
            .collect();
        let filter = filter(&keys);
        let listed: std::collections::HashSet<_> = keys
            .iter()
            .map(|key| u32::from_be(key.address.0[3]))
            .collect();
        let others: Vec<_> = (0..100_000_u32)
            .map(|index| index.wrapping_mul(40_503_u32) << 8 | 7)
            .filter(|address| !listed.contains(&(address & !0xff)))
            .collect();
        let in_vain = others
            .iter()
            .filter(|address| filter.may_match(&Ipv4Addr::from_bits(**address).into()))
            .count();
        let share = in_vain as f64 / others.len() as f64;
        assert!((0.05..0.15).contains(&share), "{share}");
    }
}
