//! `syn-guard run`.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use super::args::{Paths, RunArgs};
use super::instance::Instance;
use super::{bpffs, flags, runtime};
use crate::config::{ConfigSource, LogFormat, Wanted};
use crate::controller::{
    Controller, ControllerHandle, choose_interfaces, count_services, requests, restore,
};
use crate::datapath::{
    DataPath, LoadOptions, LogLevel, PinDirectory, Takeover, forward_logs, one_line,
};
use crate::heap;
use crate::server;
use crate::undo::Journal;

/// Guards this host until SIGTERM or SIGINT.
pub(super) fn run(args: &RunArgs, paths: &Paths) -> anyhow::Result<()> {
    let config = ConfigSource::load(args.config.clone(), flags::layer(args)?)?;
    let wanted = config.wanted();
    init_logs(wanted.log_format, wanted.ebpf_log);
    runtime()?.block_on(guard(config, wanted, paths))
}

async fn guard(config: ConfigSource, mut wanted: Wanted, paths: &Paths) -> anyhow::Result<()> {
    // Listens before anything is changed: a signal during the start must not
    // leave half of it.
    let (handle, requests) = requests();
    let stop = signals(handle.clone())?;
    let _instance = Instance::take(&paths.state_dir)?;
    wanted.options.interfaces = choose_interfaces(&wanted.options.interfaces)?;
    let metrics_listen = wanted.metrics_listen;
    let metrics = server::bind_metrics(metrics_listen).await?;
    let control = server::bind_control(&paths.control())?;
    let mut journal = Journal::open(&paths.state_dir)?;
    if !journal.leftovers().changes.is_empty() {
        warn!("an earlier syn-guard was killed; its changes are undone when this one stops");
    }
    if let Some((_, path)) = &journal.leftovers().elsewhere {
        warn!(
            "a syn-guard was killed in another network namespace; its changes wait there for its next start or `syn-guard detach`: {}",
            path.display()
        );
    }
    let pins = PinDirectory::new(paths.bpf_dir.clone());
    let datapath = match load(&wanted, &pins, paths, &mut journal) {
        Ok(datapath) => datapath,
        Err(error) => {
            // Programs of an earlier guard that are still there need its
            // settings.
            if !pins.exists() {
                restore(&mut journal);
            }
            return Err(error);
        }
    };
    match datapath.takeover {
        Takeover::Fresh => {}
        Takeover::Continued => info!("going on with the counters of an earlier syn-guard"),
        Takeover::Replaced => {
            warn!("replaced the maps of another version of syn-guard: counters start anew");
        }
        Takeover::Outgrown => {
            warn!(
                "replaced the maps of an earlier syn-guard, which had room for fewer services: counters start anew"
            );
        }
    }
    if let Some(file) = config.file() {
        info!("configuration: {}", file.display());
    }
    let controller = match Controller::start(wanted.options, config, datapath, journal) {
        Ok(controller) => controller,
        Err(error) => return Err(error.clean_up().into()),
    };
    info!(
        metrics = %metrics_listen,
        control = %paths.control().display(),
        "syn-guard {} is guarding",
        env!("CARGO_PKG_VERSION")
    );
    heap::give_back();
    let metrics = tokio::spawn(server::serve_metrics(metrics, handle.clone()));
    let control = tokio::spawn(server::serve_control(control, handle));
    let stopped = controller.run(requests, stop).await;
    metrics.abort();
    control.abort();
    // Their sockets go with them.
    let _ = (metrics.await, control.await);
    Ok(stopped?)
}

fn load(
    wanted: &Wanted,
    pins: &PinDirectory,
    paths: &Paths,
    journal: &mut Journal,
) -> anyhow::Result<DataPath> {
    bpffs::provide(paths, journal)?;
    let mut datapath = DataPath::load(
        pins.clone(),
        &LoadOptions {
            log: wanted.ebpf_log,
            engine: wanted.engine,
            xdp_mode: wanted.xdp_mode,
            services: count_services(&wanted.options)?,
            without_reqsk: false,
            unusual_rate: LoadOptions::UNUSUAL_RATE,
        },
    )?;
    if wanted.ebpf_log != LogLevel::Off {
        match forward_logs(&mut datapath) {
            Ok(forward) => drop(tokio::spawn(forward)),
            Err(error) => warn!("no logs of the eBPF programs: {}", one_line(&error)),
        }
    }
    Ok(datapath)
}

/// Turns true at the first SIGTERM or SIGINT, and changes at every further
/// one. SIGHUP has the configuration read again: from a terminal that goes away
/// it does no harm.
fn signals(handle: ControllerHandle) -> anyhow::Result<watch::Receiver<bool>> {
    let (sender, receiver) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let mut hang_up = signal(SignalKind::hangup()).context("SIGHUP")?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => info!("SIGTERM"),
                _ = interrupt.recv() => info!("SIGINT"),
                _ = hang_up.recv() => {
                    info!("SIGHUP: reading the configuration again");
                    // Waits for its turn apart: it must not hold up SIGTERM. The
                    // controller says what became of it.
                    let handle = handle.clone();
                    tokio::spawn(async move { handle.reload().await });
                    continue;
                }
            }
            if sender.send(true).is_err() {
                break;
            }
        }
    });
    Ok(receiver)
}

fn init_logs(format: LogFormat, ebpf: LogLevel) {
    let filter = EnvFilter::try_from_env("SYN_GUARD_LOG").unwrap_or_else(|_| {
        EnvFilter::new(match ebpf {
            LogLevel::Off => "info",
            // The name of the crate that the programs come from.
            LogLevel::Debug => "info,syn_guard_ebpf=debug",
        })
    });
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
}
