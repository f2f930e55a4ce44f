//! Properties of the sketches: what the limits of sources and prefixes go by.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;
use syn_guard_common::address::Address;
use syn_guard_common::sketch::{
    self, Cells, SKETCH_CELLS, Total, add, estimate, prefix_hash, source_hash, take,
};

fn empty() -> Box<Cells> {
    Box::new([0; SKETCH_CELLS])
}

fn source(index: u32) -> Address {
    Address::from_ipv4_word((0x0a00_0000 | index).to_be())
}

proptest! {
    /// Within a second on one CPU, whoever else is counted, nobody is counted
    /// too little; and before it nothing was.
    #[test]
    fn a_sketch_never_counts_too_little(
        seed in any::<u64>(),
        second in any::<u32>(),
        before in vec(0..300_u32, 0..1000),
        syns in vec(0..300_u32, 0..3000),
    ) {
        let mut cells = empty();
        for index in before {
            add(&mut cells, source_hash(&source(index), 0, seed), second.wrapping_sub(1), 1);
        }
        let mut exact = HashMap::new();
        for index in syns {
            add(&mut cells, source_hash(&source(index), 0, seed), second, 1);
            *exact.entry(index).or_default() += 1;
        }
        for index in 0..300 {
            let count = exact.get(&index).copied().unwrap_or(0);
            let found = estimate(&cells, source_hash(&source(index), 0, seed), second);
            prop_assert!(found >= count, "{} of {}", found, count);
        }
    }

    /// Handshakes that complete leave a source where it was, however they mix
    /// with those of others.
    #[test]
    fn who_completes_is_counted_nothing(
        seed in any::<u64>(),
        others in vec(any::<u32>(), 0..200),
    ) {
        let mut cells = empty();
        let mut open = Vec::new();
        for other in &others {
            let hash = source_hash(&source(other & 0xff_ffff), 0, seed);
            add(&mut cells, hash, 5, 1);
            open.push(hash);
            // Every second one is ended at once, the others when all began.
            if other & 1 == 0 {
                take(&mut cells, hash, 5);
                open.pop();
            }
        }
        for hash in open {
            take(&mut cells, hash, 5);
        }
        prop_assert!(cells.iter().all(|cell| sketch::count(*cell, 5) == 0));
    }
}

#[test]
fn a_forged_flood_makes_hardly_any_source_heavy() {
    const HEAVY: u32 = 25;
    let mut random = 7_u64;
    for syns in [10_000, 300_000, 2_000_000_u32] {
        let mut cells = empty();
        let (mut total, mut wrong) = (Total::default(), 0);
        for _ in 0..syns {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let hash = source_hash(&source((random >> 40) as u32), 0, 99);
            total.add(1);
            add(&mut cells, hash, 1, 1);
            wrong += u32::from(estimate(&cells, hash, 1) >= HEAVY + total.most_noise());
        }
        assert!(wrong <= syns / 10_000, "{wrong} of {syns}");
    }
}

#[test]
fn a_heavy_source_is_found_in_a_forged_flood() {
    const HEAVY: u32 = 25;
    let mut cells = empty();
    let mut random = 7_u64;
    let (mut total, mut found) = (Total::default(), 0);
    let heavy = source_hash(&source(5), 0, 99);
    for index in 0..330_000 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let is_heavy = index % 11 == 0;
        let hash = if is_heavy {
            heavy
        } else {
            source_hash(&source((random >> 40) as u32), 0, 99)
        };
        total.add(1);
        add(&mut cells, hash, 1, 1);
        found += u32::from(is_heavy && estimate(&cells, hash, 1) >= HEAVY + total.most_noise());
    }
    assert!(found > 29_900, "{found} of 30,000");
}

#[test]
fn prefixes_of_a_forged_flood_stay_below_its_noise() {
    // 10.0.0.0/8 has 65,536 prefixes: sixteen of them in each cell of a row.
    const SYNS: u32 = 300_000;
    let mut cells = empty();
    let mut random = 3_u64;
    let (mut total, mut above) = (Total::default(), 0);
    for _ in 0..SYNS {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let hash = prefix_hash(&source((random >> 40) as u32), 4);
        above += u32::from(estimate(&cells, hash, 1) >= 12 + total.likely_noise());
        total.add(1);
        add(&mut cells, hash, 1, 1);
    }
    assert!(above < SYNS / 100, "{above} of {SYNS}");
}
