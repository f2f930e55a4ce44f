//! What a connection may agree on, and how a cookie carries it.
//!
//! A cookie has three bits for it, and the low six bits of the SYN-ACK's
//! timestamp come back with the ACK too. With timestamps the three bits are a
//! class of MSS and the six hold window scale, SACK and ECN, as the kernel's
//! own cookies do (`cookie_init_timestamp`, Linux 6.18). Without timestamps
//! the three bits are a class of MSS, window scale and SACK together, so that
//! Windows, which sends no timestamps, keeps both.

use crate::wire::Offer;

/// What both sides of a connection agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The largest segment the client takes, bytes.
    pub mss: u16,
    /// The client's window scale; none: no scaling on either side.
    pub scale: Option<u8>,
    /// Selective acknowledgements.
    pub sack: bool,
    /// Timestamps.
    pub timestamps: bool,
    /// Explicit congestion notification.
    pub ecn: bool,
}

/// What the listener takes part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// `net.ipv4.tcp_timestamps`.
    pub timestamps: bool,
    /// `net.ipv4.tcp_sack`.
    pub sack: bool,
    /// `net.ipv4.tcp_window_scaling`.
    pub scaling: bool,
    /// `net.ipv4.tcp_ecn`.
    pub ecn: bool,
}

/// MSS classes of clients with timestamps: the default of RFC 9293 section
/// 3.7.1, the minimum MTU of IPv6, tunnels, Ethernet over IPv6 and IPv4, and
/// jumbo frames.
const MSS: [u16; 8] = [536, 1220, 1300, 1360, 1400, 1440, 1460, 8960];

/// Classes of clients without timestamps: MSS, window scale (8 is Windows'),
/// SACK.
const BARE: [(u16, Option<u8>, bool); 8] = [
    (536, None, false),
    (1220, None, false),
    (1440, None, false),
    (1220, None, true),
    (1440, None, true),
    (1220, Some(8), true),
    (1440, Some(8), true),
    (1460, Some(8), true),
];

/// The scale bits that mean none.
const NO_SCALE: u32 = 15;
const SACK_BIT: u32 = 1 << 4;
const ECN_BIT: u32 = 1 << 5;
/// The bits of a timestamp that carry options.
pub(super) const OPTION_BITS: u32 = 0x3f;
/// RFC 7323 section 2.3: a larger scale counts as this one.
const MAX_SCALE: u8 = 14;

/// Classes there are.
pub(super) const CLASSES: u32 = 8;

impl Terms {
    /// What the listener grants of an offer, as far as a cookie can carry it,
    /// and the class that carries it. Never more than was offered.
    #[inline(always)]
    #[must_use]
    pub fn grant(offer: &Offer, abilities: Abilities) -> (Self, u32) {
        let mss = if offer.mss == 0 { MSS[0] } else { offer.mss };
        let scale = match offer.scale {
            Some(scale) if abilities.scaling => Some(scale.min(MAX_SCALE)),
            _ => None,
        };
        let sack = offer.sack && abilities.sack;
        if offer.timestamp.is_some() && abilities.timestamps {
            let mut class = 0;
            for bound in MSS {
                class += u32::from(mss >= bound);
            }
            let class = class.saturating_sub(1);
            let terms = Self {
                mss: class_mss(class),
                scale,
                sack,
                timestamps: true,
                ecn: offer.ecn && abilities.ecn,
            };
            return (terms, class);
        }
        let class = match (scale, sack) {
            (Some(8), true) if mss >= 1460 => 7,
            (Some(8), true) if mss >= 1440 => 6,
            (Some(8), true) if mss >= 1220 => 5,
            (_, true) if mss >= 1440 => 4,
            (_, true) if mss >= 1220 => 3,
            _ if mss >= 1440 => 2,
            _ if mss >= 1220 => 1,
            _ => 0,
        };
        (Self::bare(class), class)
    }

    /// The terms of a class of clients without timestamps.
    #[inline(always)]
    #[must_use]
    pub(super) fn bare(class: u32) -> Self {
        // A chain of comparisons rather than an index: a table in a BPF
        // program is a map.
        let (mss, scale, sack) = match class {
            7 => BARE[7],
            6 => BARE[6],
            5 => BARE[5],
            4 => BARE[4],
            3 => BARE[3],
            2 => BARE[2],
            1 => BARE[1],
            _ => BARE[0],
        };
        Self { mss, scale, sack, timestamps: false, ecn: false }
    }

    /// The terms of a class and of the option bits of an echoed timestamp.
    #[inline(always)]
    #[must_use]
    pub(super) fn with_timestamps(class: u32, bits: u32) -> Self {
        let scale = bits & 0xf;
        Self {
            mss: class_mss(class),
            scale: if scale == NO_SCALE { None } else { Some((scale as u8).min(MAX_SCALE)) },
            sack: bits & SACK_BIT != 0,
            timestamps: true,
            ecn: bits & ECN_BIT != 0,
        }
    }

    /// The option bits of the SYN-ACK's timestamp.
    #[inline(always)]
    #[must_use]
    pub(super) fn option_bits(&self) -> u32 {
        let scale = match self.scale {
            Some(scale) => u32::from(scale),
            None => NO_SCALE,
        };
        scale
            | if self.sack { SACK_BIT } else { 0 }
            | if self.ecn { ECN_BIT } else { 0 }
    }
}

#[inline(always)]
const fn class_mss(class: u32) -> u16 {
    match class {
        7 => MSS[7],
        6 => MSS[6],
        5 => MSS[5],
        4 => MSS[4],
        3 => MSS[3],
        2 => MSS[2],
        1 => MSS[1],
        _ => MSS[0],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) const ALL: Abilities =
        Abilities { timestamps: true, sack: true, scaling: true, ecn: true };

    #[test]
    fn the_classes_are_the_tables() {
        for class in 0..CLASSES {
            assert_eq!(class_mss(class), MSS[class as usize]);
            let bare = Terms::bare(class);
            assert_eq!((bare.mss, bare.scale, bare.sack), BARE[class as usize]);
        }
        assert!(MSS.is_sorted());
    }

    #[test]
    fn windows_keeps_scale_and_sack() {
        let windows =
            Offer { mss: 1460, scale: Some(8), sack: true, timestamp: None, ecn: false };
        let (terms, _) = Terms::grant(&windows, ALL);
        assert_eq!((terms.mss, terms.scale, terms.sack), (1460, Some(8), true));
    }

    #[test]
    fn nothing_granted_exceeds_the_offer() {
        for mss in [0, 100, 536, 1219, 1220, 1439, 1440, 1459, 1460, 8960, 65_535] {
            for scale in [None, Some(0), Some(7), Some(8), Some(14), Some(200)] {
                for bits in 0..8 {
                    let offer = Offer {
                        mss,
                        scale,
                        sack: bits & 1 != 0,
                        timestamp: (bits & 2 != 0).then_some(7),
                        ecn: bits & 4 != 0,
                    };
                    let (terms, class) = Terms::grant(&offer, ALL);
                    assert!(class < CLASSES);
                    assert!(terms.mss <= mss.max(536), "{offer:?} {terms:?}");
                    assert!(terms.scale.is_none() || terms.scale == scale.map(|s| s.min(14)));
                    assert!(!terms.sack || offer.sack);
                    assert!(!terms.ecn || offer.ecn);
                    assert_eq!(terms.timestamps, offer.timestamp.is_some());
                }
            }
        }
    }
}
