//! Properties of what is computed from numbers alone.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::prelude::*;
use syn_guard_common::abi::{
    Age, SENT_AGE, SOURCE_AGE, established_cell, established_lately, listener_flags,
};
use syn_guard_common::address::Address;
use syn_guard_common::cookie::{self, Terms};
use syn_guard_common::life::half_open_life_ns;
use syn_guard_common::policy::{Hold, LEAST_HALF_OPEN, Limits, Load, Wanted};
use syn_guard_common::wire::{Options, Sum, found};

fn offer() -> impl Strategy<Value = Options> {
    (0..16_u32, any::<u16>(), any::<u8>()).prop_map(|(found, mss, scale)| Options {
        found,
        mss,
        scale,
        ..Options::default()
    })
}

/// Small numbers as often as any.
fn count() -> impl Strategy<Value = u64> {
    prop_oneof![0..4_u64, any::<u64>()]
}

/// The filters' ages, with the jiffies of a tick and the ticks they last.
fn age() -> impl Strategy<Value = (Age, u64, u64)> {
    prop_oneof![Just((SOURCE_AGE, 2048, 32)), Just((SENT_AGE, 2048, 32)),]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn terms_never_exceed_the_offer_or_the_listener(
        offer in offer(),
        ecn in any::<bool>(),
        listener in any::<u32>(),
    ) {
        let (terms, class) = Terms::grant(&offer, ecn, listener);
        let may = |option, flag| offer.found & option != 0 && listener & flag != 0;
        prop_assert!(class < 8);
        prop_assert!(terms.mss() <= offer.mss.max(536));
        prop_assert!(!terms.sack() || may(found::SACK, listener_flags::SACK));
        prop_assert!(!terms.scaling() || may(found::SCALE, listener_flags::WINDOW_SCALING));
        prop_assert!(terms.scale() <= offer.scale.min(14));
        prop_assert!(!terms.ecn() || (ecn && listener & listener_flags::ECN != 0));
        prop_assert_eq!(
            terms.timestamps(),
            may(found::TIMESTAMPS, listener_flags::TIMESTAMPS)
        );
    }

    #[test]
    fn a_larger_mss_is_never_granted_less(
        offer in offer(),
        more in any::<u16>(),
        listener in any::<u32>(),
    ) {
        let larger = Options { mss: offer.mss.saturating_add(more), ..offer };
        let granted = |offer| Terms::grant(offer, false, listener).0.mss();
        prop_assert!(granted(&offer) <= granted(&larger));
    }

    #[test]
    fn a_timestamp_is_never_ahead_of_the_clock(
        offer in offer(),
        ecn in any::<bool>(),
        listener in any::<u32>(),
        now_ns in any::<u64>(),
        later_ns in 0..1_000_000_000_u64,
    ) {
        let (terms, _) = Terms::grant(&offer, ecn, listener);
        let behind = |now_ns: u64| {
            let now = (now_ns / 1_000_000) as u32;
            now.wrapping_sub(cookie::timestamp(&terms, now_ns))
        };
        prop_assert!(behind(now_ns) < 64);
        // Nor does it go back.
        let later_ns = now_ns.saturating_add(later_ns);
        let step = cookie::timestamp(&terms, later_ns)
            .wrapping_sub(cookie::timestamp(&terms, now_ns));
        prop_assert!(step <= 1_000 + 64, "{}", step);
    }

    #[test]
    fn an_epoch_is_known_in_itself_and_the_next(now in any::<u32>(), low in any::<u32>()) {
        let now = u64::from(now);
        let cookie = (low & !8) | (((now & 1) as u32) << 3);
        prop_assert_eq!(cookie::epoch_of(cookie, now), now);
        prop_assert_eq!(cookie::epoch_of(cookie, now + 1), now);
        prop_assert_ne!(cookie::epoch_of(cookie, now + 2), now);
    }

    #[test]
    fn a_mark_lasts_its_age_and_no_longer(
        (age, tick, ticks) in age(),
        start in 0..u64::MAX / 2,
        passed in 0..127 * 2048_u64,
    ) {
        let cell = age.mark(start);
        prop_assert_ne!(cell, 0);
        let recent = age.is_recent(cell, age.mark(start + passed));
        if passed <= ticks * tick {
            prop_assert!(recent);
        } else if passed > (ticks + 1) * tick && passed < 126 * tick {
            prop_assert!(!recent);
        }
        prop_assert!(!age.is_recent(0, age.mark(start)));
        // Another CPU is a tick ahead.
        prop_assert!(age.is_recent(age.mark(start + tick), cell));
    }

    #[test]
    fn an_established_cell_tells_its_flow(
        hash in any::<u32>(),
        other in any::<u32>(),
        start in 1_u64 << 31..1 << 40,
        passed in 0..1_u64 << 41,
    ) {
        let cell = established_cell(hash, start);
        let at = |hash| established_lately(cell, hash, start + passed);
        prop_assert_eq!(at(other), at(hash) && other == hash);
        if passed <= 4 * 1024 {
            prop_assert!(at(hash));
        } else if passed >= 5 * 1024 {
            prop_assert!(!at(hash));
        }
    }

    #[test]
    fn limits_are_in_order(
        backlog in count(),
        set in proptest::option::of(count()),
        capacity in count(),
        calm_percent in 0..=100_u64,
    ) {
        let wanted = Wanted { half_open: set, calm_percent, ..Wanted::default() };
        let limits = Limits::new(backlog, &wanted, capacity).half_open;
        prop_assert!(1 <= limits.off && limits.off <= limits.on);
        prop_assert!(limits.on <= capacity.max(1));
        let most = set.unwrap_or((backlog / 2).max(LEAST_HALF_OPEN)).max(1);
        prop_assert!(limits.on <= most);
    }

    #[test]
    fn pressure_grows_with_what_makes_it(
        half_open in any::<u64>(),
        unanswered in any::<u64>(),
        more in any::<u64>(),
        window_ns in any::<u64>(),
        life_ns in any::<u64>(),
    ) {
        let load = Load { half_open, unanswered, window_ns };
        let pressure = load.pressure(life_ns);
        prop_assert!(pressure >= half_open);
        let grown = |half_open, unanswered, life_ns| {
            Load { half_open, unanswered, window_ns }.pressure(life_ns)
        };
        prop_assert!(grown(half_open.saturating_add(more), unanswered, life_ns) >= pressure);
        prop_assert!(grown(half_open, unanswered.saturating_add(more), life_ns) >= pressure);
        prop_assert!(grown(half_open, unanswered, life_ns.saturating_add(more)) >= pressure);
    }

    #[test]
    fn a_hold_ends_after_calm_of_its_length(
        hold_ns in 1..100_u64,
        steps in vec((1..10_u64, any::<bool>()), 1..100),
    ) {
        let mut hold = Hold::new(0);
        let (mut now, mut loud) = (0, 0);
        for (passed, is_calm) in steps {
            now += passed;
            if !is_calm {
                loud = now;
            }
            prop_assert_eq!(hold.is_over(now, is_calm, hold_ns), now - loud >= hold_ns);
        }
    }

    #[test]
    fn a_half_open_connection_lives_longer_with_more_retries(retries in any::<u32>()) {
        let life = half_open_life_ns(retries);
        prop_assert!(life >= 1_000_000_000);
        prop_assert!(half_open_life_ns(retries.saturating_add(1)) >= life);
        prop_assert!(half_open_life_ns(u32::MAX) >= life);
    }

    #[test]
    fn sums_agree_with_etherparse(words in vec(any::<u32>(), 0..40), half in any::<u16>()) {
        let sum = words.iter().fold(Sum::default(), |sum, word| sum.add(*word));
        let bytes: Vec<u8> = words
            .iter()
            .flat_map(|word| word.to_be_bytes())
            .chain(half.to_be_bytes())
            .collect();
        let theirs = etherparse::checksum::Sum16BitWords::new().add_slice(&bytes);
        prop_assert_eq!(
            sum.add(u32::from(half)).finish().to_be(),
            theirs.ones_complement()
        );
    }

    #[test]
    fn addresses_come_back(v4 in any::<[u8; 4]>(), v6 in any::<[u8; 16]>()) {
        let no_client = Ipv4Addr::from(v4);
        let no_client = no_client.is_unspecified()
            || no_client.is_loopback()
            || no_client.is_multicast()
            || no_client.is_broadcast();
        prop_assert_eq!(Address::from(Ipv4Addr::from(v4)).may_be_client(), !no_client);
        for address in [IpAddr::from(v4), IpAddr::from(v6)] {
            let ours = Address::from(address);
            prop_assert_eq!(IpAddr::from(ours), address.to_canonical());
            prop_assert_eq!(ours.is_ipv4(), address.to_canonical().is_ipv4());
        }
        prop_assert_eq!(
            Address::from(Ipv4Addr::from(v4)),
            Address::from(Ipv4Addr::from(v4).to_ipv6_mapped())
        );
        let whole = Ipv6Addr::from(v6).to_bits();
        for bits in 0..=128_u32 {
            let masked = Address::from(Ipv6Addr::from(v6)).masked(&Address::mask(bits));
            let prefix = whole & u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            prop_assert_eq!(masked, Address::from(Ipv6Addr::from_bits(prefix)));
        }
    }
}
