//! The controller: keeps the data path told of services, listeners and keys,
//! ends what the data path cannot end by itself, decides when a service stops
//! protecting, and says why.
//!
//! It runs in one task; other tasks ask it through a
//! [`ControllerHandle`].

mod apply;
mod clock;
mod closed;
mod data_events;
mod engine;
mod error;
mod follow_engine;
mod guarded;
mod handle;
mod harden;
mod interfaces;
mod kernel_engine;
mod keys;
mod limits;
mod listeners;
mod lives;
mod merging;
mod options;
mod place;
mod prefixes;
mod reasons;
mod report;
mod requests;
mod route_classes;
mod routes;
mod rules;
mod services;
mod slots;
mod standing;
mod sweep;
mod undoing;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use syn_guard_common::abi::{Event, Mode, ServiceConfig, State};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::{error, info, warn};

pub use error::ControllerError;
pub use handle::{ControllerHandle, Reply, Request, requests};
pub use interfaces::choose_interfaces;
pub use options::{
    Detection, Harden, LimitOptions, ListOptions, Options, ServiceOptions, mode_name,
};
pub use services::{ModeError, count_services};

use crate::config::ConfigSource;
use crate::datapath::{DataPath, DataPathError, Engine, EventReader, Takeover, one_line};
use crate::events::EventLog;
use crate::heap;
use crate::kernel::netfilter::RuleChanges;
use crate::undo::{Journal, Outcome};
use data_events::DroppedSources;
use engine::{EngineInUse, Surroundings};
use harden::Hardening;
use interfaces::Interfaces;
use kernel_engine::KernelSettings;
use keys::KeyRing;
use limits::Limits;
use prefixes::Prefixes;
use rules::Rules;
use services::Services;

/// How often accept queues are looked at while a service protects.
const FAST: Duration = Duration::from_millis(100);
/// How often everything else is.
const SLOW: Duration = Duration::from_secs(1);
/// How often memory that large lists or many connections took is given back.
const GIVE_BACK: Duration = Duration::from_secs(60);
/// How long cookies that are out are still validated at exit.
const DRAIN_AT_EXIT: Duration = Duration::from_secs(3);
/// What the `reqsk` engine needs to be other than 0, and the `kernel` engine 2.
const SYNCOOKIES: &str = "net.ipv4.tcp_syncookies";

/// What [`Controller::prepare`] made.
type Prepared = (
    EventReader,
    Interfaces,
    EngineInUse,
    Surroundings,
    Services,
    Prefixes,
    KeyRing,
    Limits,
);

/// The running controller.
pub struct Controller {
    options: Options,
    config: ConfigSource,
    datapath: DataPath,
    events: EventReader,
    interfaces: Interfaces,
    engine: EngineInUse,
    surroundings: Surroundings,
    rules: Rules,
    /// It was said that the program for conntrack cannot be loaded.
    conntrack_said: bool,
    services: Services,
    prefixes: Prefixes,
    keys: KeyRing,
    limits: Limits,
    dropped: DroppedSources,
    journal: Journal,
    settings: KernelSettings,
    hardening: Hardening,
    event_log: EventLog,
    started_at: f64,
}

impl Controller {
    /// Attaches the data path and tells it what to guard; `options` are those of
    /// `config`, with the interfaces chosen.
    ///
    /// # Errors
    /// Says what is in the way, and holds what must be cleaned up.
    pub fn start(
        mut options: Options,
        config: ConfigSource,
        mut datapath: DataPath,
        mut journal: Journal,
    ) -> Result<Self, Box<StartError>> {
        let mut event_log = EventLog::default();
        let hardening = Hardening::found(&journal, clock::now_ns());
        match Self::prepare(&mut options, &mut datapath, &mut journal, &mut event_log) {
            Ok((events, interfaces, engine, surroundings, services, prefixes, keys, limits)) => {
                Ok(Self {
                    options,
                    config,
                    datapath,
                    events,
                    interfaces,
                    engine,
                    surroundings,
                    rules: Rules::default(),
                    conntrack_said: false,
                    services,
                    prefixes,
                    keys,
                    limits,
                    dropped: DroppedSources::default(),
                    settings: KernelSettings::found(&journal),
                    hardening,
                    event_log,
                    journal,
                    started_at: SystemTime::now()
                        .duration_since(UNIX_EPOCH)
                        .map_or(0.0, |age| age.as_secs_f64()),
                })
            }
            Err(error) => Err(Box::new(StartError {
                error,
                datapath,
                journal,
            })),
        }
    }

    fn prepare(
        options: &mut Options,
        datapath: &mut DataPath,
        journal: &mut Journal,
        log: &mut EventLog,
    ) -> Result<Prepared, ControllerError> {
        let events = datapath.maps.take_events()?;
        if let Engine::None { reason } = &datapath.features.engine
            && options.may_protect()
        {
            warn!("observing only, whatever --mode says: {reason}");
            if options.detection.mode != Mode::Off {
                options.detection.mode = Mode::Observe;
            }
        }
        let surroundings = Surroundings::look(&options.interfaces, &mut Rules::default())?;
        let engine = EngineInUse::new(&datapath.features, surroundings.obstacle.clone());
        info!("engine {}: {}", engine.name(), engine.why());
        surroundings.say();
        let now = clock::now_ns();
        let keys = if datapath.takeover == Takeover::Continued {
            KeyRing::continued(now)
        } else {
            let (ring, keys) = KeyRing::new(now)?;
            datapath.maps.set_keys(keys)?;
            ring
        };
        let mut prefixes = Prefixes::start(&options.lists, datapath.maps.prefixes.held())?;
        // Before anything that an earlier guard's programs go by is changed:
        // attaching is what fails.
        let interfaces = Interfaces::attach(&options.interfaces, datapath)?;
        let guarding = prefixes
            .refresh(&mut datapath.maps.prefixes, log)
            .and_then(|()| guard(options, &engine, &surroundings, datapath, journal, log));
        match guarding {
            Ok((services, limits)) => {
                datapath.detach_others(&options.interfaces);
                Ok((
                    events,
                    interfaces,
                    engine,
                    surroundings,
                    services,
                    prefixes,
                    keys,
                    limits,
                ))
            }
            Err(error) => {
                interfaces.take_back(datapath);
                Err(error)
            }
        }
    }

    /// Runs until `stop` becomes true, then detaches, undoes every change and
    /// leaves no trace. A second change of `stop` ends the wait for cookies
    /// that are still out.
    ///
    /// # Errors
    /// Something is left, which the log says.
    pub async fn run(
        mut self,
        mut requests: mpsc::Receiver<Request>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), ControllerError> {
        let mut rules = RuleChanges::listen();
        let mut fast = interval(FAST);
        let mut slow = interval(SLOW);
        let mut give_back = interval(GIVE_BACK);
        fast.set_missed_tick_behavior(MissedTickBehavior::Delay);
        slow.set_missed_tick_behavior(MissedTickBehavior::Delay);
        give_back.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                changed = stop.changed() => {
                    if changed.is_err() || *stop.borrow() {
                        break;
                    }
                }
                () = rules.next() => self.rules_changed(),
                events = self.events.next() => self.take_events(events),
                Some(request) = requests.recv() => self.answer(request),
                _ = fast.tick(), if self.services.any_protecting() => {
                    self.keep_engine();
                    self.tell("accept queues", |controller| {
                        controller.services.refresh_listeners(&mut controller.datapath)
                    });
                }
                _ = slow.tick() => self.second(),
                _ = give_back.tick() => heap::give_back(),
            }
        }
        self.stop(&mut stop).await
    }

    fn take_events(&mut self, events: Result<Vec<Event>, DataPathError>) {
        match events {
            Ok(events) => {
                let mut began = false;
                for event in events {
                    let port = self.services.port_of(event.slot);
                    let limits = &self.options.limits;
                    if standing::take(&event, port, &mut self.event_log) {
                        continue;
                    }
                    if !self.dropped.take(&event, port, limits, &mut self.event_log) {
                        began |= self.services.protecting(&event, &mut self.event_log);
                    }
                }
                if began {
                    self.tell("connections", |controller| {
                        controller.services.mark_again(&mut controller.datapath)
                    });
                }
                self.keep_hardened();
                self.keep_kernel_engine_or_say();
            }
            Err(error) => error!("{}", one_line(&error)),
        }
    }

    /// What is done once a second. What fails is said and tried again.
    fn second(&mut self) {
        self.keep_engine();
        let usual = harden::usual_retries(&self.journal);
        self.services.lives_mut().set_usual(usual);
        self.tell("services", |controller| {
            controller
                .services
                .refresh(&mut controller.datapath, &mut controller.event_log)
        });
        self.tell("limits", |controller| controller.tell_limits());
        self.tell("prefixes", |controller| {
            let maps = &mut controller.datapath.maps.prefixes;
            controller.prefixes.refresh(maps, &mut controller.event_log)
        });
        self.tell("half-open connections", |controller| {
            sweep::expire(&controller.datapath, controller.services.lives()).map_err(Into::into)
        });
        self.tell("states", |controller| {
            controller
                .services
                .second(&mut controller.datapath, &mut controller.event_log)?;
            controller
                .services
                .tell_any_protecting(&mut controller.datapath)
        });
        self.tell("keys", |controller| {
            let mut keys = controller.datapath.maps.keys()?;
            if controller.keys.renew(&mut keys, clock::now_ns())? {
                controller.datapath.maps.set_keys(keys)?;
            }
            Ok(())
        });
        self.dropped.second(clock::now_ns(), &mut self.event_log);
        self.soften_again();
        self.keep_hardened();
        self.keep_kernel_engine_or_say();
        self.tell("settings", |controller| {
            keep_syncookies(controller.services.may_protect(), &mut controller.journal)
        });
        if self.interfaces.refresh(&mut self.datapath) {
            // What came by another way so far is marked as well.
            self.tell("connections", |controller| {
                controller.services.mark_again(&mut controller.datapath)
            });
        }
    }

    fn tell(&mut self, what: &str, work: impl FnOnce(&mut Self) -> Result<(), ControllerError>) {
        if let Err(error) = work(self) {
            warn!("{what}: {}", one_line(&error));
        }
    }

    async fn stop(mut self, stop: &mut watch::Receiver<bool>) -> Result<(), ControllerError> {
        // No more cookies first; those that are out are waited for.
        self.interfaces.stop_answering(&self.datapath);
        self.tell("states", |controller| {
            controller.stop_protecting().map_err(Into::into)
        });
        self.tell("settings of the kernel engine", Self::relax_kernel_engine);
        if self.services.any_cookies_out() {
            info!(
                "stopping: no more cookies are sent; those that are out are validated for {} s (a second signal ends the wait)",
                DRAIN_AT_EXIT.as_secs()
            );
            let end = Instant::now() + DRAIN_AT_EXIT;
            tokio::select! {
                () = sleep_until(end) => {}
                _ = stop.changed() => info!("a second signal: not waiting for cookies any longer"),
            }
        }
        let removed = self.interfaces.remove(self.datapath);
        if let Err(error) = &removed {
            error!("not everything could be removed: {}", one_line(error));
        }
        let restored = restore(&mut self.journal);
        if removed.is_err() || !restored {
            return Err(ControllerError::Left);
        }
        info!("stopped: detached, nothing of syn-guard is left in the kernel");
        Ok(())
    }

    /// From here on the stack answers SYNs, with its own cookies when it must. The
    /// data path goes on validating cookies that are out.
    fn stop_protecting(&mut self) -> Result<(), DataPathError> {
        let DataPath { maps, control, .. } = &mut self.datapath;
        for guarded in self.services.guarded() {
            // A SYN that is still on its way must not switch it back.
            let config = ServiceConfig {
                mode: Mode::Observe as u32,
                ..maps.config(guarded.slot)?
            };
            maps.set_config(guarded.slot, config)?;
            control.set_state(guarded.slot, State::Observing, clock::now_ns())?;
        }
        Ok(())
    }
}

/// Why the controller did not start, with what must still be cleaned up.
pub struct StartError {
    error: ControllerError,
    datapath: DataPath,
    journal: Journal,
}

impl StartError {
    /// Detaches what was attached and undoes what was changed; but what an
    /// earlier guard protects stays protected.
    #[must_use]
    pub fn clean_up(mut self) -> ControllerError {
        let protected = self.datapath.interfaces();
        if self.datapath.takeover != Takeover::Fresh && !protected.is_empty() {
            warn!(
                "an earlier syn-guard's protection stays attached to {}: `syn-guard detach` removes it",
                protected.join(", ")
            );
        } else {
            if let Err(error) = self.datapath.remove(Vec::new()) {
                error!("not everything could be removed: {}", one_line(&error));
            }
            restore(&mut self.journal);
        }
        self.error
    }
}

/// Undoes all changes to the system and says so; whether all went well.
pub fn restore(journal: &mut Journal) -> bool {
    let outcomes = match journal.restore_all() {
        Ok(outcomes) => outcomes,
        Err(error) => {
            error!(
                "changes to the system could not be undone: {}",
                one_line(&error)
            );
            return false;
        }
    };
    let mut all = true;
    for outcome in outcomes {
        match outcome {
            Outcome::Failed { .. } => {
                error!("{outcome}");
                all = false;
            }
            Outcome::ChangedMeanwhile { .. } | Outcome::LeftMounted { .. } => warn!("{outcome}"),
            _ => info!("{outcome}"),
        }
    }
    all
}

/// Changes what must be changed, and tells the data path what to guard.
fn guard(
    options: &Options,
    engine: &EngineInUse,
    surroundings: &Surroundings,
    datapath: &mut DataPath,
    journal: &mut Journal,
    log: &mut EventLog,
) -> Result<(Services, Limits), ControllerError> {
    if options.detection.mode == Mode::Protect && engine.is_kernel() {
        kernel_engine::need(journal)?;
    }
    keep_syncookies(options.may_protect(), journal)?;
    let mut limits = Limits::default();
    limits.tell(
        &options.limits,
        &options.interfaces,
        surroundings.making(engine.kind()),
        datapath,
    )?;
    let mut services = Services::new(options, datapath, engine.kind())?;
    services.go_by(
        surroundings.netfilter.rules && datapath.features.assign.is_some(),
        surroundings.virtual_addresses.clone(),
    );
    services.refresh(datapath, log)?;
    Ok((services, limits))
}

/// Sets `tcp_syncookies` to 1 where it is 0 and a service may protect.
fn keep_syncookies(may_protect: bool, journal: &mut Journal) -> Result<(), ControllerError> {
    if !may_protect {
        return Ok(());
    }
    if crate::kernel::sysctl::get_u64(SYNCOOKIES)? == 0 {
        journal.change(SYNCOOKIES, "1")?;
        warn!(
            "{SYNCOOKIES} was 0, with which the kernel takes no cookie's connection: it is 1 until syn-guard stops"
        );
    }
    Ok(())
}
