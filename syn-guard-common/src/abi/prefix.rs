//! Allowed and denied prefixes.

/// Prefixes kept at most, allowed and denied ones together.
pub const MAX_PREFIXES: u32 = 1 << 20;

/// The list that a prefix is on.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListKind {
    /// SYNs pass to the stack: never answered with a cookie, never dropped.
    Allow = 1,
    /// SYNs are dropped.
    Deny = 2,
}

impl ListKind {
    /// Both lists.
    pub const ALL: [Self; 2] = [Self::Allow, Self::Deny];

    /// The word in the CLI, the configuration and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }

    /// The list that a map value stands for.
    #[inline(always)]
    #[must_use]
    pub const fn from_u32(value: u32) -> Option<Self> {
        match value {
            1 => Some(Self::Allow),
            2 => Some(Self::Deny),
            _ => None,
        }
    }
}

/// Bits of [`PrefixEntry::flags`].
pub mod prefix_flags {
    /// Added at run time, so that a restarted controller keeps it.
    pub const RUN_TIME: u8 = 1;
    /// A prefix of IPv6 addresses: one that is short enough covers the mapped
    /// IPv4 addresses too, which it does not mean.
    pub const IPV6: u8 = 2;
}

/// What is to be done with SYNs from a prefix; the longest prefix decides. The
/// key is a [`RouteKey`](super::RouteKey)'s shape.
///
/// | offset | size | what |
/// | --- | --- | --- |
/// | 0 | 8 | when it ends, `CLOCK_MONOTONIC` ns; 0: never |
/// | 8 | 4 | [`ListKind`] |
/// | 12 | 1 | [`ListKind`] of the same prefix after that; 0: none |
/// | 13 | 1 | bits of the prefix, as in the key |
/// | 14 | 1 | flags |
/// | 15 | 1 | 0 |
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PrefixEntry {
    /// When it ends, nanoseconds; 0: never. The data path looks at it too, so
    /// that it ends without a controller.
    pub ends_ns: u64,
    /// A [`ListKind`].
    pub list: u32,
    /// The [`ListKind`] that holds for the same prefix from then on; 0: none, a
    /// shorter prefix decides.
    pub afterwards: u8,
    /// Bits of the prefix, 96 more for IPv4: the data path learns from a
    /// look-up only the value.
    pub bits: u8,
    /// See [`prefix_flags`].
    pub flags: u8,
    /// 0.
    pub reserved: u8,
}

const _: () = assert!(size_of::<PrefixEntry>() == 16);
