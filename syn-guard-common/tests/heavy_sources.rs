//! Who is found heavy when a flood is spread over the CPUs of a large machine, as
//! receive queues spread it: each SYN of a source has another port.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

use syn_guard_common::address::Address;
use syn_guard_common::sketch::{self, Cells, SKETCH_CELLS, Totals};

/// Unanswered SYNs a second that a source may have: the default.
const SOURCE_RATE: u64 = 200;

/// What a CPU counts with.
struct Cpu {
    prefixes: Box<Cells>,
    sources: Box<Cells>,
    totals: Totals,
}

impl Cpu {
    fn new() -> Self {
        let cells = || vec![0; SKETCH_CELLS].into_boxed_slice().try_into().unwrap();
        Self {
            prefixes: cells(),
            sources: cells(),
            totals: Totals::default(),
        }
    }

    /// What `sources::syn` of the data path does with a SYN; whether its source is
    /// heavy.
    fn syn(&mut self, source: &Address, second: u32, heavy: u32) -> bool {
        const SEED: u64 = 0x5eed;
        self.totals.begin(second, 0);
        let hash = sketch::source_hash(source, 0, SEED);
        let weight = self.totals.weight(hash);
        if weight == 0 {
            return false;
        }
        let prefix = sketch::prefix_hash(source, SEED);
        let replies = sketch::estimate(&self.prefixes, prefix, second);
        let (totals, sources) = (&mut self.totals, &mut self.sources);
        let is_heavy =
            totals.is_busy(replies, heavy) && totals.is_heavy(sources, hash, second, heavy, weight);
        totals.replies.add(weight);
        sketch::add(&mut self.prefixes, prefix, second, weight);
        is_heavy
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }
}

/// A flood with forged sources, and a source of its own that sends as well.
#[derive(Debug)]
struct Setting {
    cpus: u64,
    /// Forged SYNs a second.
    forged_rate: u64,
    /// Bits that all forged sources have in common.
    forged_bits: u32,
    /// SYNs a second of the one source.
    rate: u64,
    seconds: u32,
}

#[derive(Debug, Default)]
struct Found {
    /// The second in which the source was found heavy, counted from 1.
    second: Option<u32>,
    /// Forged SYNs of sources that were called heavy.
    forged: u64,
    sent: u64,
}

fn run(setting: &Setting) -> Found {
    let mut cpus: Vec<_> = (0..setting.cpus).map(|_| Cpu::new()).collect();
    let heavy = sketch::heavy(SOURCE_RATE, setting.cpus);
    let mut random = Random(u64::from(setting.forged_bits) + setting.cpus);
    let source = Address::from_ipv4_word(0xc633_6407_u32.to_be());
    let mut found = Found::default();
    let all = setting.forged_rate + setting.rate;
    for second in 1..=setting.seconds {
        for _ in 0..all {
            let cpu = &mut cpus[random.below(setting.cpus) as usize];
            if random.below(all) < setting.rate {
                if cpu.syn(&source, second, heavy) && found.second.is_none() {
                    found.second = Some(second);
                }
                continue;
            }
            let forged = 0x0a00_0000 | random.next() as u32 >> setting.forged_bits;
            let forged = Address::from_ipv4_word(forged.to_be());
            found.sent += 1;
            found.forged += u64::from(cpu.syn(&forged, second, heavy));
        }
    }
    println!("{setting:?}: heavy from {heavy}: {found:?}");
    found
}

#[test]
fn a_source_over_its_limit_is_found_on_any_number_of_cpus_and_forged_ones_are_not() {
    for (cpus, forged_rate) in [
        (1, 1_000_000),
        (16, 1_000_000),
        (64, 1_000_000),
        (64, 1_000),
        (256, 1_000_000),
    ] {
        let found = run(&Setting {
            cpus,
            forged_rate,
            forged_bits: 8,
            rate: 2 * SOURCE_RATE,
            seconds: 2,
        });
        assert!(found.second.is_some(), "{cpus} CPUs, {forged_rate}");
        assert!(found.forged <= found.sent / 100_000, "{cpus} CPUs");
    }
}

#[test]
fn nor_where_all_forged_sources_are_of_a_few_prefixes() {
    // Each of 65,536 sources sends 15 SYNs a second.
    let found = run(&Setting {
        cpus: 64,
        forged_rate: 1_000_000,
        forged_bits: 16,
        rate: 2 * SOURCE_RATE,
        seconds: 2,
    });
    assert!(found.second.is_some());
    assert!(found.forged <= found.sent / 2_000);
}
