//! A flood that receive queues spread over 64 CPUs, each of which counts for itself:
//! what they decide about its SYNs is what one CPU decides that gets all of them.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

use std::collections::HashMap;

use syn_guard_common::abi::{
    SAMPLE_SYNS, SAMPLE_WORDS, SENT_AGE, SENT_CELLS, SENT_MANY, Sent, SourceSample, sent_cell,
    sent_lately, sent_mark,
};
use syn_guard_common::address::Address;
use syn_guard_common::bucket;
use syn_guard_common::policy::Sources;
use syn_guard_common::sketch::{self, Cells, SKETCH_CELLS, Totals};

const SEED: u64 = 0x5eed;
/// The defaults: unanswered SYNs a second that a source may have, and unanswered
/// replies a second to a prefix.
const SOURCE_RATE: u64 = 200;
const REPLY_RATE: u64 = 10_000;
const SECOND_NS: u64 = 1 << 30;
/// At HZ=250.
const JIFFY_NS: u64 = 4_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Cookie,
    OverSource,
    OverReplies,
}

/// What a CPU counts with and nobody else reads or writes.
struct Cpu {
    prefixes: Box<Cells>,
    sources: Box<Cells>,
    totals: Totals,
    sample: SourceSample,
    /// A tick, and the cookies sent in it.
    cookies: (u32, u32),
}

impl Cpu {
    fn new() -> Self {
        let cells = || vec![0; SKETCH_CELLS].into_boxed_slice().try_into().unwrap();
        Self {
            prefixes: cells(),
            sources: cells(),
            totals: Totals::default(),
            sample: SourceSample::default(),
            cookies: (0, 0),
        }
    }
}

/// A machine: its CPUs, and what they share.
struct Machine {
    cpus: Vec<Cpu>,
    heavy: u32,
    /// Of the replies to a prefix, each CPU's share.
    reply_rate: u64,
    /// Exact counters of heavy sources: level and tick of a leaky bucket.
    exact: HashMap<Address, (u64, u64)>,
    cookie_sent: Vec<u32>,
    cookies_to_all: u32,
    /// SYNs that wrote anything that CPUs share.
    shared_writes: u64,
}

impl Machine {
    fn new(cpus: u64) -> Self {
        Self {
            cpus: (0..cpus).map(|_| Cpu::new()).collect(),
            heavy: sketch::heavy(SOURCE_RATE, cpus),
            reply_rate: REPLY_RATE.div_ceil(cpus),
            exact: HashMap::new(),
            cookie_sent: vec![0; SENT_CELLS],
            cookies_to_all: 0,
            shared_writes: 0,
        }
    }

    /// What `sources::syn` and `sent::mark` of the data path do with a SYN to a
    /// service that protects.
    fn syn(&mut self, cpu: usize, source: &Address, flow_hash: u32, now_ns: u64) -> Decision {
        let decision = self.decide(cpu, source, flow_hash, now_ns);
        if decision == Decision::Cookie {
            self.remember(cpu, flow_hash, now_ns);
        }
        decision
    }

    fn decide(&mut self, cpu: usize, source: &Address, flow_hash: u32, now_ns: u64) -> Decision {
        let second = sketch::second(now_ns);
        let cpu = &mut self.cpus[cpu];
        cpu.totals.begin(second, 0);
        let weight = cpu.totals.weight(SEED ^ u64::from(flow_hash));
        let hash = sketch::source_hash(source, 0, SEED);
        let (mut prefix, mut replies, mut heavy) = (0, 0, false);
        if weight != 0 {
            if cpu.sample.syns < SAMPLE_SYNS {
                cpu.sample.syns += 1;
                let word = (hash >> 57) as usize & (SAMPLE_WORDS - 1);
                cpu.sample.seen[word] |= 1 << ((hash >> 51) & 63);
            }
            prefix = sketch::prefix_hash(source, SEED);
            replies = sketch::estimate(&cpu.prefixes, prefix, second);
            heavy = cpu.totals.is_busy(replies, self.heavy)
                && cpu
                    .totals
                    .is_heavy(&mut cpu.sources, hash, second, self.heavy, weight);
        }
        let known = self.exact.contains_key(source);
        if heavy || known {
            self.shared_writes += 1;
            let (level, tick) = self.exact.entry(*source).or_default();
            if known {
                let now = bucket::tick(now_ns);
                let leak = bucket::leak(SOURCE_RATE, bucket::passed(now, *tick));
                (*level, *tick) = (level.saturating_sub(leak), now);
                if *level >= bucket::full(SOURCE_RATE) {
                    return Decision::OverSource;
                }
                *level += bucket::UNIT;
            } else {
                *tick = bucket::tick(now_ns);
            }
        }
        if weight == 0 {
            return Decision::Cookie;
        }
        if u64::from(replies) >= self.reply_rate + u64::from(cpu.totals.replies.most_noise()) {
            cpu.totals.count_all();
            return Decision::OverReplies;
        }
        cpu.totals.replies.add(weight);
        sketch::add(&mut cpu.prefixes, prefix, second, weight);
        Decision::Cookie
    }

    /// A cookie went to this flow.
    fn remember(&mut self, cpu: usize, flow_hash: u32, now_ns: u64) {
        let jiffies = now_ns / JIFFY_NS;
        let tick = u32::from(SENT_AGE.mark(jiffies));
        let (since, count) = &mut self.cpus[cpu].cookies;
        if *since != tick {
            (*since, *count) = (tick, 0);
        }
        if *count >= SENT_MANY {
            return;
        }
        *count += 1;
        if *count == SENT_MANY {
            self.shared_writes += 1;
            self.cookies_to_all = tick;
            return;
        }
        let cell = &mut self.cookie_sent[sent_cell(flow_hash)];
        let after = sent_mark(*cell, flow_hash, jiffies);
        self.shared_writes += u64::from(after != *cell);
        *cell = after;
    }

    /// Whether a cookie may have gone to this flow lately, whichever CPU asks.
    fn lately(&self, flow_hash: u32, now_ns: u64) -> Sent {
        let jiffies = now_ns / JIFFY_NS;
        let all = self.cookies_to_all as u8;
        if all != 0 && SENT_AGE.is_recent(all, SENT_AGE.mark(jiffies)) {
            return Sent::Maybe;
        }
        sent_lately(self.cookie_sent[sent_cell(flow_hash)], flow_hash, jiffies)
    }

    /// What the controller reads of the second, and clears.
    fn take_samples(&mut self) -> Sources {
        let samples: Vec<SourceSample> = self
            .cpus
            .iter_mut()
            .map(|cpu| std::mem::take(&mut cpu.sample))
            .collect();
        Sources::of(&samples)
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

/// Who sends, how many SYNs a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Sender {
    /// Ever new sources.
    Forged,
    /// One source, far over its limit.
    Heavy,
    /// Sources of one prefix, which is to get the replies.
    Victim,
    /// Sources that send little, each its own.
    Quiet,
}

const SENDERS: [(Sender, u64); 4] = [
    (Sender::Forged, 400_000),
    (Sender::Heavy, 5_000),
    (Sender::Victim, 40_000),
    (Sender::Quiet, 1_000),
];

impl Sender {
    fn source(self, random: &mut Random) -> Address {
        let word = match self {
            Self::Forged => 0x0a00_0000 | random.next() as u32 >> 8,
            Self::Heavy => 0xc633_6407,
            Self::Victim => 0xcb00_7100 | random.next() as u32 >> 24,
            Self::Quiet => 0x6440_0000 | (random.below(1 << 10) as u32 * 256),
        };
        Address::from_ipv4_word(word.to_be())
    }
}

const SECONDS: u64 = 4;

#[derive(Default)]
struct Outcome {
    decisions: HashMap<Sender, [u64; 3]>,
    different: u64,
    all: u64,
}

impl Outcome {
    fn answered(&self, sender: Sender) -> u64 {
        self.decisions[&sender][Decision::Cookie as usize]
    }
}

/// The same SYNs to both machines.
fn run(one: &mut Machine, many: &mut Machine) -> [Outcome; 2] {
    let mut outcomes = [Outcome::default(), Outcome::default()];
    let mut random = Random(7);
    let rate: u64 = SENDERS.iter().map(|(_, rate)| rate).sum();
    let start = 1_000 * SECOND_NS;
    for index in 0..rate * SECONDS {
        let now = start + index * SECOND_NS / rate;
        let mut at = random.below(rate);
        let sender = SENDERS.iter().find(|(_, rate)| {
            let is = at < *rate;
            at = at.wrapping_sub(*rate);
            is
        });
        let sender = sender.unwrap().0;
        let source = sender.source(&mut random);
        let flow_hash = random.next() as u32;
        // As receive queues spread flows: by their hash.
        let cpu = random.below(many.cpus.len() as u64) as usize;
        let decisions = [
            one.syn(0, &source, flow_hash, now),
            many.syn(cpu, &source, flow_hash, now),
        ];
        for (outcome, decision) in outcomes.iter_mut().zip(decisions) {
            outcome.decisions.entry(sender).or_default()[decision as usize] += 1;
            outcome.all += 1;
            outcome.different += u64::from(decisions[0] != decisions[1]);
        }
        for (machine, decision) in [&*one, &*many].into_iter().zip(decisions) {
            if decision == Decision::Cookie {
                assert_eq!(machine.lately(flow_hash, now), Sent::Maybe, "SYN {index}");
            }
        }
    }
    outcomes
}

#[test]
fn many_cpus_decide_what_one_decides_and_see_the_kind_of_flood_that_it_sees() {
    let (mut one, mut many) = (Machine::new(1), Machine::new(64));
    let outcomes = run(&mut one, &mut many);
    for outcome in &outcomes {
        for (sender, counts) in &outcome.decisions {
            println!("{sender:?}: cookies, over source, over replies: {counts:?}");
        }
        println!("{} of {} differ", outcome.different, outcome.all);
    }
    let near = |sender, rate: u64, percent: u64| {
        for (outcome, cpus) in outcomes.iter().zip([1, 64]) {
            let (found, expected) = (outcome.answered(sender), rate * SECONDS);
            assert!(
                found.abs_diff(expected) * 100 <= expected * percent,
                "{sender:?} on {cpus} CPUs: {found} answered, not {expected}"
            );
        }
    };
    near(Sender::Forged, 400_000, 1);
    near(Sender::Quiet, 1_000, 3);
    near(Sender::Victim, REPLY_RATE, 5);
    // What its bucket holds when it is found comes once, and a little before.
    near(Sender::Heavy, SOURCE_RATE + SOURCE_RATE / SECONDS, 20);
    // Which of the victim's SYNs are answered is the one thing that differs.
    let different = outcomes[0].different;
    assert!(different * 100 <= outcomes[0].all, "{different}");

    // The kind of flood goes by the share of different sources.
    let shares = [one, many].map(|mut machine| {
        let sources = machine.take_samples();
        println!("{sources:?}");
        sources.unanswered as f64 / sources.syns as f64
    });
    assert!((shares[0] - shares[1]).abs() < 0.05, "{shares:?}");
    assert!(shares[0] > 0.5, "{shares:?}");
}

/// Forged SYNs to CPUs in turn; how many of them wrote what CPUs share.
fn writes(machine: &mut Machine, random: &mut Random, syns: usize, now: u64) -> u64 {
    let before = machine.shared_writes;
    for index in 0..syns {
        let source = Sender::Forged.source(random);
        let cpu = index % machine.cpus.len();
        machine.syn(cpu, &source, random.next() as u32, now);
    }
    let writes = machine.shared_writes - before;
    println!(
        "{} CPUs: {writes} writes for {syns} SYNs",
        machine.cpus.len()
    );
    writes
}

const START: u64 = 1_000 * SECOND_NS;

#[test]
fn a_cpu_that_sent_many_cookies_writes_for_itself_only() {
    let (mut machine, mut random) = (Machine::new(1), Random(9));
    writes(&mut machine, &mut random, SENT_MANY as usize, START);
    // Now and then a source is taken for heavy: fewer than one in 10,000.
    let goes_on = writes(&mut machine, &mut random, 1_000_000, START);
    assert!(goes_on <= 100, "{goes_on}");
}

#[test]
fn cpus_that_send_few_cookies_each_write_little_all_together() {
    // 2,048 jiffies.
    const TICK_NS: u64 = 2_048 * JIFFY_NS;
    let (mut machine, mut random) = (Machine::new(64), Random(9));
    let cells = SENT_CELLS as u64;
    // A million SYNs within a tick are 15,625 for each CPU: far fewer than many. A cell
    // is written twice, and then stands for all flows.
    let first = writes(&mut machine, &mut random, 1_000_000, START);
    assert!(first <= 2 * cells + 100, "{first}");
    // In each tick that follows it is written once.
    for tick in 1..4 {
        let next = writes(&mut machine, &mut random, 1_000_000, START + tick * TICK_NS);
        assert!(next <= cells + 100, "{next}");
    }
}
