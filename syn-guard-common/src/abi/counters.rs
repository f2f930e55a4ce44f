//! Counters of a service, one set a CPU.

/// Upper bounds of the handshake histogram's buckets, milliseconds; one more
/// bucket takes what is longer.
pub const HANDSHAKE_BOUNDS_MS: [u64; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000];
/// Buckets of the handshake histogram.
pub const HANDSHAKE_BUCKETS: usize = HANDSHAKE_BOUNDS_MS.len() + 1;

/// The bucket of a handshake that took `ns` nanoseconds.
#[inline(always)]
#[must_use]
pub fn handshake_bucket(ns: u64) -> usize {
    let mut bucket = 0;
    // A sum of comparisons: no table to search, no branch to predict.
    for bound in HANDSHAKE_BOUNDS_MS {
        bucket += usize::from(ns > bound * 1_000_000);
    }
    bucket
}

/// Counts since the program was loaded, each of 8 bytes.
///
/// | offset | size | what |
/// | --- | --- | --- |
/// | 0 | 13 x 8 | handshakes by duration |
/// | 104 | 19 x 8 | the fields below, in their order |
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ServiceCounters {
    /// Handshakes seen from SYN to ACK, by duration.
    pub handshakes: [u64; HANDSHAKE_BUCKETS],
    /// Sum of their durations, nanoseconds.
    pub handshake_ns: u64,
    /// SYNs to the service.
    pub syns: u64,
    /// SYNs of connections that were half-open already.
    pub syn_retransmissions: u64,
    /// Half-open connections that were tracked.
    pub tracked: u64,
    /// SYNs that passed to the stack without being tracked.
    pub untracked: u64,
    /// Half-open connections ended by the client's ACK.
    pub completed: u64,
    /// Half-open connections ended by RST.
    pub reset: u64,
    /// Half-open connections ended by time.
    pub expired: u64,
    /// Cookies sent.
    pub cookies_sent: u64,
    /// Cookies that came back and became a connection.
    pub cookies_validated: u64,
    /// ACKs to the service while it validates that belong to no connection
    /// and carry no valid cookie.
    pub cookies_rejected: u64,
    /// Valid cookies that the stack did not take.
    pub cookies_failed: u64,
    /// Changes from observing to protecting.
    pub protections: u64,
    /// SYNs of heavy sources: those that have counters of their own.
    pub heavy_syns: u64,
    /// SYNs from allowed prefixes.
    pub allowed: u64,
    /// SYNs dropped because their prefix is denied, first fragments among them.
    pub denied: u64,
    /// SYNs dropped because their source is over its limit.
    pub source_limited: u64,
    /// SYNs dropped because too many replies went to their prefix.
    pub reply_limited: u64,
    /// Stray ACKs dropped because there were too many.
    pub strays_dropped: u64,
}

const _: () = assert!(size_of::<ServiceCounters>() == 32 * 8);

impl ServiceCounters {
    /// Adds another CPU's counts.
    pub fn add(&mut self, other: &Self) {
        for (sum, part) in self.handshakes.iter_mut().zip(other.handshakes) {
            *sum += part;
        }
        self.handshake_ns += other.handshake_ns;
        self.syns += other.syns;
        self.syn_retransmissions += other.syn_retransmissions;
        self.tracked += other.tracked;
        self.untracked += other.untracked;
        self.completed += other.completed;
        self.reset += other.reset;
        self.expired += other.expired;
        self.cookies_sent += other.cookies_sent;
        self.cookies_validated += other.cookies_validated;
        self.cookies_rejected += other.cookies_rejected;
        self.cookies_failed += other.cookies_failed;
        self.protections += other.protections;
        self.heavy_syns += other.heavy_syns;
        self.allowed += other.allowed;
        self.denied += other.denied;
        self.source_limited += other.source_limited;
        self.reply_limited += other.reply_limited;
        self.strays_dropped += other.strays_dropped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_is_not_above_its_bound_and_above_the_one_before() {
        assert_eq!(handshake_bucket(0), 0);
        assert_eq!(handshake_bucket(1_000_000), 0);
        assert_eq!(handshake_bucket(1_000_001), 1);
        assert_eq!(handshake_bucket(2_500_000_000), 10);
        assert_eq!(handshake_bucket(u64::MAX), HANDSHAKE_BUCKETS - 1);
    }
}
