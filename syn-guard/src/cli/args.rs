//! Verbs and flags.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::events::EventsArgs;
use super::flags;
use super::prefixes::ListVerb;
use super::protect::ProtectArgs;
use super::set::SetArgs;
use crate::config::schema::KeyPath;
use crate::config::{LogFormat, Setting};
use crate::datapath::{EngineChoice, LogLevel, XdpModeChoice};
use crate::list::ListArgs;
use crate::status::StatusArgs;
use crate::tune::TuneArgs;

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
    Run(Box<RunArgs>),
    /// List half-open connections, with or without a running guard
    List(ListArgs),
    /// Show what the running guard does
    Status(StatusArgs),
    /// Show what happened: changes of state, floods, sources that were dropped
    Events(EventsArgs),
    /// Have a service protect always, never or during an attack
    Protect(ProtectArgs),
    /// Let the SYNs of prefixes pass always
    #[command(subcommand)]
    Allow(ListVerb),
    /// Drop the SYNs of prefixes
    #[command(subcommand)]
    Deny(ListVerb),
    /// Set a key of the running guard's configuration until the next reload
    Set(SetArgs),
    /// Have the running guard read its configuration again
    Reload,
    /// Remove what a killed guard left in the kernel, and undo its changes (those
    /// of `tune --apply` stay: `tune --revert`)
    Detach,
    /// Show what this machine's settings should be, and why; --apply sets them
    Tune(TuneArgs),
    /// Check, show or write a configuration
    #[command(subcommand)]
    Config(ConfigVerb),
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

#[derive(Debug, Default, Args)]
pub(super) struct RunArgs {
    /// Configuration file [default: /etc/syn-guard/config.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// A key of the configuration, as detection.hold=30; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = flags::assignment)]
    pub(super) assignments: Vec<(KeyPath, Setting)>,
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
    /// What services may do [default: auto]
    #[arg(long, value_enum)]
    pub(super) mode: Option<ModeArg>,
    /// Who makes and validates SYN cookies [default: auto]
    #[arg(long, value_enum)]
    pub(super) engine: Option<EngineChoice>,
    /// Where the XDP program runs [default: auto]
    #[arg(long, value_enum)]
    pub(super) xdp_mode: Option<XdpModeChoice>,
    /// Half-open connections at which a service protects [default: half of its listener's backlog]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub(super) max_half_open: Option<u64>,
    /// Seconds that it must be calm before a service stops protecting [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(super) hold: Option<u64>,
    /// Where Prometheus gets its metrics [default: 127.0.0.1:9469]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(super) metrics_listen: Option<SocketAddr>,
    /// How the log looks [default: text]
    #[arg(long, value_enum)]
    pub(super) log_format: Option<LogFormat>,
    /// Diagnosis from within the eBPF programs [default: off]
    #[arg(long, value_enum)]
    pub(super) ebpf_log: Option<LogLevel>,
}

/// `syn-guard config`.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigVerb {
    /// Say all that is wrong with a file
    Check {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Show what holds, and where each value comes from
    Show {
        #[command(flatten)]
        run: Box<RunArgs>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a file with every key, its meaning and its default
    Example,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ModeArg {
    /// Nothing: SYNs pass uncounted
    Off,
    /// Count, never answer
    Observe,
    /// Answer with cookies while half-open connections are too many
    Auto,
    /// Answer every SYN with a cookie
    Protect,
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
