//! The Internet checksum (RFC 1071), summed over whole values.

/// A one's complement sum in the making. Its order of bytes does not matter (RFC
/// 1071 section 2), so words are summed as they stand; 2^16 is 1 modulo 2^16 - 1,
/// so 32 bits may be added at once.
#[derive(Clone, Copy, Default)]
pub struct Sum(u64);

impl Sum {
    /// Adds a 16- or 32-bit number that a header holds at an even offset.
    #[inline(always)]
    #[must_use]
    pub const fn add(self, value: u32) -> Self {
        self.add_word(value.to_be())
    }

    /// Adds four bytes as they stand at an even offset.
    #[inline(always)]
    #[must_use]
    pub const fn add_word(self, word: u32) -> Self {
        Self(self.0 + word as u64)
    }

    /// Adds an address's words, given in network byte order.
    #[inline(always)]
    #[must_use]
    pub const fn add_words(self, words: &[u32; 4]) -> Self {
        self.add_word(words[0])
            .add_word(words[1])
            .add_word(words[2])
            .add_word(words[3])
    }

    /// The checksum field.
    #[inline(always)]
    #[must_use]
    pub const fn finish(self) -> u16 {
        let sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        u16::from_be(!(sum as u16))
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
