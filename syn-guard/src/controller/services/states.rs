//! The states of services: when they begin and stop to protect, and what the data
//! path must know of connections before they do.

use std::collections::{HashMap, HashSet};

use syn_guard_common::abi::{Event, MAX_HALF_OPEN, Mode, ServiceState, State};
use syn_guard_common::flow::Flow;
use syn_guard_common::policy::{Assessment, Change, Counts, Kind, Sample, Sources, Why};
use tracing::{debug, warn};

use super::{MARK_EVERY_NS, Said, Services};
use crate::controller::clock::now_ns;
use crate::controller::guarded::Guarded;
use crate::controller::{ControllerError, reasons};
use crate::datapath::DataPath;
use crate::events::{EventKind, EventLog, Level};
use crate::kernel::sock_diag::{HalfOpenCount, TcpState, for_each_connection, half_open_by_port};

/// The data path does not tell what is closer together (`JIFFY_NS` in its `state.rs`).
const JUST_NOW_NS: u64 = 20_000_000;

impl Services {
    pub(super) fn ports_that(&self, are: impl Fn(&Guarded) -> bool) -> HashSet<u16> {
        self.guarded
            .values()
            .filter(|guarded| are(guarded))
            .map(|guarded| guarded.port)
            .collect()
    }

    /// The data path says that a service started to protect; whether that is news.
    /// [`Self::mark_again`] is to follow.
    pub fn protecting(&mut self, event: &Event, log: &mut EventLog) -> bool {
        let port = self.slots.port_of(event.slot);
        let Some(guarded) = port.and_then(|port| self.guarded.get_mut(&port)) else {
            return false;
        };
        let Some(change) = guarded.switched(event, now_ns()) else {
            return false;
        };
        say(guarded, &change, log);
        true
    }

    /// Tells the data path when no service protects any more.
    pub fn tell_any_protecting(&self, datapath: &mut DataPath) -> Result<(), ControllerError> {
        Ok(datapath.maps.set_any_protecting(self.any_protecting())?)
    }

    /// Counts another second of every service and decides.
    pub fn second(
        &mut self,
        datapath: &mut DataPath,
        log: &mut EventLog,
    ) -> Result<(), ControllerError> {
        let now = now_ns();
        let kernel = self.half_open_in_kernel(now);
        let refused = self.refused.rate(now);
        let slots = self.slots.in_use();
        let states = datapath.maps.states(slots)?;
        let mut all_counts = Vec::with_capacity(slots as usize);
        datapath.maps.each_counters(slots, |_, counters| {
            all_counts.push(Counts::from(counters));
        })?;
        for guarded in self.guarded.values_mut() {
            let slot = guarded.slot as usize;
            let (Some(state), Some(counts)) = (states.get(slot), all_counts.get(slot)) else {
                continue;
            };
            self.said.check(guarded.port, state);
            let in_kernel = kernel.get(&guarded.port).copied().unwrap_or_default();
            // Where no SYN came there is no sample either.
            let sources = if guarded.has_more_syns(counts) {
                Sources::of(&datapath.maps.take_samples(guarded.slot)?)
            } else {
                Sources::default()
            };
            let sample = Sample {
                now_ns: now_ns(),
                state: State::from_u32(state.state),
                since_ns: state.since_ns,
                half_open: state.half_open,
                in_kernel: in_kernel.all,
                retransmitted: in_kernel.retransmitted,
                refused,
                counts: *counts,
                sources,
            };
            let outcome = guarded.policy.second(&sample, &guarded.rules);
            if let Some(change) = &outcome.change {
                if change.to == State::Protecting {
                    self.marked_at_ns = 0;
                }
                say(guarded, change, log);
            }
            say_flood(guarded, outcome.flood, log);
            // Without validating every cookie that it sends would come back in
            // vain.
            let deaf = sample.state == State::Protecting && state.validating == 0;
            if deaf {
                warn!(
                    service = guarded.port,
                    "protected without validating cookies: it does again"
                );
            }
            if let Some(state) = outcome.tell.or(deaf.then(|| guarded.state())) {
                datapath
                    .control
                    .set_state(guarded.slot, state, guarded.policy.since_ns())?;
            }
            if outcome.stop_validating {
                datapath.control.stop_validating(guarded.slot)?;
            }
        }
        if self.any_protecting() && now_ns().saturating_sub(self.marked_at_ns) > MARK_EVERY_NS {
            self.mark_again(datapath)?;
        }
        Ok(())
    }

    /// The half-open connections of services that go by them.
    fn half_open_in_kernel(&self, now_ns: u64) -> HashMap<u16, HalfOpenCount> {
        let goes_by_them = |guarded: &Guarded| guarded.mode() != Mode::Off;
        if !self.guarded.values().any(goes_by_them) {
            return HashMap::new();
        }
        half_open_by_port(|port, age| {
            self.guarded
                .get(&port)
                .is_some_and(|guarded| guarded.saw_begin(age, self.lives.usual_ns(), now_ns))
        })
        .unwrap_or_else(|error| {
            warn!("the kernel's half-open connections are not counted: {error}");
            HashMap::new()
        })
    }

    /// Tells the data path again of what protecting services have.
    ///
    /// # Errors
    /// When the states cannot be read or the data path cannot be told that all is
    /// marked; that a connection cannot be is said.
    pub fn mark_again(&mut self, datapath: &mut DataPath) -> Result<(), ControllerError> {
        let now = now_ns();
        self.marked_at_ns = now;
        // As the data path has them: of what it began meanwhile no event may have
        // come yet.
        let states = datapath.maps.states(self.slots.in_use())?;
        let ports = self.ports_that(|guarded| {
            let state = states.get(guarded.slot as usize);
            state.is_some_and(|state| State::from_u32(state.state) == State::Protecting)
        });
        // Half-open ones too: some live longer than the mark of their SYN.
        if states.iter().any(|state| {
            State::from_u32(state.state) == State::Protecting && state.since_ns + JUST_NOW_NS >= now
        }) {
            // Too close for the data path, whose time is coarse: once more in a second.
            self.marked_at_ns = 0;
        }
        let all = mark_connections(datapath, &ports, true);
        Ok(datapath.maps.set_all_marked(if all { now } else { 0 })?)
    }
}

/// Says that a service changed its state, and why.
fn say(guarded: &Guarded, change: &Change, log: &mut EventLog) {
    let level = match change.to {
        State::Protecting => Level::Warn,
        _ => Level::Info,
    };
    let numbers: &[(&str, f64)] = match &change.why {
        Why::Reached(reason) => &[
            (reasons::value_name(reason.trigger), reason.value as f64),
            ("untracked", reason.untracked as f64),
            ("limit", reason.limit as f64),
        ],
        Why::Calm {
            pressure, limit, ..
        } => &[("pressure", *pressure as f64), ("limit", *limit as f64)],
        _ => &[],
    };
    log.push(
        EventKind::State,
        level,
        Some(guarded.port),
        guarded.change_words(change),
        numbers,
    );
}

/// Says which kind of flood a service is under, where that changed, and that it
/// protects though it is under none.
fn say_flood(guarded: &mut Guarded, changed: Option<Assessment>, log: &mut EventLog) {
    let port = Some(guarded.port);
    if let Some(assessment) = changed {
        let level = match assessment.kind {
            Kind::None => Level::Info,
            _ => Level::Warn,
        };
        log.push(
            EventKind::Flood,
            level,
            port,
            format!("flood {}", reasons::assessment(&assessment)),
            &reasons::numbers(&assessment.numbers),
        );
    }
    if guarded.state() != State::Protecting {
        guarded.crowd_said = false;
    } else if guarded.policy.is_crowded() && !guarded.crowd_said {
        guarded.crowd_said = true;
        let numbers = guarded.policy.flood().numbers;
        log.push(
            EventKind::Flood,
            Level::Info,
            port,
            reasons::crowd(&numbers),
            &reasons::numbers(&numbers),
        );
    }
}

impl Said {
    /// Says, once, that a service's count of half-open connections is broken. No
    /// write could right it that loses no count.
    fn check(&mut self, port: u16, state: &ServiceState) {
        if state.half_open <= u64::from(MAX_HALF_OPEN) {
            self.miscounted.remove(&port);
        } else if self.miscounted.insert(port) {
            warn!(
                service = port,
                half_open = state.half_open,
                "the count of half-open connections is wrong: restart syn-guard"
            );
        }
    }
}

/// Tells the data path of every connection on these ports: its SYN must go to
/// the stack, however long it was silent. Half-open ones need it only when
/// guarding begins: later each is marked by its SYN. Whether it was told of all.
pub(super) fn mark_connections(datapath: &DataPath, ports: &HashSet<u16>, half_open: bool) -> bool {
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
    let all = walked.is_ok() && failed.is_none();
    if let Err(error) = walked {
        warn!("connections of guarded services are not known: {error}");
    }
    if let Some(error) = failed {
        warn!("connections of guarded services could not be told: {error}");
    }
    debug!(marked, "told the data path of existing connections");
    all
}
