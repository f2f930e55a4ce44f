//! A frame through both.

use std::collections::HashMap;
use std::iter::once;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use syn_guard_common::abi::Reason;
use xtask::lab::patience;

use super::Rig;
use super::outcome::{Disagreement, Outcome, code_of};
use crate::reference::{Counts, Frame};

/// New half-open connections a second, below what the program tracks (21 in
/// 1.05 ms on each CPU, 8,192 at once).
const TRACKED_A_SECOND: f64 = 15_000.0;
const TRACKED_AT_ONCE: f64 = 6_000.0;
/// The program's clock is coarse and read once a jiffy: it may be this late.
const CLOCK_LATE_NS: u64 = 50_000_000;
/// The connection filter forgets after 65 s.
const MARK_EVERY: Duration = Duration::from_secs(15);

impl Rig {
    /// A frame as this kernel can have it.
    pub fn fit(&self, mut frame: Frame) -> Frame {
        // What `BPF_PROG_TEST_RUN` leaves of a page for a first buffer: the
        // headroom is 256 bytes, the tailroom 320 (`struct skb_shared_info`).
        const PAGE: usize = 4096 - 256 - 320;
        if !self.splits {
            frame.linear = frame.bytes.len();
        }
        frame.linear = frame.linear.min(PAGE);
        frame
    }

    /// Runs a frame through both.
    pub fn run(&mut self, frame: &Frame) -> Result<Reason, Box<Disagreement>> {
        if self.marked.elapsed() > MARK_EVERY {
            self.mark_connections();
        }
        let half_open = self.world.half_open.len();
        let decision = self.world.decide(frame);
        if self.world.half_open.len() > half_open {
            self.pace();
        }
        let earliest = coarse_ns().saturating_sub(CLOCK_LATE_NS * u64::from(patience()));
        let code = self
            .datapath
            .test_run(&frame.bytes, frame.linear, &mut self.output)
            .unwrap();
        let latest = coarse_ns();

        let reasons = self.reasons();
        let right_code = code == code_of(decision.reason.action());
        let right_frame = match &decision.reply {
            None => self.output == frame.bytes,
            Some(reply) => moments(earliest, latest)
                .into_iter()
                .any(|moment| self.output == reply.at(moment, &self.output)),
        };
        if right_code && right_frame && reasons == [decision.reason] {
            return Ok(decision.reason);
        }
        Err(Box::new(Disagreement {
            frame: frame.clone(),
            program: Outcome {
                code,
                reasons,
                frame: self.output.clone(),
            },
            model: Outcome {
                code: code_of(decision.reason.action()),
                reasons: vec![decision.reason],
                frame: match &decision.reply {
                    None => frame.bytes.clone(),
                    Some(reply) => reply.at(latest, &self.output),
                },
            },
        }))
    }

    /// Waits until the program may track another connection.
    fn pace(&mut self) {
        self.tracked += 1.0;
        let allowed = TRACKED_AT_ONCE + self.started.elapsed().as_secs_f64() * TRACKED_A_SECOND;
        let ahead = self.tracked - allowed;
        if ahead > 0.0 {
            std::thread::sleep(Duration::from_secs_f64(ahead / TRACKED_A_SECOND));
        }
    }

    /// The reasons counted since the last time.
    pub(super) fn reasons(&mut self) -> Vec<Reason> {
        let now = self.datapath.maps.verdicts().unwrap();
        let mut reasons = Vec::new();
        for ((reason, count), before) in now.into_iter().zip(&mut self.counted) {
            reasons.extend((*before..count).map(|_| reason));
            *before = count;
        }
        reasons
    }

    /// What the program counted and the model predicts, by port.
    pub fn counts(&self) -> HashMap<u16, (Counts, Counts)> {
        let services = self.world.services.iter();
        services
            .map(|(port, service)| {
                let counters = self.datapath.maps.counters(service.slot).unwrap();
                assert_eq!(counters.untracked, 0, "port {port}: it was too fast");
                let counted = Counts {
                    syns: counters.syns,
                    syn_retransmissions: counters.syn_retransmissions,
                    tracked: counters.tracked,
                    completed: counters.completed,
                    reset: counters.reset,
                    cookies_sent: counters.cookies_sent,
                    protections: counters.protections,
                    allowed: counters.allowed,
                    denied: counters.denied,
                };
                (*port, (counted, service.counts))
            })
            .collect()
    }
}

/// One moment for each answer that may be right between two: TSval changes
/// with the milliseconds.
fn moments(earliest: u64, latest: u64) -> Vec<u64> {
    const MS: u64 = 1_000_000;
    // The latest is the likeliest. It may be in another epoch than its whole millisecond: one in
    // four epochs began so.
    let whole = (earliest / MS + 1..=latest / MS).rev().map(|ms| ms * MS);
    once(latest).chain(whole).chain(once(earliest)).collect()
}

/// `CLOCK_MONOTONIC`, nanoseconds.
pub fn now_ns() -> u64 {
    clock(ClockId::CLOCK_MONOTONIC)
}

/// The clock that the program reads.
fn coarse_ns() -> u64 {
    clock(ClockId::CLOCK_MONOTONIC_COARSE)
}

fn clock(id: ClockId) -> u64 {
    let time = clock_gettime(id).unwrap();
    Duration::from(time).as_nanos() as u64
}
