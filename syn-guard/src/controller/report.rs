//! The report of now.

use std::collections::HashMap;

use syn_guard_common::abi::{
    HANDSHAKE_BOUNDS_MS, ServiceCounters, ServiceState, Source, SourceKey,
};
use syn_guard_common::policy::{Assessment, Limits, Service, Signals, Threshold};
use tracing::warn;

use super::clock::now_ns;
use super::data_events::source_text;
use super::guarded::Guarded;
use super::listeners::MPTCP;
use super::{Controller, mode_name, standing};
use crate::datapath::Maps;
use crate::events::EventKind;
use crate::kernel::sock_diag::{HalfOpenCount, half_open_by_port};
use crate::kernel::tcp_ext::TcpExt;
use crate::report::{
    CounterReport, EventCount, FloodReport, HandshakeReport, InterfaceReport, KernelReport, Report,
    ServiceReport, SignalsReport, SourceReport, VerdictReport,
};
use crate::undo::Change;

impl Controller {
    /// Everything of this moment.
    pub(super) fn report(&self) -> Report {
        let engine = self.engine.name();
        // The best one needs no reason.
        let engine_reason = (engine != "reqsk").then(|| self.engine.why());
        Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: env!("SYN_GUARD_GIT").to_owned(),
            started_at: self.started_at,
            mode: mode_name(self.options.detection.mode).to_owned(),
            engine: engine.to_owned(),
            engine_reason,
            map_bytes: Maps::memory(),
            interfaces: self
                .interfaces
                .attachments()
                .map(|attachment| InterfaceReport {
                    name: attachment.interface.clone(),
                    mode: attachment.mode.name().to_owned(),
                    reason: attachment.why_generic.clone(),
                })
                .collect(),
            prefixes: self.prefixes.counts(&self.datapath.maps.prefixes),
            services: self.service_reports(),
            verdicts: self.verdicts(),
            events: EventKind::ALL
                .map(|kind| EventCount {
                    kind,
                    count: self.event_log.count(kind),
                })
                .into(),
            kernel: kernel_counters(),
            hardened: self.hardening.reason().map(str::to_owned),
            changes: self
                .journal
                .changes()
                .iter()
                .map(|change| match change {
                    Change::Sysctl { name, old, new } => {
                        let new = new.last().map_or("?", String::as_str);
                        format!("{name}: {old} -> {new}")
                    }
                    Change::Mount { path } => format!("mounted {}", path.display()),
                })
                .collect(),
        }
    }

    fn service_reports(&self) -> Vec<ServiceReport> {
        let kernel_half_open = kernel_half_open();
        let (maps, slots) = (&self.datapath.maps, self.services.slots_in_use());
        let states = maps.states(slots).unwrap_or_else(|error| {
            warn!("{error}");
            Vec::new()
        });
        let mut counters = vec![ServiceCounters::default(); slots as usize];
        let each = |slot: u32, counts: &ServiceCounters| {
            if let Some(all) = counters.get_mut(slot as usize) {
                *all = *counts;
            }
        };
        if let Err(error) = maps.each_counters(slots, each) {
            warn!("{error}");
        }
        self.services
            .guarded()
            .map(|guarded| {
                let slot = guarded.slot as usize;
                self.service(
                    guarded,
                    &states.get(slot).copied().unwrap_or_default(),
                    &counters.get(slot).copied().unwrap_or_default(),
                    kernel_half_open.get(&guarded.port).map_or(0, |it| it.all),
                )
            })
            .collect()
    }

    fn service(
        &self,
        guarded: &Guarded,
        state: &ServiceState,
        counters: &ServiceCounters,
        half_open_kernel: u64,
    ) -> ServiceReport {
        let backlog = self.services.backlog(guarded.port);
        let limits = &guarded.rules.limits;
        let policy = &guarded.policy;
        let standing = if self.services.may_stand_back(guarded) {
            let entries = self.services.entries_of(guarded.port, &self.datapath);
            standing::words(&entries, now_ns())
        } else {
            Vec::new()
        };
        ServiceReport {
            port: guarded.port,
            mode: mode_name(guarded.mode()).to_owned(),
            mode_origin: self.services.mode_origin(guarded.port),
            state: guarded.state().name().to_owned(),
            reason: if backlog.is_some_and(|backlog| backlog.mptcp) {
                format!("{}; {MPTCP}", guarded.reason())
            } else {
                guarded.reason()
            },
            stands_back: standing,
            state_seconds: now_ns().saturating_sub(policy.since_ns()) as f64 / 1e9,
            listeners: backlog
                .map(|backlog| backlog.addresses.iter().cloned().collect())
                .unwrap_or_default(),
            half_open: state.half_open,
            half_open_kernel,
            limit: limits.half_open.on,
            calm_limit: limits.half_open.off,
            pressure: policy.signals().pressure,
            signals: signals(&policy.signals(), limits),
            flood: flood(policy),
            backlog: guarded.origins.backlog,
            accept_queue: backlog.map_or(0, |backlog| backlog.accept_queue),
            counters: counts(counters),
            handshakes: handshakes(counters),
        }
    }

    fn verdicts(&self) -> Vec<VerdictReport> {
        self.datapath
            .maps
            .verdicts()
            .unwrap_or_else(|error| {
                warn!("{error}");
                Vec::new()
            })
            .into_iter()
            .map(|(reason, packets)| VerdictReport {
                action: reason.action().name().to_owned(),
                reason: reason.name().to_owned(),
                packets,
            })
            .collect()
    }

    /// All sources of this moment.
    pub(super) fn sources(&self) -> Vec<SourceReport> {
        let mut sources = Vec::new();
        let each = |key: &SourceKey, counts: &Source| {
            // Of a service that is no more.
            let Some(port) = self.services.port_of(key.slot) else {
                return;
            };
            sources.push(SourceReport {
                source: source_text(key.source, &self.options.limits),
                port,
                half_open: counts.half_open,
                syns: counts.syns,
                completed: counts.completed,
                reset: counts.reset,
                expired: counts.expired,
            });
        };
        if let Err(error) = self.datapath.maps.each_source(each) {
            warn!("{error}");
        }
        sources
    }
}

fn signals(signals: &Signals, limits: &Limits) -> SignalsReport {
    let limit = |threshold: Threshold| (threshold != Threshold::NEVER).then_some(threshold.on);
    SignalsReport {
        retransmitted: signals.retransmitted,
        retransmitted_limit: limit(limits.retransmitted),
        refused_rate: signals.refused,
        refused_rate_limit: limit(limits.refused),
        unanswered_rate_limit: limit(limits.unanswered),
    }
}

fn flood(policy: &Service) -> FloodReport {
    let Assessment { kind, numbers } = policy.flood();
    FloodReport {
        kind: kind.name().to_owned(),
        attacks: policy.attacks(),
        crowd: policy.is_crowded(),
        syns_per_second: numbers.syns,
        unanswered_syns_per_second: numbers.unanswered,
        answered_percent: numbers.answered_percent,
        heavy_percent: numbers.heavy_percent,
        new_source_percent: numbers.new_percent,
    }
}

fn counts(counters: &ServiceCounters) -> CounterReport {
    CounterReport {
        syns: counters.syns,
        syn_retransmissions: counters.syn_retransmissions,
        tracked: counters.tracked,
        untracked: counters.untracked,
        allowed: counters.allowed,
        denied: counters.denied,
        completed: counters.completed,
        reset: counters.reset,
        expired: counters.expired,
        cookies_sent: counters.cookies_sent,
        cookies_validated: counters.cookies_validated,
        cookies_rejected: counters.cookies_rejected,
        cookies_failed: counters.cookies_failed,
        protections: counters.protections,
    }
}

fn handshakes(counters: &ServiceCounters) -> HandshakeReport {
    let bounds = HANDSHAKE_BOUNDS_MS
        .iter()
        .map(|ms| Some(*ms as f64 / 1e3))
        .chain([None]);
    HandshakeReport {
        buckets: bounds.zip(counters.handshakes).collect(),
        sum_seconds: counters.handshake_ns as f64 / 1e9,
    }
}

fn kernel_half_open() -> HashMap<u16, HalfOpenCount> {
    half_open_by_port(|_, _| true).unwrap_or_else(|error| {
        warn!("{error}");
        HashMap::new()
    })
}

fn kernel_counters() -> KernelReport {
    match TcpExt::read() {
        Ok(counters) => KernelReport {
            listen_overflows: counters.listen_overflows,
            listen_drops: counters.listen_drops,
            syncookies_sent: counters.syncookies_sent,
            syncookies_received: counters.syncookies_recv,
            syncookies_failed: counters.syncookies_failed,
            request_queue_full_cookies: counters.req_q_full_do_cookies,
            request_queue_full_drops: counters.req_q_full_drop,
        },
        Err(error) => {
            warn!("{error}");
            KernelReport::default()
        }
    }
}
