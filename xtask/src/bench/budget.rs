//! What a packet may cost.

/// What a cost is compared with in the same run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Floor {
    /// A program that only passes packets.
    Pass,
    /// A program that swaps addresses and ports and sends packets back.
    Bounce,
}

/// A kind of packet, and what it may cost above the floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// Data of an established connection, its service observing; XDP and TC together.
    Established,
    /// The same, its service protecting.
    EstablishedUnderAttack,
    /// A UDP packet.
    NotTcp,
    /// A SYN to a port that is not guarded.
    NotGuarded,
    /// A SYN to a service that observes, tracked exactly.
    Tracked,
    /// The same, past what is tracked.
    Untracked,
    /// A forged SYN that gets a cookie, IPv4.
    CookieIpv4,
    /// The same, IPv6.
    CookieIpv6,
    /// A forged SYN that gets a cookie of the kernel's, IPv4.
    KernelCookieIpv4,
    /// The same, IPv6.
    KernelCookieIpv6,
    /// A SYN from a denied prefix.
    Denied,
    /// A SYN from a source over its limit.
    OverLimit,
    /// A bogus ACK to a service that protects.
    BogusAck,
}

impl Line {
    /// All of them, in the order of a table.
    pub const ALL: [Self; 13] = [
        Self::Established,
        Self::EstablishedUnderAttack,
        Self::NotTcp,
        Self::NotGuarded,
        Self::Tracked,
        Self::Untracked,
        Self::CookieIpv4,
        Self::CookieIpv6,
        Self::KernelCookieIpv4,
        Self::KernelCookieIpv6,
        Self::Denied,
        Self::OverLimit,
        Self::BogusAck,
    ];

    /// What it is, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Established => "data of an established connection, no attack",
            Self::EstablishedUnderAttack => "data of an established connection, under attack",
            Self::NotTcp => "not TCP",
            Self::NotGuarded => "to a port that is not guarded",
            Self::Tracked => "SYN, observing, tracked",
            Self::Untracked => "SYN, observing, past what is tracked",
            Self::CookieIpv4 => "forged SYN: cookie, IPv4",
            Self::CookieIpv6 => "forged SYN: cookie, IPv6",
            Self::KernelCookieIpv4 => "forged SYN: cookie of the kernel, IPv4",
            Self::KernelCookieIpv6 => "forged SYN: cookie of the kernel, IPv6",
            Self::Denied => "SYN of a denied prefix",
            Self::OverLimit => "SYN of a source over its limit",
            Self::BogusAck => "bogus ACK to a service that protects",
        }
    }

    /// What it is compared with.
    #[must_use]
    pub const fn floor(self) -> Floor {
        match self {
            Self::CookieIpv4
            | Self::CookieIpv6
            | Self::KernelCookieIpv4
            | Self::KernelCookieIpv6 => Floor::Bounce,
            _ => Floor::Pass,
        }
    }

    /// Nanoseconds above the floor that the programs alone must not get past by half
    /// (`cargo xtask bench --check`): what they may cost, or what they do cost where that is not
    /// reached yet.
    #[must_use]
    pub const fn guarded_ns(self) -> f64 {
        match self {
            Self::Untracked => 150.0,
            Self::CookieIpv4 => 115.0,
            Self::CookieIpv6 => 130.0,
            Self::BogusAck => 110.0,
            Self::KernelCookieIpv4 | Self::KernelCookieIpv6 => 330.0,
            Self::Tracked => 1100.0,
            _ => self.budget_ns(),
        }
    }

    /// Nanoseconds that the floor of the programs alone takes on the machine that the budget is for.
    #[must_use]
    pub const fn floor_ns(self) -> f64 {
        match self {
            Self::Established | Self::EstablishedUnderAttack => 23.0,
            Self::NotTcp => 6.0,
            Self::NotGuarded | Self::Tracked | Self::Untracked | Self::Denied | Self::OverLimit => {
                11.0
            }
            Self::BogusAck => 13.0,
            Self::CookieIpv4 | Self::KernelCookieIpv4 => 15.0,
            Self::CookieIpv6 | Self::KernelCookieIpv6 => 18.0,
        }
    }

    /// Nanoseconds that it may cost above the floor.
    #[must_use]
    pub const fn budget_ns(self) -> f64 {
        match self {
            Self::NotTcp | Self::NotGuarded => 8.0,
            Self::Established => 20.0,
            Self::EstablishedUnderAttack | Self::Untracked | Self::Denied | Self::OverLimit => 60.0,
            Self::CookieIpv4 => 80.0,
            Self::BogusAck => 90.0,
            Self::CookieIpv6 => 100.0,
            Self::KernelCookieIpv4 | Self::KernelCookieIpv6 => 300.0,
            Self::Tracked => 700.0,
        }
    }
}

impl Line {
    /// What bounds it now.
    #[must_use]
    pub const fn bound(self) -> &'static str {
        match self {
            Self::Established => {
                "alone it is within: between two frames the stack's own work drives five lines of \
                 maps (service, state, connection filter, clock, verdicts) and the program's code \
                 out of the first cache"
            }
            Self::EstablishedUnderAttack => {
                "the same, and TC parses once more and looks at the established filter"
            }
            Self::NotTcp => "the EtherType and the protocol",
            Self::NotGuarded => {
                "the first look at a frame that another core wrote; the look at the port is 8 ns"
            }
            Self::Tracked => {
                "two inserts of keys that are ever new: the half-open connection (hash, some 250 ns) \
                 and its source (LRU hash, some 450 ns); at 20,000 a second in the real path all \
                 their buckets are cold"
            }
            Self::Untracked => {
                "the marks that a flow of the stack's must leave in two filters, and three words \
                 of the service that all CPUs share"
            }
            Self::CookieIpv4 | Self::CookieIpv6 => {
                "instructions, about 800 of them: a quarter of the time is SipHash (BPF has no \
                 rotate), a tenth each writing the SYN-ACK and both checksums of the SYN"
            }
            Self::KernelCookieIpv4 | Self::KernelCookieIpv6 => {
                "the kernel's own: bpf_skc_lookup_tcp and bpf_tcp_gen_syncookie take some 230 ns"
            }
            Self::Denied => {
                "the first look at a frame that another core wrote; then the prefix's look-up"
            }
            Self::OverLimit => {
                "the first look at a frame that another core wrote; then the source's look-up"
            }
            Self::BogusAck => {
                "the first look at a frame that another core wrote; then the listener and the \
                 filters that say that no connection and no cookie is meant"
            }
        }
    }
}

/// What all of a flood may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Cookies a second flat out, of the floor's frames.
    FlatOut,
    /// Honest connections that get in at [`Goal::RATE`].
    Honest,
    /// How long they take at that rate, by how long they take with the floor.
    Latency,
}

impl Goal {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::FlatOut, Self::Honest, Self::Latency];

    /// Forged SYNs a second, on one core.
    pub const RATE: u64 = 1_000_000;

    /// What it is, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FlatOut => "cookies a second flat out, % of the floor's frames",
            Self::Honest => "honest connections at 1 M SYN/s, %",
            Self::Latency => "their 99th percentile, times the floor's",
        }
    }

    /// The least, or the most, that it may be.
    #[must_use]
    pub const fn limit(self) -> f64 {
        match self {
            Self::FlatOut => 85.0,
            Self::Honest => 99.5,
            Self::Latency => 1.2,
        }
    }

    /// Whether a number reaches it.
    #[must_use]
    pub fn is_reached(self, number: f64) -> bool {
        match self {
            Self::FlatOut | Self::Honest => number >= self.limit(),
            Self::Latency => number <= self.limit(),
        }
    }

    /// What bounds it now.
    #[must_use]
    pub const fn bound(self) -> &'static str {
        match self {
            Self::FlatOut => {
                "a frame's whole way takes the floor some 300 ns, most of it the veth's ring and \
                 the page pool's lock; the program comes on top, and leaves the core no room to \
                 fetch the next frame ahead, which it does beside the floor's few instructions"
            }
            Self::Honest | Self::Latency => "what the guard's core has left",
        }
    }
}
