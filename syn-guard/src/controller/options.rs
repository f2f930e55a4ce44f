//! What the operator wants. The configuration fills it ([`crate::config`]); it
//! may change while the guard runs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use syn_guard_common::abi::Mode;

/// How to run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Interfaces to guard; empty: those of the default routes.
    pub interfaces: Vec<String>,
    /// Ports to guard; empty: all that somebody outside can reach.
    pub ports: Vec<u16>,
    /// When services protect, and when they stop.
    pub detection: Detection,
    /// What holds for one service in place of [`Self::detection`].
    pub services: BTreeMap<u16, ServiceOptions>,
    /// The first step of the ladder.
    pub harden: Harden,
    /// The last one.
    pub limits: LimitOptions,
    /// Allowed and denied prefixes.
    pub lists: ListOptions,
}

impl Options {
    /// What holds for a service.
    #[must_use]
    pub fn of_service(&self, port: u16) -> Detection {
        let mut detection = self.detection.clone();
        if let Some(own) = self.services.get(&port) {
            detection.mode = own.mode.unwrap_or(detection.mode);
            detection.max_half_open = own.max_half_open.or(detection.max_half_open);
            detection.max_unanswered_rate =
                own.max_unanswered_rate.or(detection.max_unanswered_rate);
        }
        detection
    }

    /// Whether any service may send cookies.
    #[must_use]
    pub fn may_protect(&self) -> bool {
        let own = self.services.values().filter_map(|own| own.mode);
        own.chain([self.detection.mode])
            .any(|mode| matches!(mode, Mode::Auto | Mode::Protect))
    }
}

/// When services protect, and when they stop.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    /// What services may do.
    pub mode: Mode,
    /// Half-open connections at which a service protects; none: half of the
    /// listener's backlog.
    pub max_half_open: Option<u64>,
    /// Half-open connections that were retransmitted at least once, at which a
    /// service protects; none: four fifths of the limit of half-open ones.
    pub max_retransmitted: Option<u64>,
    /// Connections a second that the stack refused for want of backlog, at which
    /// services near their limit protect.
    pub max_refused_rate: u64,
    /// Unanswered SYNs a second at which a service protects; none: as many as
    /// half-open connections, but at least 1,000.
    pub max_unanswered_rate: Option<u64>,
    /// Calm is pressure below this share of the limit, percent.
    pub calm_percent: u64,
    /// How long it must be calm before a service stops protecting.
    pub hold: Duration,
}

impl Default for Detection {
    fn default() -> Self {
        Self {
            mode: Mode::Auto,
            max_half_open: None,
            max_retransmitted: None,
            max_refused_rate: 5,
            max_unanswered_rate: None,
            calm_percent: 50,
            hold: Duration::from_secs(60),
        }
    }
}

/// What may be set for one service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceOptions {
    /// See [`Detection::mode`].
    pub mode: Option<Mode>,
    /// See [`Detection::max_half_open`].
    pub max_half_open: Option<u64>,
    /// See [`Detection::max_unanswered_rate`].
    pub max_unanswered_rate: Option<u64>,
    /// To whom a firewall lets the stack answer; empty: everybody.
    pub open_to: Vec<IpNet>,
}

/// The first step of the ladder: the kernel gives up half-open connections
/// sooner.
#[derive(Clone, Debug, PartialEq)]
pub struct Harden {
    /// Whether the guard takes it at all.
    pub enabled: bool,
    /// At which share of the limit of half-open connections, percent.
    pub at_percent: u64,
    /// `net.ipv4.tcp_synack_retries` then, unless it is less.
    pub synack_retries: u64,
    /// `net.ipv4.tcp_max_syn_backlog` then, unless it is more.
    pub max_syn_backlog: u64,
    /// `net.core.somaxconn` then, unless it is more.
    pub somaxconn: u64,
}

impl Default for Harden {
    fn default() -> Self {
        Self {
            enabled: true,
            at_percent: 50,
            synack_retries: 2,
            max_syn_backlog: 16_384,
            somaxconn: 16_384,
        }
    }
}

/// Limits of what one source, prefix or forger may do while a service protects.
/// 0: no limit.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitOptions {
    /// Bits of an IPv4 address that make a source.
    pub ipv4_bits: u8,
    /// Bits of an IPv6 address that make a source.
    pub ipv6_bits: u8,
    /// Half-open connections of a source.
    pub source_half_open: u64,
    /// Unanswered SYNs a second of a source.
    pub source_rate: u64,
    /// Unanswered replies a second to a prefix (/24, IPv6 /48).
    pub reply_rate: u64,
    /// Stray ACKs a second to a service.
    pub stray_rate: u64,
}

impl Default for LimitOptions {
    fn default() -> Self {
        Self {
            ipv4_bits: 32,
            ipv6_bits: 64,
            source_half_open: 128,
            source_rate: 200,
            reply_rate: 10_000,
            stray_rate: 1_000,
        }
    }
}

/// Allowed and denied prefixes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListOptions {
    /// Prefixes whose SYNs always pass.
    pub allow: Vec<IpNet>,
    /// Files with such prefixes, one a line.
    pub allow_files: Vec<PathBuf>,
    /// Prefixes whose SYNs are dropped.
    pub deny: Vec<IpNet>,
    /// Files with such prefixes, one a line.
    pub deny_files: Vec<PathBuf>,
}

/// The word for a mode.
#[must_use]
pub const fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Observe => "observe",
        Mode::Auto => "auto",
        Mode::Protect => "protect",
        Mode::Off => "off",
    }
}
