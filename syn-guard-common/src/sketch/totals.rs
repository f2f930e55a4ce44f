//! Telling who is heavy from what only collides.

use super::{Cells, MOST, SKETCH_COLUMNS, add, estimate};

/// SYNs that add a quarter to the average of a row's cells.
const QUARTER: u32 = SKETCH_COLUMNS as u32 / 4;
/// Fewer SYNs than this within a second are never heavy: two of a source that only
/// collide are no rarity.
const LEAST_HEAVY: u64 = 3;

/// How many a sketch counted in a second.
///
/// With somebody's collide as many as a cell has on average. Where each source
/// sends one, their standard deviation is the average's root: with both rows hardly
/// anybody's estimate is two of them above that, and nobody's four. Where each sends
/// several they deviate more: the average once more allows for that.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Total {
    count: u32,
    /// Two standard deviations: the root of the average's quarters. It grows with
    /// the count, so that nobody needs to extract it.
    root: u32,
}

impl Total {
    /// Counts one.
    #[inline(always)]
    pub const fn add(&mut self) {
        self.count = self.count.wrapping_add(1);
        if self.count.is_multiple_of(QUARTER) {
            let next = self.root + 1;
            if next * next <= self.count / QUARTER {
                self.root = next;
            }
        }
    }

    /// By how much few estimates are too large.
    #[inline(always)]
    #[must_use]
    pub const fn likely_noise(&self) -> u32 {
        self.average() + self.root
    }

    /// By how much estimates may be too large.
    #[inline(always)]
    #[must_use]
    pub const fn most_noise(&self) -> u32 {
        let (average, deviations) = (self.average(), 2 * self.root);
        average
            + if average > deviations {
                average
            } else {
                deviations
            }
    }

    const fn average(&self) -> u32 {
        self.count / SKETCH_COLUMNS as u32
    }
}

/// What the sketches of a CPU counted in a second.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    second: u32,
    /// In the sketch of prefixes.
    pub replies: Total,
    /// In the sketch of sources.
    pub syns: Total,
}

impl Totals {
    /// Begins at nothing in a new second.
    #[inline(always)]
    pub const fn begin(&mut self, second: u32) {
        if self.second != second {
            *self = Self {
                second,
                replies: Total { count: 0, root: 0 },
                syns: Total { count: 0, root: 0 },
            };
        }
    }

    /// Whether so many replies to a prefix are enough for a heavy source. Some
    /// that only collide may pass: they are few, so that there is little left for
    /// sources to collide with.
    #[inline(always)]
    #[must_use]
    pub const fn is_busy(&self, replies: u32, heavy: u32) -> bool {
        replies >= heavy / 2 + self.replies.likely_noise()
    }

    /// Counts a SYN of a source whose prefix is busy; whether the source is heavy.
    #[inline(always)]
    pub fn is_heavy(&mut self, cells: &mut Cells, hash: u64, second: u32, heavy: u32) -> bool {
        self.syns.add();
        add(cells, hash, second);
        estimate(cells, hash, second) >= heavy + self.syns.most_noise()
    }
}

/// SYNs within a second on one of so many CPUs from which a source is heavy that
/// may send `rate` a second: a quarter of its share. That is soon enough for its
/// exact counters to hold it to the limit, and one CPU that finds it is enough.
#[must_use]
pub fn heavy(rate: u64, cpus: u64) -> u32 {
    let share = rate / cpus.max(1).saturating_mul(4);
    share.clamp(LEAST_HEAVY, u64::from(MOST)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_keeps_up_with_the_count() {
        let mut total = Total::default();
        for count in 1..1_200_000_u32 {
            total.add();
            assert_eq!(total.count, count);
            assert_eq!(total.root, (count / QUARTER).isqrt(), "{count}");
        }
    }

    #[test]
    fn a_new_second_forgets() {
        let mut totals = Totals::default();
        totals.begin(1);
        (0..QUARTER).for_each(|_| totals.replies.add());
        totals.begin(1);
        assert_eq!(totals.replies.likely_noise(), 1);
        totals.begin(2);
        assert_eq!(totals.replies.likely_noise(), 0);
    }

    #[test]
    fn heavy_is_a_quarter_of_a_share() {
        for (rate, cpus, expected) in [
            (200, 1, 50),
            (200, 2, 25),
            (200, 64, 3),
            (1, 1, 3),
            (200, 0, 50),
            (u64::MAX, 1, MOST),
            (u64::MAX, u64::MAX, 3),
        ] {
            assert_eq!(heavy(rate, cpus), expected, "{rate} on {cpus}");
        }
    }
}
