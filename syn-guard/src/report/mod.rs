//! What the running guard says of itself: one snapshot, from which metrics,
//! `status` and `list` are made, so that they agree.

use serde::{Deserialize, Serialize};

use crate::events::EventKind;

/// The guard at one moment. Times are seconds, sizes bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Of syn-guard.
    pub version: String,
    /// The commit it was built from.
    pub commit: String,
    /// When the guard started, seconds since 1970.
    pub started_at: f64,
    /// `observe`, `auto` or `protect`, as the operator set it.
    pub mode: String,
    /// `reqsk` or `none`.
    pub engine: String,
    /// Why there is no engine.
    pub engine_reason: Option<String>,
    /// Kernel memory of all eBPF maps, bytes.
    pub map_bytes: u64,
    /// Where the programs are attached.
    pub interfaces: Vec<InterfaceReport>,
    /// How many prefixes are listed.
    pub prefixes: PrefixCounts,
    /// The guarded services, by port.
    pub services: Vec<ServiceReport>,
    /// What was done with packets since the programs were loaded.
    pub verdicts: Vec<VerdictReport>,
    /// How many events of each kind there were since the guard started.
    pub events: Vec<EventCount>,
    /// The stack's own counters of this network namespace.
    pub kernel: KernelReport,
    /// Why the system is hardened; none where it is not.
    pub hardened: Option<String>,
    /// System settings that the guard changed and will restore, as
    /// `net.ipv4.tcp_syncookies: 0 -> 1`.
    pub changes: Vec<String>,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InterfaceReport {
    /// Its name.
    pub name: String,
    /// `native` or `generic`.
    pub mode: String,
    /// Why not native.
    pub reason: Option<String>,
}

/// How many prefixes are in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefixCounts {
    /// Those whose SYNs always pass.
    pub allow: u64,
    /// Those whose SYNs are dropped.
    pub deny: u64,
    /// Those that are listed and not in force: there is no room for them.
    #[serde(default)]
    pub left_out: u64,
}

/// A guarded service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceReport {
    /// TCP port.
    pub port: u16,
    /// What it may do: `off`, `observe`, `auto` or `protect`.
    pub mode: String,
    /// Who said so: a key of the configuration, as `detection.mode`,
    /// `run time` (`syn-guard protect`) or `no engine`.
    pub mode_origin: String,
    /// `off`, `observing` or `protecting`.
    pub state: String,
    /// Why it is in this state, with value and limit.
    pub reason: String,
    /// Where it answers with no cookies although it protects, or would, and why.
    #[serde(default)]
    pub stands_back: Vec<String>,
    /// For how long, seconds.
    pub state_seconds: f64,
    /// The addresses it listens on, as `198.18.0.1:80` or `*:80`.
    pub listeners: Vec<String>,
    /// Half-open connections as XDP counts them.
    pub half_open: u64,
    /// Half-open connections as the kernel counts them (`sock_diag`).
    pub half_open_kernel: u64,
    /// Half-open connections at which it starts to protect.
    pub limit: u64,
    /// Pressure below which it is calm.
    pub calm_limit: u64,
    /// Half-open connections there would be without protection.
    pub pressure: u64,
    /// What else has a limit.
    pub signals: SignalsReport,
    /// What kind of flood it is under.
    pub flood: FloodReport,
    /// The listeners' limit for half-open connections, and for connections
    /// waiting to be accepted.
    pub backlog: u64,
    /// Connections waiting to be accepted.
    pub accept_queue: u64,
    /// Counts since the service is guarded.
    pub counters: CounterReport,
    /// How long handshakes took.
    pub handshakes: HandshakeReport,
}

/// What has a limit beside half-open connections; no limit stands as null.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalsReport {
    /// Half-open connections that were retransmitted at least once.
    pub retransmitted: u64,
    /// Their number at which it starts to protect.
    pub retransmitted_limit: Option<u64>,
    /// Connections a second that the stack refused for want of backlog, where
    /// they may be this service's.
    pub refused_rate: u64,
    /// The rate at which it starts to protect.
    pub refused_rate_limit: Option<u64>,
    /// Unanswered SYNs a second at which it starts to protect.
    pub unanswered_rate_limit: Option<u64>,
}

/// What kind of flood a service is under, with the numbers of the last seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloodReport {
    /// `none`, `spoofed`, `concentrated` or `mixed`.
    pub kind: String,
    /// Floods that began since the guard started.
    pub attacks: u64,
    /// It protects though there is no flood: a crowd is more than its limit.
    pub crowd: bool,
    /// SYNs, without those sent again.
    pub syns_per_second: u64,
    /// Unanswered SYNs.
    pub unanswered_syns_per_second: u64,
    /// Share of the SYNs that were answered.
    pub answered_percent: u64,
    /// SYNs of heavy sources as a share of the unanswered ones.
    pub heavy_percent: u64,
    /// Different sources as a share of the unanswered SYNs of a second.
    pub new_source_percent: u64,
}

/// Counts of a service since it is guarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterReport {
    /// SYNs, retransmitted ones among them.
    pub syns: u64,
    /// SYNs of connections that were half-open already.
    pub syn_retransmissions: u64,
    /// Half-open connections that were tracked.
    pub tracked: u64,
    /// SYNs passed to the stack without being tracked.
    pub untracked: u64,
    /// SYNs from allowed prefixes.
    pub allowed: u64,
    /// SYNs dropped because their prefix is denied.
    pub denied: u64,
    /// Half-open connections ended by the client's ACK.
    pub completed: u64,
    /// Half-open connections ended by RST.
    pub reset: u64,
    /// Half-open connections ended by time.
    pub expired: u64,
    /// Cookies sent.
    pub cookies_sent: u64,
    /// Cookies that came back and became connections.
    pub cookies_validated: u64,
    /// ACKs without connection and without valid cookie.
    pub cookies_rejected: u64,
    /// Valid cookies that the stack did not take.
    pub cookies_failed: u64,
    /// Changes from observing to protecting.
    pub protections: u64,
}

/// A histogram of handshakes from SYN to ACK.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HandshakeReport {
    /// Upper bound in seconds and handshakes up to it that are above the bound
    /// before; the last bound is infinite and stands as null.
    pub buckets: Vec<(Option<f64>, u64)>,
    /// Sum of all durations, seconds.
    pub sum_seconds: f64,
}

/// A verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictReport {
    /// `pass`, `cookie` or `drop`.
    pub action: String,
    /// Why.
    pub reason: String,
    /// Packets.
    pub packets: u64,
}

/// Events of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventCount {
    /// The kind.
    pub kind: EventKind,
    /// How many.
    pub count: u64,
}

/// What became of a service's mode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModeReport {
    /// The service's port.
    pub port: u16,
    /// The mode before: `off`, `observe`, `auto` or `protect`.
    pub from: String,
    /// The mode now.
    pub to: String,
    /// The state now: `off`, `observing` or `protecting`.
    pub state: String,
}

/// TcpExt counters of the stack (`/proc/net/netstat`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KernelReport {
    /// `ListenOverflows`.
    pub listen_overflows: u64,
    /// `ListenDrops`.
    pub listen_drops: u64,
    /// `SyncookiesSent`.
    pub syncookies_sent: u64,
    /// `SyncookiesRecv`.
    pub syncookies_received: u64,
    /// `SyncookiesFailed`.
    pub syncookies_failed: u64,
    /// `TCPReqQFullDoCookies`.
    pub request_queue_full_cookies: u64,
    /// `TCPReqQFullDrop`.
    pub request_queue_full_drops: u64,
}

/// A source, for one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceReport {
    /// IPv4 address, or IPv6 /64 as `2001:db8::/64`; other prefixes where sources
    /// are configured to be such.
    pub source: String,
    /// The service's port.
    pub port: u16,
    /// Half-open now.
    pub half_open: u64,
    /// SYNs, retransmitted ones among them.
    pub syns: u64,
    /// Handshakes completed.
    pub completed: u64,
    /// Half-open connections reset.
    pub reset: u64,
    /// Half-open connections expired.
    pub expired: u64,
}
