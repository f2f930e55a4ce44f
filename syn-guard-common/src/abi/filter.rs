//! Filters of a few bits before the look-ups that a forged packet would miss.
//!
//! A cell of the source filter is a byte: the tick of the last packet that marked
//! it. Ticks come again after 128, so an old mark is taken for a new one
//! now and then: "maybe" costs a look-up. A cell of the established filter is 8
//! bytes, the flow's hash and a tick that does not come again: "established" ends
//! all questions, and wrongly said it would cost a handshake. A tick is some
//! jiffies, because reading the jiffies costs nothing; its length depends on the
//! kernel's `CONFIG_HZ`, so ages are chosen for HZ=1000 and are longer on the
//! others.

/// Cells of the established filter, 8 bytes each (512 KiB).
pub const ESTABLISHED_CELLS: usize = 1 << 16;
/// Cells of the half-open filter, 8-byte counts (512 KiB).
pub const HALF_OPEN_CELLS: usize = 1 << 16;

/// Cells of the filter of sources with counters of their own, a byte each
/// (8 KiB): few enough to stay in the first cache, since every SYN looks there.
pub const SOURCE_CELLS: usize = 1 << 13;

/// Cells of the memory of connections just completed, one set a CPU. A batch
/// of packets has 8 (`net.core.gro_normal_batch`).
pub const JUST_COMPLETED_CELLS: u32 = 64;

/// An established connection is looked up again after a while: 4 ticks of
/// 1,024 jiffies are 4 to 5 s at HZ=1000, 16 to 20 s at HZ=250.
const ESTABLISHED_TICKS: u32 = 4;
const ESTABLISHED_SHIFT: u32 = 10;

/// A source that was heavy, or had as many half-open connections as it may, is
/// looked up for as long as the kernel keeps half-open connections, 63 s: 32
/// ticks of 2,048 jiffies are 65 to 68 s at HZ=1000, 262 to 270 s at HZ=250.
pub const SOURCE_AGE: Age = Age {
    shift: 11,
    ticks: 32,
};

/// What the cell of a flow becomes that is found established at `jiffies`: its
/// hash above the tick, which comes again after a century and more.
#[inline(always)]
#[must_use]
pub const fn established_cell(hash: u32, jiffies: u64) -> u64 {
    ((hash as u64) << 32) | ((jiffies >> ESTABLISHED_SHIFT) & 0xffff_ffff)
}

/// Whether the cell says that the flow was found established lately.
#[inline(always)]
#[must_use]
pub const fn established_lately(cell: u64, hash: u32, jiffies: u64) -> bool {
    let past = ((jiffies >> ESTABLISHED_SHIFT) as u32).wrapping_sub(cell as u32);
    // A mark one tick ahead comes from another CPU.
    (cell >> 32) as u32 == hash && past.wrapping_add(1) <= ESTABLISHED_TICKS + 1
}

/// The bit of a cell that was ever marked, and the bits of its tick.
const MARKED: u8 = 0x80;
const TICKS: u8 = !MARKED;

/// How long a mark lasts.
#[derive(Clone, Copy, Debug)]
pub struct Age {
    shift: u32,
    ticks: u8,
}

impl Age {
    /// Marks last `ticks` (at most 125) of 2 to the power of `shift` jiffies.
    #[must_use]
    pub const fn new(shift: u32, ticks: u8) -> Self {
        Self { shift, ticks }
    }

    /// The mark that a packet leaves at `jiffies`. Never 0, which is a cell
    /// never marked.
    #[inline(always)]
    #[must_use]
    pub const fn mark(self, jiffies: u64) -> u8 {
        (jiffies >> self.shift) as u8 | MARKED
    }

    /// The last jiffy of a tick, counted from 0.
    #[inline(always)]
    #[must_use]
    pub const fn last_jiffy(self) -> u32 {
        (1 << self.shift) - 1
    }

    /// Whether a cell was marked within this age of the tick `now`.
    #[inline(always)]
    #[must_use]
    pub const fn is_recent(self, cell: u8, now: u8) -> bool {
        // A mark one tick ahead comes from another CPU.
        let past = now.wrapping_sub(cell).wrapping_add(1) & TICKS;
        cell != 0 && past <= self.ticks + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_marked_is_never_recent() {
        for now in MARKED..=255 {
            assert!(!SOURCE_AGE.is_recent(0, now));
        }
    }

    #[test]
    fn a_flow_is_established_for_some_seconds_and_never_again() {
        const FLOW: u32 = 0xabcd_1234;
        // Where the kernel's count begins.
        const START: u64 = (1 << 32) - 300_000;
        let cell = established_cell(FLOW, START);
        let at = |jiffies| established_lately(cell, FLOW, START + jiffies);
        assert!(at(0) && at(4000) && !at(6000));
        assert!(established_lately(cell, FLOW, START - 1024), "another CPU");
        assert!(!established_lately(cell, FLOW ^ 0x100, START));
        // A mark that came again would cost the flow's next handshake.
        assert!((6..1_000_000).all(|tick| !at(tick * 1024)));
        assert!(!established_lately(0, 0, START), "never marked");
    }

    #[test]
    fn a_mark_lasts_as_long_as_a_half_open_connection_from_any_start() {
        for start in (0..2048 * 600).step_by(777) {
            let cell = SOURCE_AGE.mark(start);
            assert_ne!(cell, 0);
            let at = |jiffies| SOURCE_AGE.is_recent(cell, SOURCE_AGE.mark(start + jiffies));
            assert!(at(0));
            assert!(at(60_000), "at HZ=1000");
            assert!(!at(70_000));
            assert!(!at(2048 * 120));
        }
    }
}
