//! What a connection may agree on, and how a cookie carries it.
//!
//! A cookie has three bits for it, and the low six bits of the SYN-ACK's
//! timestamp come back with the ACK too. With timestamps the three bits are a
//! class of MSS and the six hold window scale, SACK and ECN, as the kernel's
//! own cookies do (`cookie_init_timestamp`, Linux 6.18). Without timestamps
//! the three bits are a class of MSS, window scale and SACK together, so that
//! Windows, which sends no timestamps, keeps both.

use crate::abi::listener_flags;
use crate::wire::{Frame, Options, found};

/// The scale bits that mean none.
const NO_SCALE: u32 = 15;
const SCALE_BITS: u32 = 0xf;
const SACK: u32 = 1 << 4;
const ECN: u32 = 1 << 5;
/// The bits of a timestamp that carry options.
pub(super) const OPTION_BITS: u32 = 0x3f;
/// Not among them.
const TIMESTAMPS: u32 = 1 << 6;
/// RFC 7323 section 2.3: a larger scale counts as this one.
const MAX_SCALE: u32 = 14;

/// MSS classes of clients with timestamps: the default of RFC 9293 section
/// 3.7.1, the minimum MTU of IPv6, tunnels, Ethernet over IPv6 and IPv4, and
/// jumbo frames.
const MSS: [u16; 8] = [536, 1220, 1300, 1360, 1400, 1440, 1460, 8960];

/// Classes of clients without timestamps: MSS, window scale and SACK. Each is
/// a floor: what the client offered is at least that, and less than it could
/// be is never wrong. Windows scales by 8, Linux and macOS without timestamps
/// by 7 and 6; the others are old, small or scanners.
const BARE: [(u16, u32); 8] = [
    (536, NO_SCALE),
    (1300, NO_SCALE),
    (1220, NO_SCALE | SACK),
    (1220, 0),
    (1220, SACK),
    (1440, 6 | SACK),
    (1300, 8 | SACK),
    (1440, 8 | SACK),
];

/// Classes there are.
pub(super) const CLASSES: u32 = 8;

/// What both sides of a connection agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    mss: u16,
    bits: u32,
}

impl Terms {
    /// What a listener with these [`listener_flags`] grants a SYN, as far as a
    /// cookie can carry it, and the class that carries it. Never more than was
    /// offered. `ecn`: the SYN asks for it (RFC 3168 section 6.1.1).
    #[inline(always)]
    #[must_use]
    pub fn grant(offer: &Options, ecn: bool, listener: u32) -> (Self, u32) {
        let scale =
            if offer.found & found::SCALE != 0 && listener & listener_flags::WINDOW_SCALING != 0 {
                u32::from(offer.scale).min(MAX_SCALE)
            } else {
                NO_SCALE
            };
        let sack = if offer.found & found::SACK != 0 && listener & listener_flags::SACK != 0 {
            SACK
        } else {
            0
        };
        let mss = offer.mss;
        if offer.found & found::TIMESTAMPS != 0 && listener & listener_flags::TIMESTAMPS != 0 {
            let mut class = 0;
            for bound in MSS {
                class += u32::from(mss >= bound);
            }
            let class = class.saturating_sub(1);
            let ecn = if ecn && listener & listener_flags::ECN != 0 {
                ECN
            } else {
                0
            };
            return (
                Self {
                    mss: class_mss(class),
                    bits: scale | sack | ecn | TIMESTAMPS,
                },
                class,
            );
        }
        let class = bare_class(mss, scale, sack != 0);
        (Self::bare(class), class)
    }

    /// What is granted with a cookie of the kernel's: without timestamps it
    /// carries an MSS only.
    #[inline(always)]
    #[must_use]
    pub fn grant_by_kernel(offer: &Options, ecn: bool, listener: u32) -> Self {
        let (terms, _) = Self::grant(offer, ecn, listener);
        if terms.timestamps() {
            terms
        } else {
            Self::bare(0)
        }
    }

    /// The terms of a class of clients without timestamps.
    #[inline(always)]
    pub(super) const fn bare(class: u32) -> Self {
        // A chain of comparisons rather than an index: a table in a BPF
        // program is a map.
        let (mss, bits) = match class {
            7 => BARE[7],
            6 => BARE[6],
            5 => BARE[5],
            4 => BARE[4],
            3 => BARE[3],
            2 => BARE[2],
            1 => BARE[1],
            _ => BARE[0],
        };
        Self { mss, bits }
    }

    /// The terms of a class and of the option bits of an echoed timestamp.
    #[inline(always)]
    pub(super) const fn with_timestamps(class: u32, bits: u32) -> Self {
        Self {
            mss: class_mss(class),
            bits: (bits & OPTION_BITS) | TIMESTAMPS,
        }
    }

    /// The terms of a class of clients with timestamps, where these are lost.
    #[inline(always)]
    pub(super) const fn stripped(class: u32) -> Self {
        Self {
            mss: class_mss(class),
            bits: NO_SCALE,
        }
    }

    /// The option bits of the SYN-ACK's timestamp.
    #[inline(always)]
    pub(super) const fn option_bits(&self) -> u32 {
        self.bits & OPTION_BITS
    }

    /// The same terms, of which the verifier remembers nothing
    /// ([`Frame::forget`]): what follows is the same for all of them.
    #[inline(always)]
    #[must_use]
    pub fn forget<F: Frame>(&self, frame: &F) -> Self {
        Self {
            mss: frame.forget(self.mss as usize, 0xffff) as u16,
            bits: frame.forget(self.bits as usize, 0x7f) as u32,
        }
    }

    /// The largest segment the client takes, bytes.
    #[inline(always)]
    #[must_use]
    pub const fn mss(&self) -> u16 {
        self.mss
    }

    /// Whether both sides scale windows.
    #[inline(always)]
    #[must_use]
    pub const fn scaling(&self) -> bool {
        self.bits & SCALE_BITS != NO_SCALE
    }

    /// The client's window scale; 0 where nobody scales.
    #[inline(always)]
    #[must_use]
    pub const fn scale(&self) -> u8 {
        if self.scaling() {
            (self.bits & SCALE_BITS) as u8
        } else {
            0
        }
    }

    /// Selective acknowledgements.
    #[inline(always)]
    #[must_use]
    pub const fn sack(&self) -> bool {
        self.bits & SACK != 0
    }

    /// Timestamps.
    #[inline(always)]
    #[must_use]
    pub const fn timestamps(&self) -> bool {
        self.bits & TIMESTAMPS != 0
    }

    /// Explicit congestion notification.
    #[inline(always)]
    #[must_use]
    pub const fn ecn(&self) -> bool {
        self.bits & ECN != 0
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

/// The class of a client without timestamps: of those with the SACK and
/// scaling that is granted, the one with the highest floors. Below an MSS of
/// 1,220 there is none with either.
#[inline(always)]
const fn bare_class(mss: u16, scale: u32, sack: bool) -> u32 {
    if mss < 1220 {
        0
    } else if scale == NO_SCALE {
        if sack {
            2
        } else if mss >= 1300 {
            1
        } else {
            0
        }
    } else if !sack {
        3
    } else if scale >= 8 && mss >= 1440 {
        7
    } else if scale >= 8 && mss >= 1300 {
        6
    } else if scale >= 6 && mss >= 1440 {
        5
    } else {
        4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u32 = listener_flags::TIMESTAMPS
        | listener_flags::SACK
        | listener_flags::WINDOW_SCALING
        | listener_flags::ECN;

    #[test]
    fn the_classes_are_the_tables() {
        for class in 0..CLASSES {
            assert_eq!(class_mss(class), MSS[class as usize]);
            let bare = Terms::bare(class);
            assert_eq!((bare.mss, bare.bits), BARE[class as usize]);
        }
        assert!(MSS.is_sorted());
    }

    #[test]
    fn a_cookie_of_the_kernels_carries_options_in_timestamps_only() {
        let windows = Options {
            found: found::SCALE | found::SACK,
            mss: 1460,
            scale: 8,
            ..Options::default()
        };
        let terms = Terms::grant_by_kernel(&windows, true, ALL);
        assert!(!terms.sack() && !terms.scaling() && !terms.ecn() && !terms.timestamps());
        let linux = Options {
            found: windows.found | found::TIMESTAMPS,
            ..windows
        };
        let terms = Terms::grant_by_kernel(&linux, true, ALL);
        assert_eq!(terms, Terms::grant(&linux, true, ALL).0);
    }

    #[test]
    fn windows_keeps_scale_and_sack() {
        let windows = Options {
            found: found::SCALE | found::SACK,
            mss: 1460,
            scale: 8,
            ..Options::default()
        };
        let (terms, _) = Terms::grant(&windows, true, ALL);
        assert_eq!((terms.mss(), terms.scale(), terms.sack()), (1440, 8, true));
        assert!(terms.scaling() && !terms.timestamps() && !terms.ecn());
    }

    #[test]
    fn nothing_granted_exceeds_the_offer_or_the_listener() {
        for mss in [
            0, 100, 536, 1219, 1220, 1439, 1440, 1459, 1460, 8960, 65_535,
        ] {
            for scale in [0, 7, 8, 14, 200] {
                for bits in 0..256_u32 {
                    let offer = Options {
                        found: bits & 7,
                        mss,
                        scale,
                        ..Options::default()
                    };
                    let (ecn, listener) = (bits & 8 != 0, bits >> 4);
                    let (terms, class) = Terms::grant(&offer, ecn, listener);
                    assert!(class < CLASSES);
                    assert!(terms.mss() <= mss.max(536), "{offer:?} {terms:?}");
                    let may = |option, flag| bits & option != 0 && listener & flag != 0;
                    assert!(!terms.scaling() || may(found::SCALE, listener_flags::WINDOW_SCALING));
                    // A floor, where there are no timestamps to carry it.
                    assert!(terms.scale() <= scale.min(14));
                    assert!(
                        !terms.timestamps() || !terms.scaling() || terms.scale() == scale.min(14)
                    );
                    assert!(!terms.sack() || may(found::SACK, listener_flags::SACK));
                    assert!(!terms.ecn() || may(8, listener_flags::ECN));
                    assert_eq!(
                        terms.timestamps(),
                        may(found::TIMESTAMPS, listener_flags::TIMESTAMPS)
                    );
                    if terms.timestamps() || mss >= 1220 {
                        // Then the SYN-ACK is the listener's own.
                        let scaling = may(found::SCALE, listener_flags::WINDOW_SCALING);
                        assert_eq!(terms.sack(), may(found::SACK, listener_flags::SACK));
                        assert!(terms.scaling() == scaling);
                    }
                }
            }
        }
    }
}
