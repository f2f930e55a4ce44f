//! Telling who is heavy from what only collides, and which SYNs to count for it.

use super::{Cells, MOST, SKETCH_COLUMNS, add, estimate};

/// SYNs that add a quarter to the average of a row's cells.
const QUARTER: u32 = SKETCH_COLUMNS as u32 / 4;
/// Fewer SYNs than this within a second are never heavy: two of a source that only
/// collide are no rarity.
const LEAST_HEAVY: u64 = 3;

/// SYNs of a CPU within a second that are counted singly. Of those past them one in
/// eight is counted, as eight: a wide flood would pay for each of its SYNs what
/// nearly all of them do not need.
pub const COUNTED_SINGLY: u32 = 1 << 15;
const OTHERS: u32 = 8;

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
    /// The sum of the squares of what was added.
    squares: u32,
    /// Two standard deviations: the root of the average's quarters. It grows with
    /// the count, so that nobody needs to extract it.
    root: u32,
}

impl Total {
    /// A total of which every field is `value`.
    #[inline(always)]
    const fn of(value: u32) -> Self {
        Self {
            count: value,
            squares: value,
            root: value,
        }
    }

    /// Counts so many.
    #[inline(always)]
    pub const fn add(&mut self, more: u32) {
        self.count = self.count.wrapping_add(more);
        let before = self.squares / QUARTER;
        self.squares = self.squares.wrapping_add(more * more);
        let quarters = self.squares / QUARTER;
        if quarters != before {
            let next = self.root + 1;
            if next * next <= quarters {
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
    /// SYNs, counted or not.
    seen: u32,
    /// The last second in which all SYNs are counted.
    all_until: u32,
    /// In the sketch of prefixes.
    pub replies: Total,
    /// In the sketch of sources.
    pub syns: Total,
}

impl Totals {
    /// Begins at `zero`, which is 0, in a new second. The data path hands over one that the
    /// compiler does not know: of many that it knows it makes a call.
    #[inline(always)]
    pub const fn begin(&mut self, second: u32, zero: u32) {
        if self.second != second {
            *self = Self {
                second,
                seen: zero,
                all_until: self.all_until,
                replies: Total::of(zero),
                syns: Total::of(zero),
            };
        }
    }

    /// As how many a SYN counts: 1, or 0 or eight. Which SYNs count is a matter of
    /// `hash`, which nobody outside may know, and of how many came.
    #[inline(always)]
    pub const fn weight(&mut self, hash: u64) -> u32 {
        // An odd constant of xxHash64.
        const STEP: u64 = 0x9e37_79b1_85eb_ca87;
        self.seen = self.seen.wrapping_add(1);
        if self.seen <= COUNTED_SINGLY || self.all_until.wrapping_sub(self.second) <= 1 {
            1
        } else if (hash ^ (self.seen as u64).wrapping_mul(STEP)) >> 61 == 0 {
            OTHERS
        } else {
            0
        }
    }

    /// A prefix got as many replies as it may: every SYN of this second and the
    /// next is counted.
    #[inline(always)]
    pub const fn count_all(&mut self) {
        self.all_until = self.second.wrapping_add(1);
    }

    /// Whether so many replies to a prefix are enough for a heavy source. Some
    /// that only collide may pass: they are few, so that there is little left for
    /// sources to collide with.
    #[inline(always)]
    #[must_use]
    pub const fn is_busy(&self, replies: u32, heavy: u32) -> bool {
        replies >= heavy / 2 + self.replies.likely_noise()
    }

    /// Counts a SYN of a source whose prefix is busy as so many; whether the source
    /// is heavy.
    #[inline(always)]
    pub fn is_heavy(
        &mut self,
        cells: &mut Cells,
        hash: u64,
        second: u32,
        heavy: u32,
        weight: u32,
    ) -> bool {
        self.syns.add(weight);
        add(cells, hash, second, weight);
        // One that counts as eight is no more of a sign than one.
        let least = LEAST_HEAVY as u32 * weight;
        let heavy = if heavy > least { heavy } else { least };
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
            total.add(1);
            assert_eq!(total.count, count);
            assert_eq!(total.root, (count / QUARTER).isqrt(), "{count}");
        }
    }

    #[test]
    fn what_is_counted_as_eight_deviates_more() {
        let mut total = Total::default();
        for count in 1..150_000_u32 {
            total.add(8);
            assert_eq!(total.count, 8 * count);
            assert_eq!(total.root, (64 * count / QUARTER).isqrt(), "{count}");
        }
    }

    #[test]
    fn of_many_syns_one_in_eight_counts_as_eight() {
        const MANY: u32 = 1_000_000;
        let mut totals = Totals::default();
        totals.begin(7, 0);
        let mut counted = [0_u32; 4];
        for index in 0..MANY {
            let hash = u64::from(index % 4).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
            let weight = totals.weight(hash);
            assert!(index < COUNTED_SINGLY && weight == 1 || [0, 8].contains(&weight));
            counted[index as usize % 4] += weight;
        }
        for count in counted {
            assert!(count.abs_diff(MANY / 4) < MANY / 100, "{counted:?}");
        }
        totals.count_all();
        for second in [7, 8] {
            totals.begin(second, 0);
            assert!((0..MANY).all(|hash| totals.weight(hash.into()) == 1));
        }
        totals.begin(9, 0);
        assert!((0..MANY).any(|hash| totals.weight(hash.into()) == 0));
    }

    #[test]
    fn a_new_second_forgets() {
        let mut totals = Totals::default();
        totals.begin(1, 0);
        (0..QUARTER).for_each(|_| totals.replies.add(1));
        totals.begin(1, 0);
        assert_eq!(totals.replies.likely_noise(), 1);
        totals.begin(2, 0);
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
