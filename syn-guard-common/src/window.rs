//! The first window and the window scale of the kernel's SYN-ACK.

/// The largest window that fits a segment without a scale (`MAX_TCP_WINDOW`
/// of Linux is 32767 for signed windows; unscaled it is the field's limit).
const MAX_WINDOW: u32 = 65_535;
/// RFC 7323 section 2.3.
const MAX_SCALE: u32 = 14;

/// What the kernel derives a listener's window from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiveBuffer {
    /// The listener's `sk_rcvbuf`, bytes.
    pub bytes: u32,
    /// Whether the program set it (`SO_RCVBUF`): then it bounds the scale too.
    pub locked: bool,
    /// `net.ipv4.tcp_rmem[2]`, bytes.
    pub tcp_rmem_max: u32,
    /// `net.core.rmem_max`, bytes.
    pub rmem_max: u32,
}

impl ReceiveBuffer {
    /// `tcp_full_space`: half of the buffer counts as payload until the
    /// kernel has measured its ratio (`TCP_DEFAULT_SCALING_RATIO`).
    const fn full_space(&self) -> u32 {
        self.bytes / 2
    }

    /// The window scale of the SYN-ACK (`tcp_select_initial_window`, 6.18).
    #[must_use]
    pub fn scale(&self) -> u8 {
        let mut space = self.full_space().max(self.tcp_rmem_max).max(self.rmem_max);
        if self.locked {
            space = space.min(self.full_space());
        }
        let log = space.max(1).ilog2();
        log.saturating_sub(15).min(MAX_SCALE) as u8
    }

    /// The window of the SYN-ACK, bytes, for segments of `mss` bytes of
    /// payload: whole segments that fit an unscaled field.
    #[must_use]
    pub fn first_window(&self, mss: u16) -> u16 {
        let mss = u32::from(mss.max(1));
        let space = self.full_space();
        let whole = if space > mss {
            space / mss * mss
        } else {
            space
        };
        whole.min(MAX_WINDOW) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: ReceiveBuffer = ReceiveBuffer {
        bytes: 131_072,
        locked: false,
        tcp_rmem_max: 6_291_456,
        rmem_max: 212_992,
    };

    #[test]
    fn the_default_buffer_announces_what_linux_is_known_for() {
        assert_eq!(DEFAULT.scale(), 7);
        assert_eq!(DEFAULT.first_window(1448), 65_160);
        assert_eq!(DEFAULT.first_window(1460), 64_240);
    }

    #[test]
    fn the_scale_comes_from_the_largest_buffer_unless_it_was_set() {
        assert_eq!(
            ReceiveBuffer {
                tcp_rmem_max: 33_554_432,
                ..DEFAULT
            }
            .scale(),
            10
        );
        let set = ReceiveBuffer {
            bytes: 65_536,
            locked: true,
            ..DEFAULT
        };
        assert_eq!(set.scale(), 0);
        assert_eq!(
            ReceiveBuffer {
                tcp_rmem_max: u32::MAX,
                ..DEFAULT
            }
            .scale(),
            14
        );
    }
}
