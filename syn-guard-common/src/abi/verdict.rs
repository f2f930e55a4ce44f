//! What was done with a packet, and why.

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The stack got the packet.
    Pass,
    /// A SYN-ACK with a cookie went back.
    Cookie,
    /// Nobody got it.
    Drop,
}

impl Action {
    /// The word in the CLI and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Cookie => "cookie",
            Self::Drop => "drop",
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $index:literal, $action:ident, $name:literal;)+) => {
        /// Why a packet got its verdict: the index of its count in a per-CPU
        /// array of 8-byte counts.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])* $variant = $index,)+ }

        /// All reasons, each at its index.
        pub const REASONS: &[Reason] = &[$(Reason::$variant,)+];

        impl Reason {
            /// What is done for this reason.
            #[must_use]
            pub const fn action(self) -> Action {
                match self { $(Self::$variant => Action::$action,)+ }
            }

            /// The word in the CLI and metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

reasons! {
    /// Not TCP over IPv4 or IPv6.
    NotTcp = 0, Pass, "not_tcp";
    /// A header that is cut short, contradicts itself or is not known.
    Unknown = 1, Pass, "unknown";
    /// TCP to a port that is no service.
    NotGuarded = 2, Pass, "not_guarded";
    /// A segment to a service that is no SYN.
    Segment = 3, Pass, "segment";
    /// A SYN to a service that observes.
    Observed = 4, Pass, "observed";
    /// A SYN to a service's port on an address where nobody listens.
    NoListener = 5, Pass, "no_listener";
    /// A SYN whose connection the stack knows: it knows what to do.
    KnownConnection = 6, Pass, "known_connection";
    /// A SYN to a protecting service whose accept queue is full.
    AcceptQueueFull = 7, Pass, "accept_queue_full";
    /// A SYN to a protecting service that no cookie can answer: signed (TCP-MD5,
    /// TCP-AO), behind two VLAN tags, larger than a buffer, or to a listener
    /// whose connections the stack takes from no cookie (MPTCP).
    Unanswerable = 8, Pass, "unanswerable";
    /// A SYN answered with a cookie.
    CookieSent = 9, Cookie, "cookie_sent";
    /// An ACK with a valid cookie, made a connection in TC: counted on top of
    /// [`Segment`](Self::Segment).
    CookieValidated = 10, Pass, "cookie_validated";
    /// An ACK without a connection and without a valid cookie, to whose flow a
    /// cookie went lately: it overtook its handshake, or is forged. The stack would reset
    /// the connection. Counted on top of [`Segment`](Self::Segment), as the
    /// verdicts of TC are.
    NoCookie = 11, Drop, "no_cookie";
    /// An ACK with a valid cookie that the stack did not take.
    CookieFailed = 12, Drop, "cookie_failed";
    /// A fragment that begins no SYN to a protecting service.
    Fragment = 13, Pass, "fragment";
    /// The first fragment of a SYN to a protecting service, or one too short to
    /// tell: put together behind XDP it would fill the queue.
    FragmentedSyn = 14, Drop, "fragmented_syn";
    /// A SYN to a service that observes, which the stack will drop: see the
    /// next two.
    Invalid = 15, Pass, "invalid";
    /// A SYN to a protecting service with a wrong checksum.
    BadChecksum = 16, Drop, "bad_checksum";
    /// A SYN to a protecting service from an address that no answer may go to.
    BadSource = 17, Drop, "bad_source";
    /// A SYN in a frame for another host: the stack does not take it.
    OtherHost = 18, Pass, "other_host";
    /// IPv6 behind more than six extension headers.
    ManyExtensions = 19, Pass, "many_extensions";
    /// The same, while a service protects: what a flood could hide a SYN behind.
    TooManyExtensions = 20, Drop, "too_many_extensions";
    /// A SYN from an allowed prefix.
    Allowed = 21, Pass, "allowed";
    /// A SYN from a denied prefix.
    Denied = 22, Drop, "denied";
    /// A SYN to a protecting service from a source that is over its limit.
    SourceLimit = 23, Drop, "source_limit";
    /// A SYN to a protecting service whose reply would be one too many to its
    /// prefix.
    ReplyLimit = 24, Drop, "reply_limit";
    /// A stray ACK, of no connection and to whose flow no cookie went lately: the
    /// stack answers it with RST. Counted on top of [`Segment`](Self::Segment).
    StrayAck = 25, Pass, "stray_ack";
    /// The same, when they are too many.
    AckFlood = 26, Drop, "ack_flood";
    /// An ACK with a cookie whose connection was there before.
    ReplayedAck = 27, Drop, "replayed_ack";
    /// A SYN to a protecting service that the stack gets, so that the guard sees whether
    /// and how it answers: there are firewall rules.
    Asked = 28, Pass, "asked";
    /// A SYN to a protecting service that stands back: connections made from cookies were
    /// lost.
    StandsBack = 29, Pass, "stands_back";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn reasons_stand_at_their_index_with_names_of_their_own() {
        for (index, reason) in REASONS.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
        let names: HashSet<_> = REASONS.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), REASONS.len());
    }
}
