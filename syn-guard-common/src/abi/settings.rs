//! What the controller tells the data path for all services.

use crate::address::Address;

/// Bits of [`Settings::flags`].
pub mod settings_flags {
    /// `net.netfilter.nf_conntrack_tcp_loose` is 0: conntrack takes up no connection
    /// whose SYN it did not see.
    pub const NO_PICK_UP: u32 = 1;
}

/// Limits that hold for every service, the one value of a map. A rate is a
/// count a second; 0 stands for no limit.
///
/// | offset | size | what |
/// | --- | --- | --- |
/// | 0 | 8 | half-open connections of a source |
/// | 8 | 8 | unanswered SYNs a second of a source |
/// | 16 | 8 | unanswered replies a second to a prefix |
/// | 24 | 8 | stray ACKs a second to a service |
/// | 32 | 16 | mask of an IPv4 source, as a mapped address |
/// | 48 | 16 | mask of an IPv6 source |
/// | 64 | 4 | SYNs within a second from which a source is heavy |
/// | 68 | 4 | whose cookies are made, [`EngineKind`](super::EngineKind) |
/// | 72 | 4 | [`settings_flags`] |
/// | 76 | 4 | 0 |
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Half-open connections of one source at which its SYNs are dropped while
    /// the service protects.
    pub source_half_open: u64,
    /// Unanswered SYNs a second of one source past which its SYNs are dropped
    /// while the service protects.
    pub source_rate: u64,
    /// Unanswered replies a second to one prefix (/24, IPv6 /48) past which no
    /// cookie goes there, each CPU for itself.
    pub reply_rate: u64,
    /// Stray ACKs a second past which they are dropped, each CPU for itself.
    pub stray_rate: u64,
    /// Mask of an IPv4 source.
    pub ipv4_mask: Address,
    /// Mask of an IPv6 source.
    pub ipv6_mask: Address,
    /// From this many SYNs within a second on a CPU a source gets exact
    /// counters.
    pub heavy: u32,
    /// Whose cookies are made: an [`EngineKind`](super::EngineKind). Counts only where the
    /// programs can make both.
    pub engine: u32,
    /// See [`settings_flags`].
    pub flags: u32,
    /// 0.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Settings>() == 80);

impl Settings {
    /// The source that an address counts for.
    #[inline(always)]
    #[must_use]
    pub const fn source_of(&self, address: &Address) -> Address {
        let mask = if address.is_ipv4() {
            &self.ipv4_mask
        } else {
            &self.ipv6_mask
        };
        address.masked(mask)
    }
}
