//! Counting a second's SYNs by source and by prefix in a bounded memory, each CPU
//! for itself: count-min sketches. A count is never too small, and too large by
//! what collides with it.
//!
//! A cell is a word: the low 12 bits of the second in its high bits, the count in
//! its low ones. So nobody needs to clear the cells when a second is over. A
//! second is 2^30 ns.

mod totals;

pub use totals::{COUNTED_SINGLY, Total, Totals, heavy};

use crate::address::Address;

/// Cells of a row.
pub const SKETCH_COLUMNS: usize = 4096;
/// Cells of a sketch, which has two rows: 32 KiB, as much as a per-CPU value may
/// have.
pub const SKETCH_CELLS: usize = 2 * SKETCH_COLUMNS;

/// The cells of a sketch.
pub type Cells = [u32; SKETCH_CELLS];

const COUNT_BITS: u32 = 20;
/// The highest count.
pub const MOST: u32 = (1 << COUNT_BITS) - 1;

/// The second of a moment.
#[inline(always)]
#[must_use]
pub const fn second(now_ns: u64) -> u32 {
    (now_ns >> 30) as u32
}

/// What a cell counted in this second.
#[inline(always)]
#[must_use]
pub const fn count(cell: u32, second: u32) -> u32 {
    if (cell ^ (second << COUNT_BITS)) >> COUNT_BITS == 0 {
        cell & MOST
    } else {
        0
    }
}

#[inline(always)]
const fn cell(count: u32, second: u32) -> u32 {
    (second << COUNT_BITS) | count
}

/// The cell with so many more, which are fewer than [`MOST`].
#[inline(always)]
#[must_use]
pub const fn with_more(value: u32, second: u32, more: u32) -> u32 {
    let sum = count(value, second) + more;
    cell(if sum < MOST { sum } else { MOST }, second)
}

/// The cell with one less, if it has one in this second.
#[inline(always)]
#[must_use]
pub const fn with_one_less(value: u32, second: u32) -> u32 {
    let count = count(value, second);
    cell(if count > 0 { count - 1 } else { 0 }, second)
}

#[inline(always)]
const fn first_cell(hash: u64) -> usize {
    (hash >> 52) as usize & (SKETCH_COLUMNS - 1)
}

#[inline(always)]
const fn second_cell(hash: u64) -> usize {
    SKETCH_COLUMNS + ((hash >> 36) as usize & (SKETCH_COLUMNS - 1))
}

/// What was counted under a hash in this second, at least.
#[inline(always)]
#[must_use]
pub fn estimate(cells: &Cells, hash: u64, second: u32) -> u32 {
    let first = count(cells[first_cell(hash)], second);
    let other = count(cells[second_cell(hash)], second);
    if first < other { first } else { other }
}

/// Counts so many.
#[inline(always)]
pub fn add(cells: &mut Cells, hash: u64, second: u32, more: u32) {
    let (first, other) = (first_cell(hash), second_cell(hash));
    cells[first] = with_more(cells[first], second, more);
    cells[other] = with_more(cells[other], second, more);
}

/// Takes one away again.
#[inline(always)]
pub fn take(cells: &mut Cells, hash: u64, second: u32) {
    let (first, other) = (first_cell(hash), second_cell(hash));
    cells[first] = with_one_less(cells[first], second);
    cells[other] = with_one_less(cells[other], second);
}

// Odd 64-bit constants of xxHash64 (its PRIME64_1 and PRIME64_2).
const A: u64 = 0x9e37_79b1_85eb_ca87;
const B: u64 = 0xc2b2_ae3d_27d4_eb4f;

#[inline(always)]
const fn mix(one: u64, other: u64) -> u64 {
    let mut hash = one.wrapping_mul(A);
    hash ^= hash >> 29;
    hash = (hash ^ other).wrapping_mul(B);
    hash ^= hash >> 32;
    hash.wrapping_mul(A)
}

#[inline(always)]
const fn pair(high: u32, low: u32) -> u64 {
    ((high as u64) << 32) | low as u64
}

/// The hash of a source of a service. The seed keeps others from choosing who
/// collides with whom.
#[inline(always)]
#[must_use]
pub const fn source_hash(source: &Address, slot: u32, seed: u64) -> u64 {
    let words = &source.0;
    let low = pair(words[3], words[2]) ^ seed;
    let high = pair(words[1] ^ slot.rotate_left(16), words[0]);
    mix(low, high)
}

/// The hash of the prefix to which replies are counted: an IPv4 address's /24,
/// an IPv6 address's /48.
#[inline(always)]
#[must_use]
pub const fn prefix_hash(address: &Address, seed: u64) -> u64 {
    let words = &address.0;
    let (one, other) = if address.is_ipv4() {
        (words[3] & 0xffff_ff00_u32.to_be(), words[2])
    } else {
        (words[0], words[1] & 0xffff_0000_u32.to_be())
    };
    mix(pair(one, other) ^ seed, seed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::IpAddr;
    use std::collections::HashSet;

    fn address(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn a_new_second_begins_at_nothing() {
        let cell = with_more(with_more(0, 7, 1), 7, 1);
        assert_eq!(count(cell, 7), 2);
        assert_eq!(count(cell, 8), 0);
        assert_eq!(count(with_more(cell, 8, 1), 8), 1);
        assert_eq!(count(with_one_less(cell, 7), 7), 1);
        assert_eq!(count(with_one_less(cell, 9), 9), 0);
    }

    #[test]
    fn a_count_stays_at_its_most() {
        let full = cell(MOST, 5);
        assert_eq!(count(with_more(full, 5, 8), 5), MOST);
    }

    #[test]
    fn prefixes_are_a_24_and_a_48() {
        let hash = |text| prefix_hash(&address(text), 9);
        assert_eq!(hash("10.1.2.3"), hash("10.1.2.200"));
        assert_ne!(hash("10.1.2.3"), hash("10.1.3.3"));
        assert_eq!(hash("2001:db8:1::1"), hash("2001:db8:1:ffff::2"));
        assert_ne!(hash("2001:db8:1::1"), hash("2001:db8:2::1"));
        assert_ne!(hash("2001:db8:1::1"), hash("2001:db9:1::1"));
    }

    #[test]
    fn every_part_of_a_source_counts() {
        let base = address("2001:db8::1");
        let mut hashes = HashSet::from([source_hash(&base, 0, 1), source_hash(&base, 1, 1)]);
        assert!(hashes.insert(source_hash(&base, 0, 2)), "the seed");
        for word in 0..4 {
            let mut other = base;
            other.0[word] ^= 1;
            assert!(hashes.insert(source_hash(&other, 0, 1)), "word {word}");
        }
        assert_eq!(hashes.len(), 7);
    }

    #[test]
    fn sources_spread_over_the_cells() {
        let mut rows = [const { Vec::new() }; 2];
        for index in 0..40_960_u32 {
            let source = Address::from_ipv4_word((0x0a00_0000 + index).to_be());
            let hash = source_hash(&source, 0, 77);
            rows[0].push(first_cell(hash));
            rows[1].push(second_cell(hash) - SKETCH_COLUMNS);
        }
        for row in rows {
            let mut counts = vec![0; SKETCH_COLUMNS];
            row.into_iter().for_each(|cell| counts[cell] += 1);
            // Ten on average, four standard deviations above it 23.
            let most = counts.iter().max().unwrap();
            assert!(*most < 30, "{most}");
        }
    }
}
