//! The SYN cookie: a SYN-ACK's sequence number from which the handshake's ACK
//! proves that its sender got it, so that nothing is stored for a SYN.
//!
//! | bits | what |
//! | --- | --- |
//! | 31-4 | keyed hash of the four-tuple, the client's sequence number, the epoch and the bits below |
//! | 3 | the epoch's parity |
//! | 2-0 | class of the [`Terms`] |
//!
//! A forger hits one in 2^28 tries. A cookie is good in its epoch and the next
//! one: 69 to 137 s.

mod siphash;
mod terms;

pub use siphash::Key;
pub use terms::Terms;

use crate::flow::Flow;
use siphash::siphash13;

/// An epoch lasts 2^36 ns (68.7 s).
pub const EPOCH_SHIFT: u32 = 36;

/// The epoch of a `CLOCK_MONOTONIC` time in nanoseconds.
#[inline(always)]
#[must_use]
pub const fn epoch(now_ns: u64) -> u64 {
    now_ns >> EPOCH_SHIFT
}

/// The epoch that a cookie was made in, if it is still good in epoch `now`.
#[inline(always)]
#[must_use]
pub const fn epoch_of(cookie: u32, now: u64) -> u64 {
    if (cookie >> 3) as u64 & 1 == now & 1 {
        now
    } else {
        now.wrapping_sub(1)
    }
}

/// The cookie for a SYN.
#[inline(always)]
#[must_use]
pub fn make(
    key: &Key,
    flow: &Flow,
    sequence: u32,
    epoch: u64,
    class: u32,
    timestamps: bool,
) -> u32 {
    let low = (((epoch & 1) as u32) << 3) | (class & (terms::CLASSES - 1));
    let context = (epoch << 8) | (u64::from(timestamps) << 4) | u64::from(low);
    let ports = (u64::from(sequence) << 32)
        | (u64::from(flow.remote_port) << 16)
        | u64::from(flow.local_port);
    let remote = &flow.remote.0;
    let local = &flow.local.0;
    let pair = |a: u32, b: u32| (u64::from(a) << 32) | u64::from(b);
    let hash = if flow.remote.is_ipv4() {
        siphash13(key, [pair(remote[3], local[3]), ports], context)
    } else {
        siphash13(
            key,
            [
                pair(remote[0], remote[1]),
                pair(remote[2], remote[3]),
                pair(local[0], local[1]),
                pair(local[2], local[3]),
                ports,
            ],
            context,
        )
    };
    ((hash >> 32) as u32 & !0xf) | low
}

/// The terms that the ACK of a cookie proves, or none when it is no cookie of
/// this flow. `sequence` is the client's initial one, `key` the one of
/// [`epoch_of`] the cookie, `echo` the
/// timestamp that the ACK echoes, if it has `timestamps`. An ACK without may be of a SYN
/// with: then the options that these carried are lost.
#[inline(always)]
#[must_use]
pub fn check(
    key: &Key,
    flow: &Flow,
    sequence: u32,
    cookie: u32,
    now: u64,
    timestamps: bool,
    echo: u32,
) -> Option<Terms> {
    let class = cookie & (terms::CLASSES - 1);
    let epoch = epoch_of(cookie, now);
    if make(key, flow, sequence, epoch, class, timestamps) == cookie {
        return Some(if timestamps {
            Terms::with_timestamps(class, echo & terms::OPTION_BITS)
        } else {
            Terms::bare(class)
        });
    }
    // Where a box on the way takes away timestamps that were agreed on, the MSS is left: so
    // the kernel's own cookies do (`cookie_timestamp_decode`, Linux 6.18).
    let is_stripped = !timestamps && make(key, flow, sequence, epoch, class, true) == cookie;
    is_stripped.then(|| Terms::stripped(class))
}

/// The SYN-ACK's timestamp (RFC 7323 TSval), with the terms in its low bits:
/// the newest such value that is not above the kernel's clock of milliseconds.
#[inline(always)]
#[must_use]
pub fn timestamp(terms: &Terms, now_ns: u64) -> u32 {
    let now = (now_ns / 1_000_000) as u32;
    let value = (now & !terms::OPTION_BITS) | terms.option_bits();
    if value > now {
        value.wrapping_sub(terms::OPTION_BITS + 1)
    } else {
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::listener_flags::{ECN, SACK, TIMESTAMPS, WINDOW_SCALING};
    use crate::wire::{Options, found};
    use core::net::IpAddr;

    const KEY: Key = Key { k0: 1, k1: 2 };
    const ALL: u32 = TIMESTAMPS | SACK | WINDOW_SCALING | ECN;

    fn flows() -> [Flow; 2] {
        ["10.1.2.3", "2001:db8::7"].map(|remote| Flow {
            remote: remote.parse::<IpAddr>().unwrap().into(),
            local: if remote.contains(':') {
                "2001:db8::1"
            } else {
                "198.18.0.1"
            }
            .parse::<IpAddr>()
            .unwrap()
            .into(),
            remote_port: 40_000,
            local_port: 80,
        })
    }

    #[test]
    fn what_was_granted_comes_back() {
        for flow in flows() {
            for bits in 0..64_u32 {
                let offer = Options {
                    found: bits & 7,
                    mss: if bits & 32 != 0 { 1460 } else { 1300 },
                    scale: if bits & 16 != 0 { 8 } else { 14 },
                    ..Options::default()
                };
                let (terms, class) = Terms::grant(&offer, bits & 8 != 0, ALL);
                assert_eq!(terms.timestamps(), bits & found::TIMESTAMPS != 0);
                let now = 7 << EPOCH_SHIFT;
                let cookie = make(&KEY, &flow, 1000, epoch(now), class, terms.timestamps());
                let echo = timestamp(&terms, now);
                let get = |later| {
                    check(
                        &KEY,
                        &flow,
                        1000,
                        cookie,
                        epoch(now) + later,
                        terms.timestamps(),
                        echo,
                    )
                };
                assert_eq!(get(0), Some(terms), "{offer:?}");
                assert_eq!(get(1), Some(terms), "{offer:?}");
                assert_eq!(get(2), None);
            }
        }
    }

    #[test]
    fn a_cookie_is_good_for_its_own_connection_only() {
        for flow in flows() {
            let cookie = make(&KEY, &flow, 1000, 4, 3, false);
            let good = |key: &Key, flow: &Flow, sequence, cookie, timestamps| {
                check(key, flow, sequence, cookie, 4, timestamps, 0).is_some()
            };
            assert!(good(&KEY, &flow, 1000, cookie, false));
            assert!(!good(&Key { k0: 1, k1: 3 }, &flow, 1000, cookie, false));
            assert!(!good(&KEY, &flow, 1001, cookie, false));
            assert!(
                !good(&KEY, &flow, 1000, cookie, true),
                "nobody puts timestamps in"
            );
            assert!(!good(
                &KEY,
                &Flow {
                    remote_port: 40_001,
                    ..flow
                },
                1000,
                cookie,
                false
            ));
            assert!(!good(
                &KEY,
                &Flow {
                    local_port: 81,
                    ..flow
                },
                1000,
                cookie,
                false
            ));
            for bit in 0..32 {
                assert!(
                    !good(&KEY, &flow, 1000, cookie ^ (1 << bit), false),
                    "bit {bit}"
                );
            }
        }
    }

    #[test]
    fn without_the_timestamps_that_were_agreed_on_the_mss_is_left() {
        for flow in flows() {
            let offer = Options {
                found: found::SCALE | found::SACK | found::TIMESTAMPS,
                mss: 1410,
                scale: 7,
                ..Options::default()
            };
            let (terms, class) = Terms::grant(&offer, true, ALL);
            let cookie = make(&KEY, &flow, 1000, 4, class, true);
            let stripped = check(&KEY, &flow, 1000, cookie, 4, false, 0).unwrap();
            assert_eq!(stripped.mss(), terms.mss());
            assert!(!stripped.timestamps() && !stripped.scaling());
            assert!(!stripped.sack() && !stripped.ecn());
        }
    }

    #[test]
    fn a_timestamp_is_never_ahead_of_the_clock_and_never_far_behind() {
        let offer = Options {
            found: 7,
            mss: 1460,
            scale: 7,
            ..Options::default()
        };
        let (terms, _) = Terms::grant(&offer, true, ALL);
        for ms in (100..10_000_u64).chain(1_000_000..1_000_100) {
            let value = timestamp(&terms, ms * 1_000_000 + 999_999);
            assert!(
                u64::from(value) <= ms && u64::from(value) + 64 > ms,
                "{ms} {value}"
            );
        }
    }
}
