//! What arrives at a service.

use crate::random::Random;

/// Traffic of one kind after the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    /// Honest connections a second, each from a source of its own.
    pub honest: u64,
    /// Their round trip, milliseconds: up to twice as long for some.
    pub round_trip_ms: u64,
    /// SYN-ACKs lost on the way to them, of a thousand.
    pub lost: u64,
    /// Forged SYNs a second, from ever new sources.
    pub spoofed: u64,
    /// SYNs a second from a few sources that never answer.
    pub concentrated: u64,
    /// How many these are.
    pub attackers: u64,
    /// Forged SYNs a second whose sources exist and answer with RST.
    pub reset: u64,
    /// The attack is on for this many seconds, then off for as many; 0: always
    /// on.
    pub pulse: u64,
}

impl Traffic {
    /// What arrives in a second of it.
    pub fn in_second(&self, second: u64) -> Self {
        if self.pulse != 0 && (second / self.pulse) % 2 == 1 {
            return Self {
                spoofed: 0,
                concentrated: 0,
                reset: 0,
                ..*self
            };
        }
        *self
    }

    /// Everyday traffic.
    pub fn honest(random: &mut Random) -> Self {
        Self {
            honest: random.between(0, 800),
            round_trip_ms: random.between(5, 250),
            lost: random.between(0, 30),
            ..Self::default()
        }
    }
}
