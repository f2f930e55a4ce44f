//! Where the XDP program runs, and what to change where it cannot.

use crate::kernel::interfaces::XdpMode;

/// Where the XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachMode {
    /// In the driver.
    Native,
    /// In the stack, after the driver made its buffers: several times slower.
    Generic,
}

impl AttachMode {
    /// The word in logs, the CLI and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }

    /// The mode of a program that is attached.
    pub(super) const fn of(attached: XdpMode) -> Self {
        match attached {
            XdpMode::Generic => Self::Generic,
            _ => Self::Native,
        }
    }
}

/// Where the operator wants the XDP program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum XdpModeChoice {
    /// In the driver, or else in the stack
    #[default]
    Auto,
    /// In the driver
    Native,
    /// In the stack: several times slower, with every driver
    Generic,
}

impl XdpModeChoice {
    /// Whether it may run there.
    pub(super) const fn allows(self, mode: AttachMode) -> bool {
        match self {
            Self::Auto => true,
            Self::Native => matches!(mode, AttachMode::Native),
            Self::Generic => matches!(mode, AttachMode::Generic),
        }
    }
}

/// What usually helps where a driver refuses a program, to be put behind the
/// reason; nothing when that is not known.
pub(super) fn advice(errno: Option<i32>) -> &'static str {
    match errno {
        Some(libc::ENOSPC) => {
            "; on veth, the peer must not have more TX queues than this side has RX queues"
        }
        Some(libc::ERANGE | libc::EINVAL) => {
            "; a large MTU or LRO may be in the way: lower the MTU or `ethtool -K IFACE lro off`"
        }
        Some(libc::EEXIST) => {
            "; an interface above or below it has an XDP program already (a bridge and its port, a bond and its member): guard one of them, not both"
        }
        Some(libc::ENOMEM) => {
            "; the network card may have too few queues: `ethtool -L IFACE combined N` with half of them"
        }
        Some(libc::EOPNOTSUPP) => {
            "; the driver cannot, or not with hardware GRO: `ethtool -K IFACE rx-gro-hw off`; virtio-net may need its receive offloads turned off by the hypervisor (guest_csum, guest_tso4, guest_tso6)"
        }
        _ => "",
    }
}

/// The number of the system's error that an error was caused by.
pub(super) fn errno(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return io.raw_os_error();
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_allows_its_mode() {
        for (choice, native, generic) in [
            (XdpModeChoice::Auto, true, true),
            (XdpModeChoice::Native, true, false),
            (XdpModeChoice::Generic, false, true),
        ] {
            assert_eq!(choice.allows(AttachMode::Native), native);
            assert_eq!(choice.allows(AttachMode::Generic), generic);
        }
    }

    #[test]
    fn the_cause_is_found_below_other_errors() {
        let below = std::io::Error::from_raw_os_error(libc::ENOSPC);
        let above = std::io::Error::other(below);
        assert_eq!(errno(&above), None, "an io::Error that wraps one");
        let error = super::super::DataPathError::Pin {
            path: "/x".into(),
            source: std::io::Error::from_raw_os_error(libc::ENOSPC),
        };
        assert_eq!(errno(&error), Some(libc::ENOSPC));
        assert!(advice(errno(&error)).contains("veth"));
    }
}
