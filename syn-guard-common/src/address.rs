//! Addresses as the data path keeps them.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IPv6 address, or an IPv4 address mapped into one (`::ffff:a.b.c.d`,
/// RFC 4291 section 2.5.5.2), as four words in network byte order.
///
/// | offset | size | what |
/// | --- | --- | --- |
/// | 0 | 16 | the address, network byte order |
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Address(pub [u32; 4]);

const _: () = assert!(size_of::<Address>() == 16);

/// The third word of every mapped IPv4 address.
const MAPPED: u32 = 0xffff_u32.to_be();

impl Address {
    /// The mapped form of an IPv4 address given as it stands in a header.
    #[inline(always)]
    #[must_use]
    pub const fn from_ipv4_word(word: u32) -> Self {
        Self([0, 0, MAPPED, word])
    }

    /// Whether this is a mapped IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn is_ipv4(&self) -> bool {
        // One comparison: three would have the verifier follow four ways.
        self.0[0] | self.0[1] | (self.0[2] ^ MAPPED) == 0
    }

    /// Whether a packet may come from this address and an answer may go to it:
    /// the stack drops packets from the unspecified, loopback, multicast and broadcast
    /// addresses (`ip_route_input_slow`, `ipv6_rcv`, Linux 6.18; of 0.0.0.0/8 only the first
    /// address, since Linux 5.3).
    #[inline(always)]
    #[must_use]
    pub const fn may_be_client(&self) -> bool {
        let first = u32::from_be(self.0[3]);
        if self.is_ipv4() {
            let net = first >> 24;
            return first != 0 && net != 127 && net & 0xf0 != 0xe0 && first != u32::MAX;
        }
        let high = u32::from_be(self.0[0]);
        // Unspecified and loopback are all zeroes but for the last bit.
        high >> 24 != 0xff && (high | self.0[1] | self.0[2] | (first & !1)) != 0
    }

    /// The mask of a prefix of `bits` bits; an IPv4 prefix has 96 more than as
    /// it is written.
    #[must_use]
    pub const fn mask(bits: u32) -> Self {
        let ones = match bits {
            0 => 0,
            1..=127 => u128::MAX << (128 - bits),
            _ => u128::MAX,
        };
        Self([
            ((ones >> 96) as u32).to_be(),
            ((ones >> 64) as u32).to_be(),
            ((ones >> 32) as u32).to_be(),
            (ones as u32).to_be(),
        ])
    }

    /// The address without the bits that are not in the mask.
    #[inline(always)]
    #[must_use]
    pub const fn masked(&self, mask: &Self) -> Self {
        Self([
            self.0[0] & mask.0[0],
            self.0[1] & mask.0[1],
            self.0[2] & mask.0[2],
            self.0[3] & mask.0[3],
        ])
    }
}

impl From<Ipv4Addr> for Address {
    fn from(address: Ipv4Addr) -> Self {
        Self::from_ipv4_word(u32::from_ne_bytes(address.octets()))
    }
}

impl From<Ipv6Addr> for Address {
    fn from(address: Ipv6Addr) -> Self {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(address.octets().as_chunks().0) {
            *word = u32::from_ne_bytes(*bytes);
        }
        Self(words)
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => address.into(),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        let mut octets = [0; 16];
        for (bytes, word) in octets.as_chunks_mut().0.iter_mut().zip(address.0) {
            *bytes = word.to_ne_bytes();
        }
        Ipv6Addr::from(octets).to_canonical()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back() {
        for text in ["198.18.0.1", "2001:db8::1", "::", "0.0.0.0"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(IpAddr::from(Address::from(address)), address);
        }
    }

    #[test]
    fn no_answer_goes_where_no_client_can_be() {
        let may = |text: &str| Address::from(text.parse::<IpAddr>().unwrap()).may_be_client();
        for bad in [
            "0.0.0.0",
            "127.0.0.1",
            "224.0.0.1",
            "239.1.2.3",
            "255.255.255.255",
            "::",
            "::1",
            "ff02::1",
            "ff0e::5",
        ] {
            assert!(!may(bad), "{bad}");
        }
        for good in [
            "0.0.0.1",
            "0.255.255.255",
            "1.2.3.4",
            "10.0.0.1",
            "126.1.1.1",
            "128.0.0.1",
            "223.255.255.255",
            "240.0.0.1",
            "255.255.255.254",
            "2001:db8::1",
            "fe80::1",
            "::2",
            "64:ff9b::1.2.3.4",
            "fd00::",
        ] {
            assert!(may(good), "{good}");
        }
    }

    #[test]
    fn a_mask_leaves_the_prefix() {
        let masked = |text: &str, bits: u32| {
            let address: IpAddr = text.parse().unwrap();
            IpAddr::from(Address::from(address).masked(&Address::mask(bits))).to_string()
        };
        assert_eq!(masked("10.1.2.3", 128), "10.1.2.3");
        assert_eq!(masked("10.1.2.3", 96 + 24), "10.1.2.0");
        assert_eq!(masked("10.1.2.3", 96 + 9), "10.0.0.0");
        assert_eq!(masked("2001:db8:1:2:3:4:5:6", 64), "2001:db8:1:2::");
        assert_eq!(masked("2001:db8:1:2:3:4:5:6", 48), "2001:db8:1::");
        assert_eq!(masked("2001:db8::6", 0), "::");
    }
}
