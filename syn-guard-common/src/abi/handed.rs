//! Cookies whose connections were handed to the stack: one is good once.
//!
//! Cells stand in sets of [`HANDED_WAYS`], one line of a core's cache; a flow's
//! hash names the set. A cell is a word of 8 bytes:
//!
//! | bits | what |
//! | --- | --- |
//! | 63-32 | the cookie |
//! | 31-16 | the bits of the flow's hash that are not the set's index |
//! | 15 | the connection was seen |
//! | 14-0 | when it was handed over first: units of 2^30 ns |
//!
//! The newest cookie of a set displaces the oldest. So a cookie is known until as
//! many others of its set came: for its whole life, but for one in 600 at 1,000
//! connections a second, one in 15 at 2,000.

/// Cells (4 MiB).
pub const HANDED_CELLS: usize = 1 << 19;
/// Cells of a set.
pub const HANDED_WAYS: usize = 8;

const SETS: usize = HANDED_CELLS / HANDED_WAYS;

/// Units after which a cookie is good no more: 137 s.
const LIFE: u64 = 128;
/// Units (67 s) in which a cookie's connection may be asked for again, until it is
/// seen: the accept queue may have been full. A client sends its first data again
/// after 1, 3, 7, 15, 31 and 63 s.
const AGAIN: u64 = 63;

const SEEN: u64 = 1 << 15;
const TIME: u64 = SEEN - 1;
const HASH: u64 = !(SETS as u64 - 1) & 0xffff_ffff;

/// The first cell of the set of a flow whose hash this is.
#[inline(always)]
#[must_use]
pub const fn handed_set(hash: u32) -> usize {
    (hash as usize & (SETS - 1)) * HANDED_WAYS
}

/// How well a cell of a set suits a cookie: the least of the set is the cookie's
/// own, below [`HANDED_WAYS`] where the cookie was handed over before. The lowest
/// bits say which cell it is.
#[inline(always)]
#[must_use]
pub const fn handed_choice(cell: u64, way: usize, hash: u32, cookie: u32, now_ns: u64) -> u64 {
    let rank = if is_of(cell, hash, cookie, now_ns) {
        0
    } else if cell == 0 {
        // Never used: as old as can be, whatever the clock says.
        1
    } else {
        1 + TIME - age(cell, now_ns)
    };
    rank * HANDED_WAYS as u64 + way as u64
}

/// What the cell becomes when the connection of a cookie is first handed over.
#[inline(always)]
#[must_use]
pub const fn handed_over(hash: u32, cookie: u32, now_ns: u64) -> u64 {
    ((cookie as u64) << 32) | (hash as u64 & HASH) | ((now_ns >> 30) & TIME)
}

/// What a cell of the flow's set becomes when a connection of the flow is there.
#[inline(always)]
#[must_use]
pub const fn handed_seen(cell: u64, hash: u32) -> u64 {
    if (cell ^ hash as u64) & HASH == 0 && cell != 0 {
        cell | SEEN
    } else {
        cell
    }
}

/// Whether the connection of a cookie that was handed over before was there, or
/// must have been: `cell` is the cookie's.
#[inline(always)]
#[must_use]
pub const fn is_replay(cell: u64, now_ns: u64) -> bool {
    cell & SEEN != 0 || age(cell, now_ns) > AGAIN
}

/// Whether the connection of a cookie was seen: `cell` is the cookie's.
#[inline(always)]
#[must_use]
pub const fn handed_is_seen(cell: u64) -> bool {
    cell & SEEN != 0
}

#[inline(always)]
const fn is_of(cell: u64, hash: u32, cookie: u32, now_ns: u64) -> bool {
    let same = ((cookie as u64) << 32) | (hash as u64 & HASH);
    (cell ^ same) & !(SEEN | TIME) == 0 && age(cell, now_ns) < LIFE
}

#[inline(always)]
const fn age(cell: u64, now_ns: u64) -> u64 {
    (now_ns >> 30).wrapping_sub(cell) & TIME
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const NOW: u64 = 40_000 * SECOND;
    const FLOW: u32 = 0xabcd_1234;
    const COOKIE: u32 = 0xdead_beef;

    /// What the data path does with a set.
    #[derive(Clone, Default)]
    struct Set([u64; HANDED_WAYS]);

    impl Set {
        fn choose(&self, hash: u32, cookie: u32, now: u64) -> (usize, bool) {
            let choices = self.0.iter().enumerate();
            let best = choices
                .map(|(way, cell)| handed_choice(*cell, way, hash, cookie, now))
                .min()
                .unwrap();
            let ways = HANDED_WAYS as u64;
            ((best % ways) as usize, best < ways)
        }

        fn over(&mut self, hash: u32, cookie: u32, now: u64) {
            let (way, known) = self.choose(hash, cookie, now);
            if !known {
                self.0[way] = handed_over(hash, cookie, now);
            }
        }

        fn seen(&mut self, hash: u32) {
            self.0 = self.0.map(|cell| handed_seen(cell, hash));
        }

        fn knows(&self, hash: u32, cookie: u32, now: u64) -> bool {
            self.choose(hash, cookie, now).1
        }

        fn replay(&self, hash: u32, cookie: u32, now: u64) -> bool {
            let (way, known) = self.choose(hash, cookie, now);
            known && is_replay(self.0[way], now)
        }
    }

    #[test]
    fn a_cookie_whose_connection_was_seen_is_good_no_more() {
        let mut set = Set::default();
        set.over(FLOW, COOKIE, NOW);
        assert!(set.knows(FLOW, COOKIE, NOW) && !set.replay(FLOW, COOKIE, NOW));
        let mut others = set.clone();
        others.seen(FLOW ^ 0x1_0000);
        assert!(!others.replay(FLOW, COOKIE, NOW), "another flow's");
        set.seen(FLOW);
        // The flow's next connection has a cookie of its own.
        let next = COOKIE ^ 0x10;
        set.over(FLOW, next, NOW + SECOND);
        for later in [1, 2, 20, 60, 130] {
            let now = NOW + later * SECOND;
            assert!(set.replay(FLOW, COOKIE, now), "{later} s");
            assert!(!set.replay(FLOW ^ 0x1_0000, COOKIE, now), "another flow");
            assert_eq!(set.replay(FLOW, next, now), later > 67, "{later} s");
        }
        assert!(!set.knows(FLOW, COOKIE, NOW + 140 * SECOND));
    }

    #[test]
    fn what_the_stack_did_not_take_may_come_again_for_a_while() {
        let mut set = Set::default();
        set.over(FLOW, COOKIE, NOW);
        for later in [1, 3, 7, 15, 31, 63] {
            let now = NOW + later * SECOND + SECOND / 2;
            assert!(!set.replay(FLOW, COOKIE, now), "{later} s");
            set.over(FLOW, COOKIE, now);
        }
        assert!(
            set.replay(FLOW, COOKIE, NOW + 70 * SECOND),
            "the first counts"
        );
    }

    #[test]
    fn the_oldest_of_a_set_makes_room() {
        let mut set = Set::default();
        for index in 0..=HANDED_WAYS as u32 {
            let now = NOW + u64::from(index) * 2 * SECOND;
            set.over(FLOW ^ (index << 16), COOKIE, now);
        }
        let now = NOW + 20 * SECOND;
        for index in 0..=HANDED_WAYS as u32 {
            let knows = set.knows(FLOW ^ (index << 16), COOKIE, now);
            assert_eq!(knows, index > 0, "{index}");
        }
    }

    #[test]
    fn nothing_makes_room_while_there_is_some() {
        // The units come again after 9.8 h: 0 is then an age like others.
        let wrap = (TIME + 1) << 30;
        for start in [NOW, wrap - 20 * SECOND, wrap, wrap + 20 * SECOND] {
            let mut set = Set::default();
            for index in 0..HANDED_WAYS as u32 {
                let now = start + u64::from(index) * 5 * SECOND;
                set.over(FLOW ^ (index << 16), COOKIE, now);
            }
            for index in 0..HANDED_WAYS as u32 {
                let now = start + 40 * SECOND;
                let knows = set.knows(FLOW ^ (index << 16), COOKIE, now);
                assert!(knows, "{index} from {start} on");
            }
        }
    }

    #[test]
    fn an_empty_cell_says_nothing() {
        assert_eq!(handed_seen(0, 0), 0);
        assert!(!Set::default().replay(FLOW, COOKIE, NOW));
    }

    /// One used cookie in how many is not known to its life's end, at a rate of
    /// connections a second.
    fn one_in(rate: u64) -> u64 {
        let mut sets = vec![Set::default(); SETS];
        // The finalizer of SplitMix64: other hashes and cookies for each number.
        let random = |number: u64| {
            let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let mixed = mixed ^ (mixed >> 31);
            ((mixed >> 32) as u32, mixed as u32)
        };
        let life = 136 * rate;
        let mut lost = 0;
        for number in 0..3 * life {
            let now = NOW + number * SECOND / rate;
            let (hash, cookie) = random(number);
            sets[handed_set(hash) / HANDED_WAYS].over(hash, cookie, now);
            if let Some(old) = number.checked_sub(life) {
                let (hash, cookie) = random(old);
                let set = &sets[handed_set(hash) / HANDED_WAYS];
                lost += u64::from(!set.knows(hash, cookie, now));
            }
        }
        2 * life / lost.max(1)
    }

    #[test]
    fn nearly_every_used_cookie_is_known_to_the_end_of_its_life() {
        // What README and ARCHITECTURE say.
        let at = [500, 1000, 2000].map(one_in);
        println!("one in {at:?} at 500, 1,000 and 2,000 connections a second");
        assert!(at[0] > 10_000, "{at:?}");
        assert!((400..900).contains(&at[1]), "{at:?}");
        assert!((11..20).contains(&at[2]), "{at:?}");
    }
}
