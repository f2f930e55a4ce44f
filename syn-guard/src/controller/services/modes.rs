//! What services may do: by the options, and by what the operator said of one
//! at run time.

use std::collections::HashSet;

use syn_guard_common::abi::{Mode, State};
use tracing::info;

use super::{Services, mark_connections};
use crate::controller::clock::now_ns;
use crate::controller::guarded::Guarded;
use crate::controller::reasons::Origins;
use crate::controller::{ControllerError, Detection, Options};
use crate::datapath::{DataPath, DataPathError};
use crate::events::{EventKind, EventLog, Level};

/// Why a service cannot have a mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModeError {
    /// There is no such service.
    #[error(
        "no service at port {0} is guarded: `syn-guard status` lists those that are; a port is guarded while somebody listens there and `ports` does not leave it out"
    )]
    NotGuarded(u16),
    /// The kernel has no way to send cookies.
    #[error("services can only be observed: {0}")]
    NoEngine(String),
}

impl Services {
    /// Other options, from now on; [`Self::apply`] makes services follow at
    /// once. What was said of services at run time still holds.
    pub fn set_options(&mut self, options: &Options) {
        self.ports = options.ports.iter().copied().collect();
        self.interfaces.clone_from(&options.interfaces);
        self.wanted = options.clone();
        self.settled = None;
    }

    /// What one service may do, whatever the options say; none: what they say.
    /// [`Self::apply`] makes it so at once.
    ///
    /// # Errors
    /// Where there is no such service, or nothing that could protect it.
    pub fn set_mode(&mut self, port: u16, mode: Option<Mode>) -> Result<(), ModeError> {
        if !self.guarded.contains_key(&port) {
            return Err(ModeError::NotGuarded(port));
        }
        match (mode, &self.no_engine) {
            (Some(Mode::Auto | Mode::Protect), Some(reason)) => {
                return Err(ModeError::NoEngine(reason.clone()));
            }
            (Some(mode), _) => self.modes.insert(port, mode),
            (None, _) => self.modes.remove(&port),
        };
        self.settled = None;
        Ok(())
    }

    /// What was said of services at run time.
    pub fn modes_said(&self) -> impl Iterator<Item = (u16, Mode)> {
        self.modes.iter().map(|(port, mode)| (*port, *mode))
    }

    /// What the options say of a service holds again.
    pub fn forget_mode(&mut self, port: u16) {
        self.modes.remove(&port);
        self.settled = None;
    }

    /// Makes services follow [`Self::set_options`] and [`Self::set_mode`].
    ///
    /// # Errors
    /// When the data path cannot be told; the next second tries again.
    pub fn apply(
        &mut self,
        datapath: &mut DataPath,
        log: &mut EventLog,
    ) -> Result<(), ControllerError> {
        self.write_configs(datapath)?;
        self.apply_modes(datapath, log)?;
        self.tell_any_protecting(datapath)
    }

    /// What holds for a service.
    pub fn detection(&self, port: u16) -> Detection {
        let mut detection = self.wanted.of_service(port);
        detection.mode = self.asked_mode(port);
        if self.no_engine.is_some() && matches!(detection.mode, Mode::Auto | Mode::Protect) {
            detection.mode = Mode::Observe;
        }
        detection
    }

    /// Where a service's limits and mode come from.
    pub(super) fn origins(&self, port: u16) -> Origins {
        Origins {
            port,
            detection: self.wanted.detection.clone(),
            own: self.wanted.services.get(&port).cloned().unwrap_or_default(),
            mode: self.mode_origin(port),
            backlog: self
                .backlogs
                .get(&port)
                .map_or(0, |backlog| backlog.backlog),
        }
    }

    /// Whether any service may send cookies.
    pub fn may_protect(&self) -> bool {
        self.guarded
            .values()
            .any(|guarded| matches!(guarded.mode(), Mode::Auto | Mode::Protect))
    }

    /// Who said what a service may do: a key of the configuration, `run time`
    /// or `no engine`.
    pub fn mode_origin(&self, port: u16) -> String {
        let own = self.wanted.services.get(&port);
        if self.detection(port).mode != self.asked_mode(port) {
            "no engine".to_owned()
        } else if self.modes.contains_key(&port) {
            "run time".to_owned()
        } else if own.is_some_and(|own| own.mode.is_some()) {
            format!("services.{port}.mode")
        } else {
            "detection.mode".to_owned()
        }
    }

    /// What the operator wants of a service.
    fn asked_mode(&self, port: u16) -> Mode {
        let by_options = || self.wanted.of_service(port).mode;
        self.modes.get(&port).copied().unwrap_or_else(by_options)
    }

    /// Puts services into the state that the mode alone demands.
    pub(super) fn apply_modes(
        &mut self,
        datapath: &DataPath,
        log: &mut EventLog,
    ) -> Result<(), DataPathError> {
        let now = now_ns();
        // What the stack has must be known before the first cookie goes out:
        // all of it where SYNs passed unseen.
        let (mut unseen, mut begun) = (HashSet::new(), HashSet::new());
        for guarded in self.guarded.values() {
            let mut policy = guarded.policy;
            match policy.demand(guarded.mode(), now) {
                Some(change) if change.from == State::Off => unseen.insert(guarded.port),
                Some(change) if change.to == State::Protecting => begun.insert(guarded.port),
                _ => false,
            };
        }
        mark_connections(datapath, &unseen, true);
        mark_connections(datapath, &begun, false);
        for guarded in self.guarded.values_mut() {
            let Some(change) = guarded.policy.demand(guarded.mode(), now) else {
                continue;
            };
            log.push(
                EventKind::State,
                Level::Info,
                Some(guarded.port),
                guarded.change_words(&change),
                &[],
            );
            datapath.control.set_state(guarded.slot, change.to, now)?;
        }
        Ok(())
    }

    /// Says that a service is guarded from now on.
    pub(super) fn log_added(&self, guarded: &Guarded) {
        info!(
            service = guarded.port,
            limit = guarded.rules.limits.half_open.on,
            backlog = guarded.origins.backlog,
            "guarded: protects at {}",
            guarded
                .origins
                .half_open_limit(guarded.rules.limits.half_open.on)
        );
    }
}
