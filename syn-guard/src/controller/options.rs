//! What the operator wants.

use std::time::Duration;

use syn_guard_common::abi::Mode;

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Interfaces to guard; empty: those of the default routes.
    pub interfaces: Vec<String>,
    /// Ports to guard; empty: all that somebody outside can reach.
    pub ports: Vec<u16>,
    /// What services may do.
    pub mode: Mode,
    /// Half-open connections at which a service protects; none: half of the
    /// listener's backlog.
    pub max_half_open: Option<u64>,
    /// How long it must be calm before a service stops protecting.
    pub hold: Duration,
}

/// The word for a mode.
#[must_use]
pub const fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Observe => "observe",
        Mode::Auto => "auto",
        Mode::Protect => "protect",
    }
}
