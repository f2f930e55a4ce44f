//! Leaky buckets: a level that events raise and time lowers.
//!
//! A tick is 2^20 ns, of which a second has 953.7. An event raises the level by
//! [`UNIT`], each tick lowers it by the rate: so it falls by the rate's count of
//! events a second, without a division and with an error of 0.03 %.

/// What one event adds.
pub const UNIT: u64 = 954;
/// Nanoseconds of a tick, as a shift.
pub const TICK_SHIFT: u32 = 20;
/// Ticks after which every level that its rate bounds is empty.
const LONG: u64 = 2 * UNIT;
/// A higher rate is as good as none.
const MOST: u64 = 1 << 40;

/// The tick of a moment.
#[inline(always)]
#[must_use]
pub const fn tick(now_ns: u64) -> u64 {
    now_ns >> TICK_SHIFT
}

/// The level that holds `rate` events: what comes within a second at that rate.
#[inline(always)]
#[must_use]
pub const fn full(rate: u64) -> u64 {
    let rate = if rate > MOST { MOST } else { rate };
    rate * UNIT
}

/// What `passed` ticks take away.
#[inline(always)]
#[must_use]
pub const fn leak(rate: u64, passed: u64) -> u64 {
    let rate = if rate > MOST { MOST } else { rate };
    let passed = if passed > LONG { LONG } else { passed };
    rate * passed
}

/// The ticks from `then` to `now`; none when another CPU's clock is ahead.
#[inline(always)]
#[must_use]
pub const fn passed(now: u64, then: u64) -> u64 {
    let passed = now.wrapping_sub(then);
    if passed > u64::MAX >> 1 { 0 } else { passed }
}

/// The level that a map value holds. Several CPUs may have taken more away at
/// once than there was: then it is below 0 for a moment.
#[inline(always)]
#[must_use]
pub const fn level(value: u64) -> u64 {
    if value > u64::MAX >> 1 { 0 } else { value }
}

/// Whole events of a level.
#[inline(always)]
#[must_use]
pub const fn events(level: u64) -> u64 {
    level / UNIT
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// A bucket on one CPU, as the data path uses these functions.
    struct Bucket {
        rate: u64,
        level: u64,
        then: u64,
    }

    impl Bucket {
        fn lower(&mut self, now_ns: u64) {
            let passed = passed(tick(now_ns), self.then);
            self.level -= self.level.min(leak(self.rate, passed));
            self.then = tick(now_ns).max(self.then);
        }

        fn admits(&mut self, now_ns: u64) -> bool {
            self.lower(now_ns);
            let admits = self.level < full(self.rate);
            if admits {
                self.level += UNIT;
            }
            admits
        }
    }

    fn bucket(rate: u64) -> Bucket {
        Bucket {
            rate,
            level: 0,
            then: 0,
        }
    }

    #[test]
    fn within_its_rate_nothing_is_refused() {
        for rate in [1, 7, 200, 50_000] {
            let mut bucket = bucket(rate);
            // A thousandth slower than the rate: the error of a unit.
            let gap = SECOND / rate + SECOND / rate / 1000 + 1;
            for index in 0..3 * rate {
                assert!(bucket.admits(index * gap), "rate {rate}, event {index}");
            }
        }
    }

    #[test]
    fn past_its_rate_it_admits_the_rate_and_what_fills_it() {
        for rate in [1, 7, 200, 50_000] {
            let mut bucket = bucket(rate);
            let gap = SECOND / (rate * 10);
            let admitted = (0..rate * 100)
                .filter(|index| bucket.admits(index * gap))
                .count() as u64;
            // Ten seconds, and one that it holds.
            let expected = rate * 11;
            assert!(
                admitted.abs_diff(expected) <= 1 + expected / 500,
                "rate {rate}: {admitted}"
            );
        }
    }

    #[test]
    fn what_completes_leaves_no_trace() {
        let mut bucket = bucket(3);
        for index in 0..20_000 {
            assert!(bucket.admits(index * 1000));
            bucket.level -= bucket.level.min(UNIT);
        }
        assert_eq!(bucket.level, 0);
    }

    #[test]
    fn extremes_do_not_overflow() {
        assert!(full(u64::MAX) < u64::MAX >> 1);
        assert!(leak(u64::MAX, u64::MAX) < u64::MAX >> 1);
        assert!(leak(5, u64::MAX) >= full(5), "a long time empties it");
        assert_eq!(passed(5, 6), 0);
        assert_eq!(passed(6, 5), 1);
        assert_eq!(level(0_u64.wrapping_sub(UNIT)), 0);
        assert_eq!(events(full(200)), 200);
    }
}
