//! The first window and the window scale of the kernel's SYN-ACK
//! (`tcp_openreq_init_rwin` and `tcp_select_initial_window`, Linux 6.18).

/// The largest window that fits a segment without a scale.
const MAX_WINDOW: u32 = 65_535;
/// `MAX_TCP_WINDOW`: the largest for peers that take it for a signed number.
const MAX_SIGNED_WINDOW: u32 = 32_767;
/// RFC 7323 section 2.3.
const MAX_SCALE: u32 = 14;
/// Bytes of the timestamp option in every segment (RFC 7323 appendix A).
const TIMESTAMPS: u32 = 12;

/// What the kernel derives a listener's first window from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiveWindow {
    /// What of the listener's receive buffer counts as payload, bytes
    /// (`tcp_full_space`), see [`payload_space`].
    pub space: u32,
    /// Whether the program set the buffer (`SO_RCVBUF`): then it bounds the
    /// scale too.
    pub locked: bool,
    /// `TCP_WINDOW_CLAMP`, bytes; 0: none.
    pub clamp: u32,
    /// The route's largest window (`RTAX_WINDOW`), bytes; 0: none.
    pub route_window: u32,
    /// The route's first window (`RTAX_INITRWND`), segments; 0: none.
    pub route_segments: u32,
    /// `net.ipv4.tcp_rmem[2]`, bytes.
    pub tcp_rmem_max: u32,
    /// `net.core.rmem_max`, bytes.
    pub rmem_max: u32,
    /// `net.ipv4.tcp_workaround_signed_windows`.
    pub signed: bool,
}

/// What of a buffer of so many bytes counts as payload (`tcp_win_from_space`):
/// half of it until the kernel has measured the ratio
/// (`TCP_DEFAULT_SCALING_RATIO`), before Linux 6.6 as
/// `net.ipv4.tcp_adv_win_scale` says.
#[must_use]
pub fn payload_space(buffer: u32, adv_win_scale: Option<i32>) -> u32 {
    let shifted = |by: u32| buffer.checked_shr(by).unwrap_or(0);
    match adv_win_scale {
        None => buffer / 2,
        Some(scale) if scale <= 0 => shifted(scale.unsigned_abs()),
        Some(scale) => buffer - shifted(scale.unsigned_abs()),
    }
}

impl ReceiveWindow {
    /// The most that the window may ever be, bytes (`rsk_window_clamp`).
    fn most(&self) -> u32 {
        let clamp = if self.clamp == 0 {
            self.route_window
        } else {
            self.clamp
        };
        if self.locked && (clamp > self.space || clamp == 0) {
            self.space
        } else {
            clamp
        }
    }

    /// The most, and whole segments of what is there to begin with.
    fn begin(&self, segment: u32) -> (u32, u32) {
        let most = match self.most() {
            0 => MAX_WINDOW << MAX_SCALE,
            most => most,
        };
        let space = self.space.min(most);
        let whole = if space > segment {
            space / segment * segment
        } else {
            space
        };
        (most, whole)
    }

    /// The window of the SYN-ACK, bytes, where it advertises `mss`.
    #[must_use]
    pub fn window(&self, mss: u16, timestamps: bool) -> u16 {
        let segment = segment(mss, timestamps);
        let (_, mut window) = self.begin(segment);
        if self.signed {
            window = window.min(MAX_SIGNED_WINDOW);
        }
        if self.route_segments != 0 {
            window = window.min(self.route_segments.wrapping_mul(segment));
        }
        window.min(MAX_WINDOW) as u16
    }

    /// The window scale of the SYN-ACK that advertises `mss`.
    #[must_use]
    pub fn scale(&self, mss: u16) -> u8 {
        let (most, whole) = self.begin(segment(mss, true));
        let space = whole.max(self.tcp_rmem_max).max(self.rmem_max).min(most);
        space.max(1).ilog2().saturating_sub(15).min(MAX_SCALE) as u8
    }
}

/// Bytes of payload in a full segment.
fn segment(mss: u16, timestamps: bool) -> u32 {
    let options = if timestamps { TIMESTAMPS } else { 0 };
    u32::from(mss).saturating_sub(options).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DEFAULT: ReceiveWindow = ReceiveWindow {
        space: 65_536,
        locked: false,
        clamp: 0,
        route_window: 0,
        route_segments: 0,
        tcp_rmem_max: 6_291_456,
        rmem_max: 212_992,
        signed: false,
    };

    #[test]
    fn the_default_buffer_announces_what_linux_is_known_for() {
        assert_eq!(DEFAULT.scale(1460), 7);
        assert_eq!(DEFAULT.window(1460, true), 65_160);
        assert_eq!(DEFAULT.window(1460, false), 64_240);
        assert_eq!(payload_space(131_072, None), 65_536);
    }

    #[test]
    fn older_kernels_split_the_buffer_by_a_setting() {
        assert_eq!(payload_space(131_072, Some(1)), 65_536);
        assert_eq!(payload_space(131_072, Some(2)), 98_304);
        assert_eq!(payload_space(131_072, Some(-2)), 32_768);
        assert_eq!(payload_space(131_072, Some(0)), 131_072);
        assert_eq!(payload_space(131_072, Some(-40)), 0);
    }

    #[test]
    fn the_scale_comes_from_the_largest_buffer_unless_something_bounds_it() {
        let scale = |window: ReceiveWindow| window.scale(1460);
        let large = ReceiveWindow {
            tcp_rmem_max: 33_554_432,
            ..DEFAULT
        };
        assert_eq!(scale(large), 10);
        let huge = ReceiveWindow {
            tcp_rmem_max: u32::MAX,
            ..DEFAULT
        };
        assert_eq!(scale(huge), 14);
        for bounded in [
            ReceiveWindow {
                locked: true,
                ..large
            },
            ReceiveWindow {
                clamp: 65_535,
                ..large
            },
            ReceiveWindow {
                route_window: 65_535,
                ..large
            },
        ] {
            assert!(scale(bounded) <= 1, "{bounded:?}");
        }
    }

    #[test]
    fn the_clamp_goes_before_the_routes() {
        let both = ReceiveWindow {
            clamp: 20_000,
            route_window: 10_000,
            ..DEFAULT
        };
        assert_eq!(both.window(1000, false), 20_000);
        let route = ReceiveWindow { clamp: 0, ..both };
        assert_eq!(route.window(1000, false), 10_000);
    }

    #[test]
    fn a_route_may_say_how_many_segments() {
        let ten = ReceiveWindow {
            route_segments: 10,
            ..DEFAULT
        };
        assert_eq!(ten.window(1460, true), 14_480);
        assert_eq!(ten.window(1460, false), 14_600);
        assert_eq!(ten.scale(1460), DEFAULT.scale(1460));
    }

    fn windows() -> impl Strategy<Value = ReceiveWindow> {
        let bytes = || prop_oneof![Just(0_u32), 1..200_000_u32, any::<u32>()];
        (
            (bytes(), any::<bool>(), bytes(), bytes()),
            (
                prop_oneof![Just(0_u32), 1..100_u32],
                bytes(),
                bytes(),
                any::<bool>(),
            ),
        )
            .prop_map(
                |((space, locked, clamp, route_window), rest)| ReceiveWindow {
                    space: space & 0x7fff_ffff,
                    locked,
                    clamp,
                    route_window,
                    route_segments: rest.0,
                    tcp_rmem_max: rest.1 & 0x7fff_ffff,
                    rmem_max: rest.2 & 0x7fff_ffff,
                    signed: rest.3,
                },
            )
    }

    proptest! {
        #[test]
        fn the_window_stays_within_every_bound(
            window in windows(), mss in 1..=65_535_u16, timestamps: bool
        ) {
            let bytes = u32::from(window.window(mss, timestamps));
            prop_assert!(bytes <= window.space);
            prop_assert!(!window.signed || bytes <= MAX_SIGNED_WINDOW);
            for clamp in [window.clamp, if window.clamp == 0 { window.route_window } else { 0 }] {
                prop_assert!(clamp == 0 || bytes <= clamp);
            }
        }

        #[test]
        fn a_window_below_the_fields_limit_is_whole_segments(
            window in windows(), mss in 13..=9000_u16, timestamps: bool
        ) {
            let bytes = u32::from(window.window(mss, timestamps));
            let segment = u32::from(mss) - if timestamps { 12 } else { 0 };
            let limits = [MAX_WINDOW, MAX_SIGNED_WINDOW];
            prop_assert!(
                bytes < segment || limits.contains(&bytes) || bytes.is_multiple_of(segment)
            );
        }

        #[test]
        fn the_scale_is_the_least_that_shows_the_largest_window(window in windows()) {
            let scale = u32::from(window.scale(1460));
            prop_assert!(scale <= MAX_SCALE);
            let largest = window.tcp_rmem_max.max(window.rmem_max);
            if !window.locked && window.clamp == 0 && window.route_window == 0 {
                // Below the clamp of an unscaled field times 2^14.
                let largest = largest.max(window.space / 1448 * 1448).min(MAX_WINDOW << MAX_SCALE);
                prop_assert!(scale == 0 || largest >> scale >= 32_768);
                prop_assert!(scale == MAX_SCALE || largest >> scale <= MAX_WINDOW);
            }
        }
    }
}
