//! Flows that a cookie went to lately: one of the guard's, or perhaps one of the
//! stack's own, where the SYN went to the stack.
//!
//! A cell is a word:
//!
//! | bits | what |
//! | --- | --- |
//! | 31-18 | these bits of the flow's hash, which are not of the cell's index |
//! | 17 | it stands for several flows |
//! | 11-8 | segments without a valid cookie since the cookie went |
//! | 7-0 | tick of the last cookie |
//!
//! A flood fills all cells: past [`SENT_MANY`] cookies of one CPU in a tick they are
//! neither written nor, in this tick and the next, read: every flow may have got one.
//! For as long as such a cookie lasts some segments a tick ([`LATE_TRIES`]) still may
//! belong to one, whatever the cells say.
//!
//! A wrong "none" would cost an honest handshake under a flood of ACKs, a wrong
//! "maybe" costs a look at the cookie. So a second flow in a cell does not
//! displace the first one: the cell then stands for every flow of it, until no
//! cookie has gone there for the whole age. Its flows share the tries, for who
//! knows the hash can make them share a cell; each cookie brings new ones. Ticks come
//! again after 255 (9 minutes at HZ=1000): what a cell says then is a wrong "maybe".

use super::filter::Age;

/// Cells (256 KiB): a flood fills them in less than a second, and four times as
/// many too, which then no longer fit a core's cache.
pub const SENT_CELLS: usize = 1 << 16;

/// Cookies of one CPU in a tick after which every flow may have got one. So many
/// would stand in five of six cells.
pub const SENT_MANY: u32 = 2 * SENT_CELLS as u32;

/// How long a flood of cookies goes on for the filter after [`SENT_MANY`] of them: this
/// tick and the next.
pub const SENT_FLOOD_AGE: Age = Age::new(11, 1);

/// Segments a tick and CPU, of flows of which the filter knows no cookie, that may have
/// got one in a flood that is over: about as many a second as `stray_rate`'s default.
pub const LATE_TRIES: u32 = 2_000;

/// Cookies a jiffy of one CPU, on an average of its tick, up to which they are few: each of
/// their SYNs is looked up, which takes at most 2 us a jiffy, 0.2 % of a CPU at HZ=1000.
pub const SENT_FEW: u32 = 16;

/// A client whose ACK is lost sends again after 1, 2, 4 ... seconds: the fifth
/// time half a minute after its SYN, the sixth a minute after it. 32 ticks of
/// 2,048 jiffies are 65 to 68 s at HZ=1000, 262 to 270 s at HZ=250; a cookie is
/// good for 69 to 137 s.
pub const SENT_AGE: Age = Age::new(11, 32);

/// Segments without a valid cookie for each cookie. An honest client sends such
/// where data overtakes its handshake's ACK: its first window has ten segments
/// (RFC 6928), and the first of them carries the cookie as well.
pub const SENT_TRIES: u32 = 15;

const TICK: u32 = 0xff;
const TRY: u32 = 1 << 8;
const TRIES: u32 = SENT_TRIES * TRY;
const SEVERAL: u32 = 1 << 17;
const HASH: u32 = 0xfffc_0000;

/// What a cell says of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// No cookie went to it lately.
    No,
    /// One did, and it has had all its tries.
    Tried,
    /// One may have gone.
    Maybe,
}

/// The cell of a flow whose hash this is.
#[inline(always)]
#[must_use]
pub const fn sent_cell(hash: u32) -> usize {
    hash as usize & (SENT_CELLS - 1)
}

/// What a cell knows of a flow's hash: flows of one cell with the same bits are one
/// to it.
#[inline(always)]
#[must_use]
pub const fn sent_bits(hash: u32) -> u32 {
    hash & HASH
}

/// What the cell becomes when a cookie goes to a flow.
#[inline(always)]
#[must_use]
pub const fn sent_mark(cell: u32, hash: u32, jiffies: u64) -> u32 {
    let now = SENT_AGE.mark(jiffies);
    let taken = SENT_AGE.is_recent(cell as u8, now) && (cell ^ hash) & HASH != 0;
    let several = if taken { SEVERAL } else { 0 };
    // Several flows stay several: which of them are over is not known.
    let several = if SENT_AGE.is_recent(cell as u8, now) {
        several | (cell & SEVERAL)
    } else {
        several
    };
    // Of several flows the hash says nothing: a cell that stays as it is need not
    // be written.
    let hash = if several == 0 { hash } else { cell };
    (hash & HASH) | several | now as u32
}

/// Whether a CPU that sent so many cookies in the tick `tick` sent few in that of `jiffies`.
#[inline(always)]
#[must_use]
pub const fn sent_are_few(tick: u32, count: u32, jiffies: u64) -> bool {
    let into_tick = jiffies as u32 & SENT_AGE.last_jiffy();
    tick != SENT_AGE.mark(jiffies) as u32 || count < SENT_FEW * (into_tick + 1)
}

/// What a cell says of a flow.
#[inline(always)]
#[must_use]
pub const fn sent_lately(cell: u32, hash: u32, jiffies: u64) -> Sent {
    let recent = SENT_AGE.is_recent(cell as u8, SENT_AGE.mark(jiffies));
    let anothers = cell & SEVERAL == 0 && (cell ^ hash) & HASH != 0;
    if !recent || anothers {
        Sent::No
    } else if cell & TRIES == TRIES {
        Sent::Tried
    } else {
        Sent::Maybe
    }
}

/// What the cell becomes when a segment of the flow carried no valid cookie.
#[inline(always)]
#[must_use]
pub const fn sent_tried(cell: u32, hash: u32) -> u32 {
    if cell & SEVERAL == 0 && (cell ^ hash) & HASH != 0 || cell & TRIES == TRIES {
        cell
    } else {
        cell + TRY
    }
}

/// What the cell becomes when the flow's connection is there.
#[inline(always)]
#[must_use]
pub const fn sent_done(cell: u32, hash: u32) -> u32 {
    if cell & SEVERAL != 0 || (cell ^ hash) & HASH != 0 || cell & TICK == 0 {
        cell
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 4_294_900_000;
    const FLOW: u32 = 0xabcd_1234;
    /// Another one of its cell.
    const OTHER: u32 = FLOW ^ 0x8000_0000;

    #[test]
    fn a_cookie_is_known_for_as_long_as_a_handshake_may_take() {
        assert_eq!(sent_lately(0, FLOW, START), Sent::No);
        assert_eq!(sent_lately(0, 0, START), Sent::No);
        for start in (START..START + 2048 * 300).step_by(777) {
            let cell = sent_mark(0, FLOW, start);
            let at = |jiffies| sent_lately(cell, FLOW, start + jiffies);
            assert_eq!(at(0), Sent::Maybe);
            assert_eq!(at(63_000), Sent::Maybe, "at HZ=1000");
            assert_eq!(at(70_000), Sent::No);
            assert_eq!(sent_lately(cell, OTHER, start), Sent::No, "of its cell");
        }
    }

    #[test]
    fn cookies_are_few_by_the_average_of_their_tick() {
        let start = START & !2047;
        let tick = u32::from(SENT_AGE.mark(start));
        for jiffy in [0, 1, 100, 2047] {
            let most = SENT_FEW * (jiffy as u32 + 1);
            assert!(sent_are_few(tick, most - 1, start + jiffy));
            assert!(!sent_are_few(tick, most, start + jiffy));
        }
        assert!(sent_are_few(tick, SENT_MANY, start + 2048), "the next tick");
        // What is counted no further is many all the time.
        assert!(!sent_are_few(tick, SENT_MANY, start + 2047));
    }

    #[test]
    fn a_flow_is_never_displaced_by_another() {
        let mut cell = sent_mark(0, FLOW, START);
        cell = sent_mark(cell, OTHER, START);
        for flow in [FLOW, OTHER] {
            assert_eq!(sent_lately(cell, flow, START), Sent::Maybe);
        }
        // Nor by what one of them does; but they share the tries.
        for _ in 0..SENT_TRIES {
            assert_eq!(sent_lately(cell, FLOW, START), Sent::Maybe);
            cell = sent_done(sent_tried(cell, OTHER), OTHER);
        }
        assert_eq!(sent_lately(cell, FLOW, START), Sent::Tried);
        cell = sent_mark(cell, OTHER, START + 30_000);
        assert_eq!(sent_lately(cell, FLOW, START + 60_000), Sent::Maybe);
        // Once no cookie has gone to any of them, it is free again.
        let later = START + 200_000;
        assert_eq!(sent_lately(cell, FLOW, later), Sent::No);
        let cell = sent_mark(cell, FLOW, later);
        assert_eq!(sent_lately(cell, OTHER, later), Sent::No);
    }

    #[test]
    fn a_cookie_has_so_many_tries_and_the_next_one_has_them_again() {
        let mut cell = sent_mark(0, FLOW, START);
        for _ in 0..SENT_TRIES {
            assert_eq!(sent_lately(cell, FLOW, START), Sent::Maybe);
            cell = sent_tried(cell, OTHER);
            cell = sent_tried(cell, FLOW);
        }
        assert_eq!(sent_lately(cell, FLOW, START), Sent::Tried);
        assert_eq!(
            sent_lately(sent_tried(cell, FLOW), FLOW, START),
            Sent::Tried
        );
        cell = sent_mark(cell, FLOW, START);
        assert_eq!(sent_lately(cell, FLOW, START), Sent::Maybe);
        assert_eq!(
            sent_lately(sent_done(cell, OTHER), FLOW, START),
            Sent::Maybe
        );
        assert_eq!(sent_lately(sent_done(cell, FLOW), FLOW, START), Sent::No);
    }
}
