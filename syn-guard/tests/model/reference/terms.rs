//! What a cookie can carry of what was offered and is granted.

use syn_guard_common::abi::listener_flags;

use super::options::Offer;

/// The MSS that each class stands for, with timestamps.
const MSS: [u16; 8] = [536, 1220, 1300, 1360, 1400, 1440, 1460, 8960];

/// The classes without timestamps: MSS, window scale, SACK.
const WITHOUT_TIMESTAMPS: [(u16, Option<u8>, bool); 8] = [
    (536, None, false),
    (1300, None, false),
    (1220, None, true),
    (1220, Some(0), false),
    (1220, Some(0), true),
    (1440, Some(6), true),
    (1300, Some(8), true),
    (1440, Some(8), true),
];

/// What the SYN-ACK grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    pub class: u32,
    pub sack: bool,
    pub scaling: bool,
    pub ecn: bool,
    /// The low six bits of TSval, where there are timestamps.
    pub timestamp_bits: Option<u32>,
}

/// What a listener with these flags grants.
pub fn grant(offer: &Offer, asks_for_ecn: bool, flags: u32) -> Granted {
    let has = |flag: u32| flags & flag != 0;
    let sack = offer.sack && has(listener_flags::SACK);
    // RFC 7323 section 2.3: a larger scale counts as 14.
    let scale = offer
        .scale
        .map(|scale| scale.min(14))
        .filter(|_| has(listener_flags::WINDOW_SCALING));
    if offer.timestamp.is_some() && has(listener_flags::TIMESTAMPS) {
        let class = MSS.iter().rposition(|mss| *mss <= offer.mss).unwrap_or(0);
        let ecn = asks_for_ecn && has(listener_flags::ECN);
        let bits = u32::from(scale.unwrap_or(15)) | u32::from(sack) << 4 | u32::from(ecn) << 5;
        return Granted {
            class: class as u32,
            sack,
            scaling: scale.is_some(),
            ecn,
            timestamp_bits: Some(bits),
        };
    }
    let best = |sack: bool, scale: Option<u8>| {
        WITHOUT_TIMESTAMPS
            .iter()
            .enumerate()
            .filter(|(_, (mss, floor, with_sack))| {
                *mss <= offer.mss
                    && *with_sack == sack
                    && floor.is_some() == scale.is_some()
                    && *floor <= scale
            })
            .max_by_key(|(_, (mss, floor, _))| (*floor, *mss))
            .map(|(class, _)| class)
    };
    let class = best(sack, scale)
        .or_else(|| best(sack, None))
        .or_else(|| best(false, scale))
        .unwrap_or(0);
    let (_, scale, sack) = WITHOUT_TIMESTAMPS[class];
    Granted {
        class: class as u32,
        sack,
        scaling: scale.is_some(),
        ecn: false,
        timestamp_bits: None,
    }
}
