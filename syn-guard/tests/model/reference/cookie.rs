//! The cookie.
//!
//! | bits | what |
//! | --- | --- |
//! | 31-4 | bits 63-36 of the SipHash-1-3 of the words below |
//! | 3 | the epoch's lowest bit |
//! | 2-0 | class |
//!
//! The words, each as 8 bytes, the lowest first: the addresses; then sequence
//! number (32 bits), remote port and local port (16 each), from the highest
//! bit; then the epoch from bit 8 on, bit 4: timestamps, bits 3-0 as in the
//! cookie. The addresses are one word of IPv4's two, remote above local, and
//! four of IPv6's two, remote before local, high half before low; where two
//! groups of four bytes share a word, the first is above, and each group is
//! written as it stands on the wire. An epoch is 2^36 ns; the key is the one of
//! slot epoch % 4.

use std::hash::Hasher as _;
use std::net::IpAddr;

use siphasher::sip::SipHasher13;

use super::world::Flow;

/// The epoch of a `CLOCK_MONOTONIC` time.
pub fn epoch(now_ns: u64) -> u64 {
    now_ns >> 36
}

/// The cookie of a SYN.
pub fn make(
    keys: &[(u64, u64); 4],
    flow: &Flow,
    sequence: u32,
    epoch: u64,
    class: u32,
    timestamps: bool,
) -> u32 {
    let (k0, k1) = keys[(epoch % 4) as usize];
    let low = ((epoch % 2) as u32) << 3 | class;
    let mut hasher = SipHasher13::new_with_keys(k0, k1);
    match (flow.remote.ip(), flow.local.ip()) {
        (IpAddr::V4(remote), IpAddr::V4(local)) => {
            hasher.write(&local.octets());
            hasher.write(&remote.octets());
        }
        (IpAddr::V6(remote), IpAddr::V6(local)) => {
            for address in [remote.octets(), local.octets()] {
                for half in [&address[..8], &address[8..]] {
                    hasher.write(&half[4..]);
                    hasher.write(&half[..4]);
                }
            }
        }
        _ => unreachable!("both addresses of a packet are of its family"),
    }
    hasher.write(&flow.local.port().to_le_bytes());
    hasher.write(&flow.remote.port().to_le_bytes());
    hasher.write(&sequence.to_le_bytes());
    let context = epoch << 8 | u64::from(timestamps) << 4 | u64::from(low);
    hasher.write(&context.to_le_bytes()[..7]);
    let hash = (hasher.finish() >> 36) as u32;
    hash << 4 | low
}

/// TSval: the newest number with these low six bits that is not ahead of the
/// clock of milliseconds.
pub fn timestamp(now_ns: u64, bits: u32) -> u32 {
    let now = now_ns / 1_000_000;
    let value = now - now % 64 + u64::from(bits);
    let value = if value > now { value - 64 } else { value };
    value as u32
}
