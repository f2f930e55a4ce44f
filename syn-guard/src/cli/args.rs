//! Verbs and flags.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use syn_guard_common::abi::Mode;

use crate::datapath::{EngineChoice, LogLevel, XdpModeChoice};
use crate::list::ListArgs;
use crate::status::StatusArgs;

/// Detects SYN floods and stops them in the kernel
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) paths: Paths,
    #[command(subcommand)]
    pub(super) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Guard this host until SIGTERM or SIGINT
    Run(RunArgs),
    /// List half-open connections, with or without a running guard
    List(ListArgs),
    /// Show what the running guard does
    Status(StatusArgs),
    /// Remove what a killed guard left in the kernel, and undo its changes
    Detach,
}

/// Where syn-guard keeps what it needs while it runs.
#[derive(Clone, Debug, Args)]
pub(super) struct Paths {
    /// Directory of the control socket, the lock and the journal of changes
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "/run/syn-guard"
    )]
    pub(super) state_dir: PathBuf,
    /// Directory of the pins, on a BPF file system
    #[arg(long, global = true, value_name = "DIR", default_value = DEFAULT_BPF_DIR)]
    pub(super) bpf_dir: PathBuf,
}

/// Where distributions mount the BPF file system, and our directory there.
pub(super) const DEFAULT_BPF_DIR: &str = "/sys/fs/bpf/syn-guard";

impl Paths {
    /// The control socket.
    pub(super) fn control(&self) -> PathBuf {
        self.state_dir.join("control.sock")
    }
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Interface to guard; may be repeated [default: those of the default routes]
    #[arg(long = "iface", value_name = "IFACE")]
    pub(super) interfaces: Vec<String>,
    /// TCP ports to guard, as 80,443 [default: all that somebody outside can reach]
    #[arg(
        long,
        value_name = "PORTS",
        value_delimiter = ',',
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub(super) ports: Vec<u16>,
    /// What services may do
    #[arg(long, value_enum, default_value_t = ModeArg::Auto)]
    pub(super) mode: ModeArg,
    /// Who makes and validates SYN cookies
    #[arg(long, value_enum, default_value_t = EngineChoice::Auto)]
    pub(super) engine: EngineChoice,
    /// Where the XDP program runs
    #[arg(long, value_enum, default_value_t = XdpModeChoice::Auto)]
    pub(super) xdp_mode: XdpModeChoice,
    /// Half-open connections at which a service protects [default: half of its listener's backlog]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) max_half_open: Option<u64>,
    /// Seconds that it must be calm before a service stops protecting
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 60,
        value_parser = clap::value_parser!(u64).range(1..=86_400)
    )]
    pub(super) hold: u64,
    /// Where Prometheus gets its metrics
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9469")]
    pub(super) metrics_listen: SocketAddr,
    /// How the log looks
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(super) log_format: LogFormat,
    /// Diagnosis from within the eBPF programs
    #[arg(long, value_enum, default_value_t = LogLevel::Off)]
    pub(super) ebpf_log: LogLevel,
}

impl RunArgs {
    pub(super) fn hold(&self) -> Duration {
        Duration::from_secs(self.hold)
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ModeArg {
    /// Count, never answer
    Observe,
    /// Answer with cookies while half-open connections are too many
    Auto,
    /// Answer every SYN with a cookie
    Protect,
}

impl From<ModeArg> for Mode {
    fn from(mode: ModeArg) -> Self {
        match mode {
            ModeArg::Observe => Self::Observe,
            ModeArg::Auto => Self::Auto,
            ModeArg::Protect => Self::Protect,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
