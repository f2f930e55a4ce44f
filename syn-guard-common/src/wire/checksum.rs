//! The Internet checksum (RFC 1071), summed over whole values.

/// A one's complement sum in the making. Values are taken as they stand in a
/// header, big-endian; 2^16 is 1 modulo 2^16 - 1, so a 32-bit value may be
/// added whole.
#[derive(Clone, Copy, Default)]
pub struct Sum(u64);

impl Sum {
    /// Adds a 16- or 32-bit value that starts at an even offset.
    #[inline(always)]
    #[must_use]
    pub const fn add(self, value: u32) -> Self {
        Self(self.0 + value as u64)
    }

    /// Adds an address's words, given in network byte order.
    #[inline(always)]
    #[must_use]
    pub const fn add_words(self, words: &[u32; 4]) -> Self {
        self.add(u32::from_be(words[0]))
            .add(u32::from_be(words[1]))
            .add(u32::from_be(words[2]))
            .add(u32::from_be(words[3]))
    }

    /// The checksum field.
    #[inline(always)]
    #[must_use]
    pub const fn finish(self) -> u16 {
        let sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        !(sum as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_rfc() {
        // RFC 1071 section 3: 00 01 f2 03 f4 f5 f6 f7 sums to ddf2.
        let sum = Sum::default().add(0x0001_f203).add(0xf4f5_f6f7);
        assert_eq!(sum.finish(), !0xddf2);
        let halves = Sum::default()
            .add(0x0001)
            .add(0xf203)
            .add(0xf4f5)
            .add(0xf6f7);
        assert_eq!(halves.finish(), sum.finish());
    }

    #[test]
    fn every_carry_is_folded() {
        let sum = (0..10).fold(Sum::default(), |sum, _| sum.add(u32::MAX));
        assert_eq!(sum.finish(), 0);
    }
}
