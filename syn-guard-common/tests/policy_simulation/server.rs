//! A server with one service, its stack and its data path, in steps of 100 ms.

use std::collections::VecDeque;

use syn_guard_common::abi::{Mode, SAMPLE_BITS, SAMPLE_SYNS, SourceSample, State, TRACK_BUDGET};
use syn_guard_common::policy::{
    Counts, Outcome, Reason, Rules, Sample, Service, Sources, Switch, Trigger,
};

use crate::random::{Random, mix};
use crate::traffic::Traffic;

pub const SECOND: u64 = 1_000_000_000;
const STEP: u64 = SECOND / STEPS;
const STEPS: u64 = 10;
/// SYNs a second from which a source is heavy.
const HEAVY: u64 = 100;
/// SYNs that a step may track.
const BUDGET: u64 = TRACK_BUDGET * 95;

/// Who sent some SYNs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    Honest,
    Spoofed,
    Few,
    Resetting,
}

/// How some connections began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Tracked,
    Untracked,
    Cookie,
}

/// What is to happen at a step.
#[derive(Clone, Copy, Debug)]
enum Later {
    /// So many handshakes complete, of clients from this one on.
    Complete(Way, u64, u64),
    /// The clients did not hear of the SYN-ACK and send their SYN again.
    Again(Way, u64),
    /// Half-open connections end in the stack, and as tracked ones.
    End(u64, u64),
}

pub struct Server {
    pub rules: Rules,
    pub service: Service,
    backlog: u64,
    step: u64,
    random: Random,
    state: State,
    since_ns: u64,
    counts: Counts,
    /// Half-open connections that are tracked.
    half_open: u64,
    /// Half-open connections in the stack.
    in_kernel: u64,
    /// SYNs of this second that were not tracked.
    untracked: u64,
    refused: u64,
    unanswered: u64,
    clients: u64,
    forged: u64,
    sample: SourceSample,
    later: VecDeque<Vec<Later>>,
    /// Honest connections that began and that completed.
    pub honest: (u64, u64),
}

impl Server {
    pub fn new(rules: Rules, backlog: u64, seed: u64) -> Self {
        Self {
            rules,
            service: Service::new(0),
            backlog,
            step: 0,
            random: Random::new(seed),
            state: State::Observing,
            since_ns: 0,
            counts: Counts::default(),
            half_open: 0,
            in_kernel: 0,
            untracked: 0,
            refused: 0,
            unanswered: 0,
            clients: 0,
            forged: 0,
            sample: SourceSample::default(),
            later: VecDeque::new(),
            honest: (0, 0),
        }
    }

    fn now_ns(&self) -> u64 {
        self.step * STEP
    }

    /// A second of traffic; what the policy made of it, and whether the data
    /// path switched by itself.
    pub fn second(&mut self, traffic: &Traffic) -> (Outcome, bool) {
        let mut switched = false;
        self.untracked = 0;
        for _ in 0..STEPS {
            self.step += 1;
            if let Some(switch) = self.run(traffic) {
                self.service.switched(&switch, self.now_ns());
                switched = true;
            }
        }
        let sample = Sample {
            // The controller is never quite on time.
            now_ns: self.now_ns() + self.random.between(0, 50_000_000),
            state: self.state,
            since_ns: self.since_ns,
            half_open: self.half_open,
            in_kernel: self.in_kernel,
            retransmitted: self
                .in_kernel
                .saturating_sub(self.rules.limits.half_open.on),
            refused: self.refused,
            counts: self.counts,
            sources: Sources::of(std::slice::from_ref(&self.sample)),
        };
        self.sample = SourceSample::default();
        self.refused = 0;
        let outcome = self.service.second(&sample, &self.rules);
        if let Some(state) = outcome.tell {
            (self.state, self.since_ns) = (state, sample.now_ns);
        }
        (outcome, switched)
    }

    fn run(&mut self, traffic: &Traffic) -> Option<Switch> {
        for later in self.later.pop_front().unwrap_or_default() {
            self.take(later, traffic);
        }
        let level = self.rules.limits.unanswered.on / STEPS;
        self.unanswered = self.unanswered.saturating_sub(level);
        let mut budget = BUDGET;
        let mut switch = None;
        // In small portions, one of each sender after the other, so that a
        // switch comes in the midst of all.
        for portion in 0..10 {
            for (sender, rate) in [
                (Sender::Honest, traffic.honest),
                (Sender::Spoofed, traffic.spoofed),
                (Sender::Few, traffic.concentrated),
                (Sender::Resetting, traffic.reset),
            ] {
                let count = self.portion(rate, portion);
                let by_now = self.arrive(sender, count, traffic, &mut budget);
                switch = switch.or(by_now);
            }
        }
        switch
    }

    /// Of a rate a second what comes in a hundredth of it.
    fn portion(&self, rate: u64, portion: u64) -> u64 {
        let at = self.step * 10 + portion;
        rate * (at + 1) / 100 - rate * at / 100
    }

    fn arrive(
        &mut self,
        sender: Sender,
        count: u64,
        traffic: &Traffic,
        budget: &mut u64,
    ) -> Option<Switch> {
        if count == 0 {
            return None;
        }
        self.counts.syns += count;
        if sender == Sender::Few && traffic.concentrated / traffic.attackers.max(1) >= HEAVY {
            self.counts.heavy += count;
        }
        self.sample_sources(sender, count, traffic.attackers);
        if self.state != State::Observing {
            self.counts.sent += count;
            self.begin(sender, Way::Cookie, count, traffic);
            return None;
        }
        let tracked = count.min(*budget);
        *budget -= tracked;
        self.counts.tracked += tracked;
        self.counts.untracked += count - tracked;
        self.half_open += tracked;
        self.untracked += count - tracked;
        let queued = count.min(self.backlog.saturating_sub(self.in_kernel));
        self.in_kernel += queued;
        // The stack sends cookies of its own.
        self.refused += count - queued;
        self.begin(sender, Way::Tracked, tracked, traffic);
        self.begin(sender, Way::Untracked, count - tracked, traffic);
        self.unanswered += count;
        self.switch()
    }

    /// What the data path does by itself.
    fn switch(&mut self) -> Option<Switch> {
        if self.rules.mode != Mode::Auto {
            return None;
        }
        let limits = self.rules.limits;
        let (trigger, value, limit) = if self.half_open + self.untracked >= limits.half_open.on {
            (Trigger::HalfOpen, self.half_open, limits.half_open)
        } else if limits.unanswered.is_reached(self.unanswered) {
            (Trigger::UnansweredRate, self.unanswered, limits.unanswered)
        } else {
            return None;
        };
        self.state = State::Protecting;
        self.since_ns = self.now_ns();
        Some(Switch {
            at_ns: self.since_ns,
            reason: Reason {
                trigger,
                value,
                limit: limit.on,
                untracked: self.untracked,
            },
        })
    }

    /// What becomes of connections that begin now.
    fn begin(&mut self, sender: Sender, way: Way, count: u64, traffic: &Traffic) {
        if count == 0 {
            return;
        }
        let (stack, tracked) = match way {
            Way::Tracked => (count, count),
            Way::Untracked => (count, 0),
            Way::Cookie => (0, 0),
        };
        match sender {
            Sender::Honest => {
                self.honest.0 += count;
                self.answer(way, count, traffic);
            }
            Sender::Spoofed | Sender::Few => {
                let life = self.rules.life_ns / STEP;
                self.at(life, Later::End(stack, tracked));
            }
            Sender::Resetting => {
                let round_trip = self.steps(traffic);
                self.at(round_trip, Later::End(stack, tracked));
            }
        }
    }

    fn answer(&mut self, way: Way, count: u64, traffic: &Traffic) {
        let lost = (count * traffic.lost + self.random.between(0, 999)) / 1000;
        let (first, heard) = (self.clients, count - lost);
        self.clients += count;
        let round_trip = self.steps(traffic);
        self.at(round_trip, Later::Complete(way, heard, first));
        if lost > 0 {
            self.at(STEPS, Later::Again(way, lost));
        }
    }

    fn steps(&mut self, traffic: &Traffic) -> u64 {
        let ms = self
            .random
            .between(traffic.round_trip_ms, traffic.round_trip_ms * 2);
        ms * STEPS / 1000
    }

    fn at(&mut self, steps: u64, later: Later) {
        // What happens within a step is done with the next one.
        let steps = steps.max(1) as usize - 1;
        while self.later.len() <= steps {
            self.later.push_back(Vec::new());
        }
        self.later[steps].push(later);
    }

    fn take(&mut self, later: Later, traffic: &Traffic) {
        match later {
            Later::End(stack, tracked) => self.end(stack, tracked),
            Later::Again(way, count) => {
                if way == Way::Cookie || self.state != State::Observing {
                    // For the data path it is a SYN like any other.
                    self.counts.syns += count;
                    self.counts.sent += count;
                }
                self.answer(way, count, traffic);
            }
            Later::Complete(way, count, first) => {
                self.honest.1 += count;
                self.unanswered = self.unanswered.saturating_sub(count);
                match way {
                    Way::Tracked => {
                        self.counts.completed += count;
                        self.end(count, count);
                    }
                    Way::Untracked => self.end(count, 0),
                    Way::Cookie => self.counts.validated += count,
                }
                for client in first..first + count {
                    let bit = bit_of(client << 1);
                    self.sample.answered[bit / 64] |= 1 << (bit % 64);
                }
            }
        }
    }

    fn end(&mut self, stack: u64, tracked: u64) {
        self.in_kernel = self.in_kernel.saturating_sub(stack);
        self.half_open = self.half_open.saturating_sub(tracked);
    }

    fn sample_sources(&mut self, sender: Sender, count: u64, attackers: u64) {
        let room = SAMPLE_SYNS - self.sample.syns;
        let count = count.min(room);
        self.sample.syns += count;
        for index in 0..count {
            let source = match sender {
                Sender::Honest => (self.clients + index) << 1,
                Sender::Few => (u64::MAX - index % attackers) << 1,
                Sender::Spoofed | Sender::Resetting => {
                    self.forged += 1;
                    self.forged << 1 | 1
                }
            };
            let bit = bit_of(source);
            self.sample.seen[bit / 64] |= 1 << (bit % 64);
        }
    }
}

fn bit_of(source: u64) -> usize {
    mix(source.wrapping_add(1)) as usize % SAMPLE_BITS
}
