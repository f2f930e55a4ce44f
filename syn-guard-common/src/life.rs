//! How long the kernel keeps a half-open connection.

/// The kernel's first SYN-ACK time-out, seconds (`TCP_TIMEOUT_INIT`).
const FIRST_TIMEOUT: u64 = 1;
/// The longest time-out between two SYN-ACKs, seconds (`TCP_RTO_MAX`).
const LONGEST_TIMEOUT: u64 = 120;
/// `net.ipv4.tcp_synack_retries` is a byte.
const MOST_RETRIES: u32 = 255;

/// The time-outs of a half-open connection's SYN-ACKs one after the other,
/// nanoseconds: they double from 1 s up to 120 s.
pub fn timeouts() -> impl Iterator<Item = u64> {
    (0..=MOST_RETRIES)
        .map(|retry| {
            FIRST_TIMEOUT
                .checked_shl(retry.min(32))
                .unwrap_or(LONGEST_TIMEOUT)
        })
        .map(|seconds| seconds.min(LONGEST_TIMEOUT) * 1_000_000_000)
}

/// Nanoseconds that a half-open connection lives without an answer, for a
/// `net.ipv4.tcp_synack_retries`: that many time-outs and one
/// (`reqsk_timer_handler`, Linux 6.18).
#[must_use]
pub fn half_open_life_ns(synack_retries: u32) -> u64 {
    timeouts()
        .take(synack_retries.min(MOST_RETRIES) as usize + 1)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_life_of_a_half_open_connection_follows_tcp_synack_retries() {
        let seconds = |retries| half_open_life_ns(retries) / 1_000_000_000;
        assert_eq!(seconds(0), 1);
        assert_eq!(seconds(1), 3);
        assert_eq!(seconds(5), 63);
        assert_eq!(seconds(7), 127 + 120);
        assert_eq!(seconds(u32::MAX), 127 + 249 * 120);
    }
}
