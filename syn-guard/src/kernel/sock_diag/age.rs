//! How long a connection has been half-open.

use std::time::Duration;

/// The first SYN-ACK time-out, seconds: `TCP_TIMEOUT_INIT`.
const FIRST_TIMEOUT: u64 = 1;

/// The longest one, seconds: `TCP_RTO_MAX`.
const LONGEST_TIMEOUT: u64 = 120;

/// Time since the SYN arrived, by the SYN-ACK timer.
///
/// The timer runs for 1 s, then for twice as long after each time-out
/// (`tcp_reqsk_timeout`, Linux 6.1): after `retransmits` of them and with
/// `expires` left, the sum of all periods less `expires` has passed.
///
/// An estimate: the kernel tells SYN-ACKs sent again (`num_retrans`), also
/// those for a SYN that the client sent again, where the period goes by
/// time-outs alone. An honest client that retransmits looks older than it is.
#[must_use]
pub fn half_open_age(retransmits: u8, expires: Duration) -> Duration {
    let periods: u64 = (0..=u32::from(retransmits))
        .map(|n| FIRST_TIMEOUT.checked_shl(n.min(63)).unwrap_or(u64::MAX))
        .map(|period| period.min(LONGEST_TIMEOUT))
        .sum();
    Duration::from_secs(periods).saturating_sub(expires)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn age(retransmits: u8, expires_ms: u64) -> u128 {
        half_open_age(retransmits, Duration::from_millis(expires_ms)).as_millis()
    }

    #[test]
    fn the_first_period_lasts_one_second() {
        assert_eq!(age(0, 1000), 0);
        assert_eq!(age(0, 250), 750);
        assert_eq!(age(0, 0), 1000);
    }

    #[test]
    fn periods_double() {
        assert_eq!(age(1, 2000), 1000);
        assert_eq!(age(2, 4000), 3000);
        // tcp_synack_retries=5: 63 s.
        assert_eq!(age(5, 0), 63_000);
    }

    #[test]
    fn periods_end_at_two_minutes() {
        assert_eq!(age(6, 0), 127_000);
        assert_eq!(age(7, 0), 127_000 + 120_000);
        assert_eq!(age(255, 0), 127_000 + 249 * 120_000);
    }

    #[test]
    fn more_left_than_there_was_is_no_age() {
        assert_eq!(age(0, 5000), 0);
    }
}
