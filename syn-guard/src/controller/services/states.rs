//! The states of services: when they begin and stop to protect, and what the data
//! path must know of connections before they do.

use std::collections::{HashMap, HashSet};

use syn_guard_common::abi::{Event, MAX_HALF_OPEN, Mode, State};
use syn_guard_common::flow::Flow;
use tracing::{debug, warn};

use super::{MARK_EVERY_NS, Services};
use crate::controller::ControllerError;
use crate::controller::clock::now_ns;
use crate::controller::guarded::{Action, Guarded};
use crate::datapath::DataPath;
use crate::events::{EventKind, EventLog, Level};
use crate::kernel::sock_diag::{TcpState, for_each_connection, half_open_by_port};

impl Services {
    pub(super) fn ports_that(&self, are: impl Fn(&Guarded) -> bool) -> HashSet<u16> {
        self.guarded
            .values()
            .filter(|guarded| are(guarded))
            .map(|guarded| guarded.port)
            .collect()
    }

    /// The data path says that a service started to protect.
    pub fn protecting(&mut self, event: &Event, datapath: &DataPath, log: &mut EventLog) {
        let hold_ns = self.hold_ns();
        let Some(guarded) = self
            .guarded
            .values_mut()
            .find(|guarded| guarded.slot == event.slot)
        else {
            return;
        };
        if !guarded.protecting(event, now_ns(), hold_ns) {
            return;
        }
        log.push(
            EventKind::State,
            Level::Warn,
            Some(guarded.port),
            format!("observing -> protecting: {}", guarded.reason),
            &[
                ("half_open", event.value as f64),
                ("untracked", f64::from(event.untracked)),
                ("limit", event.limit as f64),
            ],
        );
        self.mark_again(datapath);
    }

    /// Tells the data path when no service protects any more.
    pub fn tell_any_protecting(&self, datapath: &mut DataPath) -> Result<(), ControllerError> {
        Ok(datapath.maps.set_any_protecting(self.any_protecting())?)
    }

    /// Counts another second of every service and decides.
    pub fn second(
        &mut self,
        datapath: &DataPath,
        log: &mut EventLog,
    ) -> Result<(), ControllerError> {
        let (hold_ns, life_ns) = (self.hold_ns(), self.life_ns);
        let now = now_ns();
        let kernel = if self
            .guarded
            .values()
            .any(|guarded| guarded.mode == Mode::Auto)
        {
            half_open_by_port(|port, age| {
                self.guarded
                    .get(&port)
                    .is_some_and(|guarded| guarded.saw_begin(age, life_ns, now))
            })
            .unwrap_or_else(|error| {
                warn!("the kernel's half-open connections are not counted: {error}");
                HashMap::new()
            })
        } else {
            HashMap::new()
        };
        for guarded in self.guarded.values_mut() {
            let now = now_ns();
            let in_kernel = kernel.get(&guarded.port).copied().unwrap_or(0);
            let state = datapath.maps.state(guarded.slot)?;
            let protects = State::from_u32(state.state) == State::Protecting;
            if protects && guarded.state != State::Protecting {
                // The ring buffer was full, or this controller not yet there.
                guarded.found_protecting(state.since_ns, now, hold_ns);
                self.marked_at_ns = 0;
                log.push(
                    EventKind::State,
                    Level::Warn,
                    Some(guarded.port),
                    format!("observing -> protecting: {}", guarded.reason),
                    &[],
                );
            } else if let Some(reason) = guarded.kernel_demands(in_kernel) {
                datapath
                    .control
                    .set_state(guarded.slot, State::Protecting, now)?;
                guarded.protecting_because(reason, now, now, hold_ns);
                self.marked_at_ns = 0;
                log.push(
                    EventKind::State,
                    Level::Warn,
                    Some(guarded.port),
                    format!("observing -> protecting: {}", guarded.reason),
                    &[
                        ("half_open", in_kernel as f64),
                        ("limit", guarded.limits.on as f64),
                    ],
                );
            }
            if protects && state.validating == 0 {
                // Else every cookie that it sends would come back in vain.
                datapath
                    .control
                    .set_state(guarded.slot, State::Protecting, state.since_ns)?;
                warn!(
                    service = guarded.port,
                    "protected without validating cookies: it does again"
                );
            }
            // No write could right it that loses no count.
            if state.half_open > u64::from(MAX_HALF_OPEN) {
                if self.said.miscounted.insert(guarded.port) {
                    warn!(
                        service = guarded.port,
                        half_open = state.half_open,
                        "the count of half-open connections is wrong: restart syn-guard"
                    );
                }
            } else {
                self.said.miscounted.remove(&guarded.port);
            }
            let half_open = state.half_open.max(in_kernel);
            let counters = datapath.maps.counters(guarded.slot)?;
            match guarded.second(half_open, &counters, life_ns, now) {
                Action::None => {}
                Action::Release => {
                    datapath
                        .control
                        .set_state(guarded.slot, State::Observing, now)?;
                    guarded.released(self.wanted.detection.hold.as_secs(), now);
                    log.push(
                        EventKind::State,
                        Level::Info,
                        Some(guarded.port),
                        format!("protecting -> observing: {}", guarded.reason),
                        &[
                            ("pressure", guarded.pressure as f64),
                            ("limit", guarded.limits.off as f64),
                        ],
                    );
                }
                Action::StopValidating => datapath.control.stop_validating(guarded.slot)?,
            }
        }
        if self.any_protecting() && now_ns().saturating_sub(self.marked_at_ns) > MARK_EVERY_NS {
            self.mark_again(datapath);
        }
        Ok(())
    }

    /// Tells the data path again of what protecting services have.
    pub(super) fn mark_again(&mut self, datapath: &DataPath) {
        self.marked_at_ns = now_ns();
        let ports = self.ports_that(|guarded| guarded.state == State::Protecting);
        mark_connections(datapath, &ports, false);
    }
}

/// Tells the data path of every connection on these ports: its SYN must go to
/// the stack, however long it was silent. Half-open ones need it only when
/// guarding begins: later each is marked by its SYN.
pub(super) fn mark_connections(datapath: &DataPath, ports: &HashSet<u16>, half_open: bool) {
    let (mut marked, mut failed) = (0_usize, None);
    let walked = for_each_connection(ports, |connection| {
        if connection.state == TcpState::SynRecv && !half_open {
            return;
        }
        let flow = Flow {
            remote: connection.remote.ip().to_canonical().into(),
            local: connection.local.ip().to_canonical().into(),
            remote_port: connection.remote.port(),
            local_port: connection.local.port(),
        };
        match datapath.control.mark_connection(flow) {
            Ok(()) => marked += 1,
            Err(error) => failed = Some(error),
        }
    });
    if let Err(error) = walked {
        warn!("connections of guarded services are not known: {error}");
    }
    if let Some(error) = failed {
        warn!("connections of guarded services could not be told: {error}");
    }
    debug!(marked, "told the data path of existing connections");
}
