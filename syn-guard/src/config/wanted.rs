//! Everything that can be configured, typed.

use std::net::{Ipv4Addr, SocketAddr};

use clap::ValueEnum;

use crate::controller::Options;
use crate::datapath::{EngineChoice, LogLevel, XdpModeChoice};

/// Everything that can be configured.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What may change while the guard runs, and the interfaces.
    pub options: Options,
    /// Who makes cookies.
    pub engine: EngineChoice,
    /// Where the XDP program runs.
    pub xdp_mode: XdpModeChoice,
    /// Where Prometheus gets its metrics.
    pub metrics_listen: SocketAddr,
    /// How the log looks.
    pub log_format: LogFormat,
    /// Diagnosis from within the eBPF programs.
    pub ebpf_log: LogLevel,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            options: Options::default(),
            engine: EngineChoice::default(),
            xdp_mode: XdpModeChoice::default(),
            metrics_listen: (Ipv4Addr::LOCALHOST, 9469).into(),
            log_format: LogFormat::default(),
            ebpf_log: LogLevel::default(),
        }
    }
}

/// How the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}
