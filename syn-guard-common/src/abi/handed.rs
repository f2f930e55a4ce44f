//! Cookies whose connections were handed to the stack: one is good once.
//!
//! A cell is a word of 8 bytes:
//!
//! | bits | what |
//! | --- | --- |
//! | 63-32 | the cookie |
//! | 31-16 | the bits of the flow's hash that are not the cell's index |
//! | 15 | the connection was seen |
//! | 14-0 | when it was handed over first: units of 2^30 ns |

/// Cells (512 KiB): the last so many connections, if they come one by one.
pub const HANDED_CELLS: usize = 1 << 16;

/// Units after which a cookie is good no more: 137 s.
const LIFE: u64 = 128;
/// Units in which a cookie's connection may be asked for again, until it is
/// seen: the accept queue may have been full. A client sends again 1, 3, 7 and
/// 15 s after the first time.
const AGAIN: u64 = 15;

const SEEN: u64 = 1 << 15;
const TIME: u64 = SEEN - 1;
const HASH: u64 = !(HANDED_CELLS as u64 - 1) & 0xffff_ffff;

/// The cell of a flow whose hash this is.
#[inline(always)]
#[must_use]
pub const fn handed_cell(hash: u32) -> usize {
    hash as usize & (HANDED_CELLS - 1)
}

/// What the cell becomes when the connection of a cookie is handed over.
#[inline(always)]
#[must_use]
pub const fn handed_over(cell: u64, hash: u32, cookie: u32, now_ns: u64) -> u64 {
    if was_handed(cell, hash, cookie, now_ns) {
        // Again: the first time counts.
        cell
    } else {
        ((cookie as u64) << 32) | (hash as u64 & HASH) | ((now_ns >> 30) & TIME)
    }
}

/// What the cell becomes when a connection of the flow is there.
#[inline(always)]
#[must_use]
pub const fn handed_seen(cell: u64, hash: u32) -> u64 {
    if (cell ^ hash as u64) & HASH == 0 && cell != 0 {
        cell | SEEN
    } else {
        cell
    }
}

/// Whether the cookie's connection was handed over before.
#[inline(always)]
#[must_use]
pub const fn was_handed(cell: u64, hash: u32, cookie: u32, now_ns: u64) -> bool {
    let same = ((cookie as u64) << 32) | (hash as u64 & HASH);
    (cell ^ same) & !(SEEN | TIME) == 0 && age(cell, now_ns) < LIFE
}

/// Whether the cookie's connection was there before, or must have been.
#[inline(always)]
#[must_use]
pub const fn is_replay(cell: u64, hash: u32, cookie: u32, now_ns: u64) -> bool {
    was_handed(cell, hash, cookie, now_ns) && (cell & SEEN != 0 || age(cell, now_ns) > AGAIN)
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

    #[test]
    fn a_cookie_whose_connection_was_seen_is_good_no_more() {
        let cell = handed_over(7, FLOW, COOKIE, NOW);
        assert!(!is_replay(cell, FLOW, COOKIE, NOW));
        assert!(was_handed(cell, FLOW, COOKIE, NOW) && !was_handed(7, FLOW, COOKIE, NOW));
        let seen = handed_seen(cell, FLOW);
        for later in [0, 1, 20, 60, 130] {
            let now = NOW + later * SECOND;
            assert!(is_replay(seen, FLOW, COOKIE, now), "{later} s");
            assert!(!is_replay(seen, FLOW, COOKIE ^ 0x10, now), "another cookie");
            assert!(
                !is_replay(seen, FLOW ^ 0x1_0000, COOKIE, now),
                "another flow"
            );
        }
        assert_eq!(handed_seen(cell, FLOW ^ 0x1_0000), cell, "another flow's");
        // The flow's next connection has a cookie of its own.
        let next = handed_over(seen, FLOW, COOKIE ^ 0x10, NOW + SECOND);
        assert!(!is_replay(next, FLOW, COOKIE ^ 0x10, NOW + SECOND));
    }

    #[test]
    fn what_the_stack_did_not_take_may_come_again_for_a_while() {
        let mut cell = handed_over(0, FLOW, COOKIE, NOW);
        for later in [1, 3, 7, 15] {
            let now = NOW + later * SECOND;
            assert!(!is_replay(cell, FLOW, COOKIE, now), "{later} s");
            cell = handed_over(cell, FLOW, COOKIE, now);
        }
        assert!(is_replay(cell, FLOW, COOKIE, NOW + 20 * SECOND));
    }

    #[test]
    fn an_empty_cell_says_nothing() {
        assert_eq!(handed_seen(0, 0), 0);
        assert!(!is_replay(0, FLOW, COOKIE, NOW));
    }
}
