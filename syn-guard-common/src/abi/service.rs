//! A guarded TCP port.

/// What the operator allows a service to do.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Count, never answer.
    Observe = 0,
    /// Count; answer with cookies while half-open connections are too many.
    Auto = 1,
    /// Answer every SYN with a cookie.
    Protect = 2,
    /// Not even count.
    Off = 3,
}

/// What a service does.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Its SYNs pass uncounted.
    Off = 0,
    /// Its SYNs pass and are counted.
    Observing = 1,
    /// Its SYNs are answered with cookies.
    Protecting = 2,
}

impl State {
    /// The word in logs, the CLI and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Observing => "observing",
            Self::Protecting => "protecting",
        }
    }

    /// The state a map value stands for.
    #[must_use]
    pub const fn from_u32(value: u32) -> Self {
        match value {
            1 => Self::Observing,
            2 => Self::Protecting,
            _ => Self::Off,
        }
    }
}

/// What the controller tells the data path about a service.
///
/// | offset | size | what |
/// | --- | --- | --- |
/// | 0 | 8 | half-open connections at which to protect |
/// | 8 | 8 | life of a half-open connection, ns |
/// | 16 | 8 | unanswered SYNs a second at which to protect; 0: no limit |
/// | 24 | 4 | [`Mode`] |
/// | 28 | 4 | port, host byte order; 0: the slot is free |
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ServiceConfig {
    /// Half-open connections at which the service starts to protect.
    pub limit: u64,
    /// Nanoseconds that the kernel keeps a half-open connection.
    pub life_ns: u64,
    /// Unanswered SYNs a second at which the service starts to protect; 0: no
    /// limit.
    pub unanswered_rate: u64,
    /// A [`Mode`].
    pub mode: u32,
    /// The port; 0 when the slot is free.
    pub port: u32,
}

const _: () = assert!(size_of::<ServiceConfig>() == 32);

/// What the data path keeps of a service. The controller changes it only
/// through the control program, so that no count is lost.
///
/// | offset | size | what |
/// | --- | --- | --- |
/// | 0 | 8 | half-open connections tracked |
/// | 8 | 8 | second that `untracked` counts for |
/// | 16 | 8 | SYNs passed untracked in that second |
/// | 24 | 8 | when the state last changed, `CLOCK_MONOTONIC` ns |
/// | 32 | 4 | [`State`] |
/// | 36 | 4 | 1 while cookies of this service are validated |
/// | 40 | 8 | how many CPUs saw the limit reached; the first one switches |
/// | 48 | 8 | level of unanswered SYNs, see [`bucket`](crate::bucket): each adds one, each completed handshake takes one away, time takes the limit away every second |
/// | 56 | 8 | tick until which time was taken from that level |
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ServiceState {
    /// Half-open connections now, as far as they are tracked.
    pub half_open: u64,
    /// The second (`CLOCK_MONOTONIC`) that [`Self::untracked`] counts for.
    pub untracked_second: u64,
    /// SYNs that passed untracked in that second.
    pub untracked: u64,
    /// When [`Self::state`] last changed, `CLOCK_MONOTONIC` nanoseconds.
    pub since_ns: u64,
    /// A [`State`].
    pub state: u32,
    /// Not 0 while handshakes with this service's cookies are completed: from
    /// the first cookie until well after the last.
    pub validating: u32,
    /// CPUs that saw the limit reached since the service began to observe: the
    /// first one switches it.
    pub switching: u64,
    /// Unanswered SYNs, less what time took away.
    pub unanswered: u64,
    /// The tick until which time was taken away.
    pub unanswered_tick: u64,
}

const _: () = assert!(size_of::<ServiceState>() == 64);
