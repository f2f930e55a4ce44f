//! The connection filter: flows that the stack may know.
//!
//! A word of 8 bytes holds the marks of 28 cells for two epochs:
//!
//! | bits | what |
//! | --- | --- |
//! | 63-56 | the epoch that the word was marked in last, modulo 256 |
//! | 55-28 | marks of the epoch before it |
//! | 27-0 | marks of it |
//!
//! So a mark takes two bits, and all of them fit a core's cache beside what else
//! a SYN needs: a megabyte of bytes cost each forged SYN 50 ns. Nobody clears a
//! word; who marks it first in an epoch moves its marks. An epoch is a cookie's
//! ([`crate::cookie::epoch`], 68.7 s): a mark lasts one to two of them, and the
//! kernel remembers a connection for `TCP_TIMEWAIT_LEN` (60 s) after its last
//! packet. A word not marked for 256 epochs says "maybe" for one more, which
//! costs a look-up.
//!
//! Before it stands a second one of the same kind, small enough for a core's
//! first cache ([`NEAR_WORDS`]), with all the same marks: while connections are
//! few it says "none" for nearly all forged SYNs, and a look at the large one,
//! some 30 ns of waiting for memory, is saved.

/// Words of the connection filter (256 KiB).
pub const CONNECTION_WORDS: usize = 1 << 15;
/// Words of the small filter before it (16 KiB).
pub const NEAR_WORDS: usize = 1 << 11;

/// For how long all connections are marked after the controller has marked them,
/// nanoseconds: less than an epoch.
pub const ALL_MARKED_NS: u64 = 60_000_000_000;

const CELLS: u32 = 28;
const EPOCH_SHIFT: u32 = 2 * CELLS;
const MARKS: u64 = (1 << CELLS) - 1;

/// The word of a flow whose hash this is, in a filter of `WORDS` words: a power of 2.
#[inline(always)]
#[must_use]
pub const fn connection_word<const WORDS: usize>(hash: u32) -> usize {
    hash as usize & (WORDS - 1)
}

/// The flow's mark in its word, in filters of any size: by bits of the hash that
/// choose no word.
#[inline(always)]
#[must_use]
pub const fn connection_mark(hash: u32) -> u64 {
    let rest = (hash as u64) >> CONNECTION_WORDS.trailing_zeros();
    1 << ((rest * CELLS as u64) >> (u32::BITS - CONNECTION_WORDS.trailing_zeros()))
}

/// The word with a mark in `epoch`.
#[inline(always)]
#[must_use]
pub const fn connection_marked(word: u64, mark: u64, epoch: u64) -> u64 {
    if age(word, epoch) == 0 {
        return word | mark;
    }
    let before = if age(word, epoch) == 1 {
        word & MARKS
    } else {
        0
    };
    (epoch << EPOCH_SHIFT) | (before << CELLS) | mark
}

/// Whether the mark was left in `epoch` or the one before it.
#[inline(always)]
#[must_use]
pub const fn is_connection_marked(word: u64, mark: u64, epoch: u64) -> bool {
    let lately = match age(word, epoch) {
        0 => mark | (mark << CELLS),
        1 => mark,
        _ => 0,
    };
    word & lately != 0
}

/// Epochs since the word was marked last. A word that another CPU, whose clock
/// is ahead, marked in the next epoch already is of this one.
#[inline(always)]
const fn age(word: u64, epoch: u64) -> u64 {
    let age = epoch.wrapping_sub(word >> EPOCH_SHIFT) & 0xff;
    if age == 0xff { 0 } else { age }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const EPOCH: u64 = 1000;

    #[test]
    fn a_mark_lasts_for_its_epoch_and_the_next() {
        for hash in [0, 0x7fff, 0x8000, 0xabcd_1234, u32::MAX] {
            let mark = connection_mark(hash);
            let word = connection_marked(0, mark, EPOCH);
            for (later, there) in [(0, true), (1, true), (2, false), (3, false), (254, false)] {
                let epoch = EPOCH + later;
                assert_eq!(is_connection_marked(word, mark, epoch), there, "{later}");
            }
            assert!(
                is_connection_marked(word, mark, EPOCH - 1),
                "a clock behind the marker's"
            );
        }
    }

    #[test]
    fn marks_of_others_neither_end_nor_renew_it() {
        let (mark, other) = (1 << 3, 1 << 27);
        let mut word = connection_marked(0, mark, EPOCH);
        word = connection_marked(word, other, EPOCH + 1);
        assert!(is_connection_marked(word, mark, EPOCH + 1));
        assert!(is_connection_marked(word, other, EPOCH + 1));
        word = connection_marked(word, other, EPOCH + 2);
        assert!(!is_connection_marked(word, mark, EPOCH + 2));
        assert!(is_connection_marked(word, other, EPOCH + 3));
        // A CPU whose clock is behind changes nothing but its own mark.
        let late = connection_marked(word, mark, EPOCH + 1);
        assert_eq!(late, word | mark);
        assert_eq!(late >> EPOCH_SHIFT, (EPOCH + 2) & 0xff);
    }

    #[test]
    fn an_empty_word_says_nothing() {
        for epoch in 0..600 {
            assert!(!is_connection_marked(0, 1, epoch), "{epoch}");
        }
    }

    #[test]
    fn all_cells_are_used_alike() {
        let mut cells = HashSet::new();
        let mut counts = [0_u32; CELLS as usize];
        for high in 0..1 << 17 {
            let hash = (high << 15) | 0x1234;
            let mark = connection_mark(hash);
            assert_eq!(mark.count_ones(), 1);
            counts[mark.trailing_zeros() as usize] += 1;
            cells.insert((connection_word::<CONNECTION_WORDS>(hash), mark));
        }
        assert_eq!(cells.len(), CELLS as usize);
        let average = (1 << 17) / CELLS;
        assert!(counts.iter().all(|count| count.abs_diff(average) <= 1));
    }
}
