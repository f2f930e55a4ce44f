//! How many sources a sample of SYNs came from: linear counting over a bitmap.
//!
//! Each source sets one bit of many. Of `n` sources at random every bit stays
//! clear with probability `e^(-n/m)`, so the share of clear bits tells `n`
//! (Whang, Vander-Zanden, Taylor, "A linear-time probabilistic counting algorithm
//! for database applications", 1990). Bits of sources that completed a handshake say nothing of
//! the others and are left out of both sides of that share.

use crate::abi::{SAMPLE_BITS, SAMPLE_WORDS, SourceSample};

/// Bits that completed handshakes must leave: fewer are too few to count by.
const LEAST_LEFT: u32 = SAMPLE_BITS as u32 / 32;

/// What a second's samples say of the sources of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Sources {
    /// SYNs in the samples.
    pub syns: u64,
    /// Different sources among them that completed no handshake.
    pub unanswered: u64,
}

impl Sources {
    /// From the samples of all CPUs. Each CPU samples SYNs of its own, but a
    /// handshake may complete on another one. Where those that completed filled
    /// the bitmap, the samples say nothing.
    #[must_use]
    pub fn of(samples: &[SourceSample]) -> Self {
        let mut answered = [0; SAMPLE_WORDS];
        for sample in samples {
            for (all, word) in answered.iter_mut().zip(sample.answered) {
                *all |= word;
            }
        }
        let mut sources = Self::default();
        let left: u32 = answered.iter().map(|word: &u64| word.count_zeros()).sum();
        if left < LEAST_LEFT {
            return sources;
        }
        for sample in samples {
            sources.syns += sample.syns;
            sources.unanswered += count(&sample.seen, &answered).min(sample.syns);
        }
        sources
    }
}

/// Different sources that set a bit of `seen`, without those that set one of
/// `answered`.
#[must_use]
pub fn count(seen: &[u64; SAMPLE_WORDS], answered: &[u64; SAMPLE_WORDS]) -> u64 {
    let (mut left, mut clear) = (0, 0);
    for (seen, answered) in seen.iter().zip(answered) {
        left += (!answered).count_ones();
        clear += (!answered & !seen).count_ones();
    }
    if left == 0 {
        return 0;
    }
    // No clear bit: more sources than can be told, at least this many.
    let ratio = (u64::from(left) << 32) / u64::from(clear.max(1));
    let bits = SAMPLE_BITS as u128;
    ((bits * u128::from(ln_q32(ratio)) + (1 << 31)) >> 32) as u64
}

/// The natural logarithm of a number of at least 1, both in units of 2^-32.
/// Square by square one more binary digit of the logarithm to base 2.
fn ln_q32(value: u64) -> u64 {
    /// ln 2.
    const LN_2: u64 = 2_977_044_472;
    const ONE: u64 = 1 << 32;
    let whole = value.max(ONE).ilog2() - 32;
    let mut rest = value.max(ONE) >> whole;
    let mut log2 = u64::from(whole) << 32;
    for digit in (12..32).rev() {
        rest = ((u128::from(rest) * u128::from(rest)) >> 32) as u64;
        if rest >= 2 * ONE {
            rest >>= 1;
            log2 |= 1 << digit;
        }
    }
    ((u128::from(log2) * u128::from(LN_2)) >> 32) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(
        sources: impl Iterator<Item = u64>,
        answered: impl Iterator<Item = u64>,
    ) -> SourceSample {
        let mut sample = SourceSample::default();
        let place = |source: u64| {
            // Any mixing of bits will do.
            let hash = source.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let bit = ((hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as usize;
            (bit % SAMPLE_BITS / 64, 1_u64 << (bit % 64))
        };
        for source in sources {
            let (word, bit) = place(source);
            sample.seen[word] |= bit;
            sample.syns += 1;
        }
        for source in answered {
            let (word, bit) = place(source);
            sample.answered[word] |= bit;
        }
        sample
    }

    fn near(found: u64, expected: u64, percent: u64) -> bool {
        found.abs_diff(expected) * 100 <= expected * percent
    }

    #[test]
    fn logarithms_are_right() {
        for value in [1.0, 1.001, 1.5, 2.0, 3.7, 10.0, 8192.0] {
            let found = ln_q32((value * f64::from(u32::MAX)) as u64 + 1) as f64 / 2_f64.powi(32);
            assert!((found - f64::ln(value)).abs() < 1e-5, "{value}: {found}");
        }
    }

    #[test]
    fn as_many_sources_as_there_are() {
        for expected in [1, 4, 100, 500, 1024] {
            let sources = Sources::of(&[sample(0..expected, 0..0)]);
            assert_eq!(sources.syns, expected);
            assert!(near(sources.unanswered, expected, 5), "{sources:?}");
        }
        let few = sample((0..1024).map(|index| index % 4), 0..0);
        assert_eq!(Sources::of(&[few]).unanswered, 4);
        assert_eq!(Sources::of(&[]), Sources::default());
    }

    #[test]
    fn who_completed_a_handshake_is_not_counted() {
        let crowd = sample(0..1024, 0..1024);
        assert_eq!(Sources::of(&[crowd]).unanswered, 0);
        let half = sample(0..1000, 0..500);
        assert!(near(Sources::of(&[half]).unanswered, 500, 5));
        // A crowd that fills its bitmap does not hide a flood.
        let under_flood = sample(100_000..101_024, 0..5_000);
        let found = Sources::of(&[under_flood]).unanswered;
        assert!(near(found, 1024, 15), "{found}");
    }

    #[test]
    fn a_handshake_may_complete_on_another_cpu() {
        let syns = sample(0..250, 0..0);
        let acks = sample(0..0, 0..250);
        assert_eq!(Sources::of(&[syns, acks]).unanswered, 0);
    }

    #[test]
    fn a_full_bitmap_is_many_and_no_more_than_syns() {
        let mut full = SourceSample {
            syns: 5000,
            seen: [u64::MAX; SAMPLE_WORDS],
            ..SourceSample::default()
        };
        assert_eq!(Sources::of(&[full]).unanswered, 5000);
        // Nobody can tell.
        full.answered = [u64::MAX; SAMPLE_WORDS];
        assert_eq!(Sources::of(&[full]), Sources::default());
    }
}
