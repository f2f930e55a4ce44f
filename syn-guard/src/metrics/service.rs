//! Metrics of each service.

use prometheus::proto::MetricType::{COUNTER, GAUGE, HISTOGRAM};

use syn_guard_common::policy::Kind;

use super::family::Family;
use crate::report::{CounterReport, ServiceReport};

const STATES: [&str; 3] = ["off", "observing", "protecting"];

/// A name, what it means, and the value.
type Row<T, V = u64> = (&'static str, &'static str, fn(&T) -> V);

const GAUGES: &[Row<ServiceReport>] = &[
    (
        "half_open",
        "Half-open connections as XDP counts them.",
        |s| s.half_open,
    ),
    (
        "kernel_half_open",
        "Half-open connections as the kernel counts them.",
        |s| s.half_open_kernel,
    ),
    (
        "half_open_limit",
        "Half-open connections at which the service starts to protect.",
        |s| s.limit,
    ),
    (
        "calm_limit",
        "Pressure below which the service is calm.",
        |s| s.calm_limit,
    ),
    (
        "pressure",
        "Half-open connections there would be without protection.",
        |s| s.pressure,
    ),
    (
        "backlog_limit",
        "The listeners' limit for half-open connections, and for connections waiting to be accepted.",
        |s| s.backlog,
    ),
    ("accept_queue", "Connections waiting to be accepted.", |s| {
        s.accept_queue
    }),
    (
        "retransmitted_half_open",
        "Half-open connections that were retransmitted at least once.",
        |s| s.signals.retransmitted,
    ),
    (
        "refused_per_second",
        "Connections a second that the stack refused for want of backlog, where they may be this service's.",
        |s| s.signals.refused_rate,
    ),
    (
        "syns_per_second",
        "SYNs a second of the last seconds, without those sent again.",
        |s| s.flood.syns_per_second,
    ),
    (
        "unanswered_syns_per_second",
        "Unanswered SYNs a second of the last seconds.",
        |s| s.flood.unanswered_syns_per_second,
    ),
    (
        "crowded",
        "1 while the service protects though it is under no flood.",
        |s| u64::from(s.flood.crowd),
    ),
    (
        "without_cookies",
        "1 while the service answers with no cookies somewhere although it protects, or would: the stack was not seen to answer there, or connections made from cookies were lost.",
        |s| u64::from(!s.stands_back.is_empty()),
    ),
];

/// Gauges without a value where there is no limit.
const LIMITS: &[Row<ServiceReport, Option<u64>>] = &[
    (
        "retransmitted_half_open_limit",
        "Retransmitted half-open connections at which the service starts to protect.",
        |s| s.signals.retransmitted_limit,
    ),
    (
        "refused_per_second_limit",
        "Refused connections a second at which the service starts to protect.",
        |s| s.signals.refused_rate_limit,
    ),
    (
        "unanswered_syns_per_second_limit",
        "Unanswered SYNs a second at which the service starts to protect.",
        |s| s.signals.unanswered_rate_limit,
    ),
];

/// Shares, percent.
const SHARES: &[Row<ServiceReport>] = &[
    (
        "answered_syns_ratio",
        "Share of the SYNs of the last seconds that were answered.",
        |s| s.flood.answered_percent,
    ),
    (
        "heavy_syns_ratio",
        "SYNs of heavy sources as a share of the unanswered ones.",
        |s| s.flood.heavy_percent,
    ),
    (
        "new_sources_ratio",
        "Different sources as a share of the unanswered SYNs of a second.",
        |s| s.flood.new_source_percent,
    ),
];

const COUNTERS: &[Row<CounterReport>] = &[
    (
        "protections_total",
        "Changes from observing to protecting.",
        |c| c.protections,
    ),
    ("syns_total", "SYNs, retransmitted ones among them.", |c| {
        c.syns
    }),
    (
        "syn_retransmissions_total",
        "SYNs of connections that were half-open already.",
        |c| c.syn_retransmissions,
    ),
    (
        "half_open_tracked_total",
        "Half-open connections that were tracked.",
        |c| c.tracked,
    ),
    (
        "syns_untracked_total",
        "SYNs passed to the stack without being tracked.",
        |c| c.untracked,
    ),
    ("syns_allowed_total", "SYNs from allowed prefixes.", |c| {
        c.allowed
    }),
    (
        "syns_denied_total",
        "SYNs dropped because their prefix is denied.",
        |c| c.denied,
    ),
    (
        "handshakes_completed_total",
        "Half-open connections ended by the client's ACK.",
        |c| c.completed,
    ),
    (
        "handshakes_reset_total",
        "Half-open connections ended by RST.",
        |c| c.reset,
    ),
    (
        "handshakes_expired_total",
        "Half-open connections ended by time.",
        |c| c.expired,
    ),
    ("cookies_sent_total", "Cookies sent.", |c| c.cookies_sent),
    (
        "cookies_validated_total",
        "Cookies that came back and became connections.",
        |c| c.cookies_validated,
    ),
    (
        "cookies_rejected_total",
        "ACKs without connection and without valid cookie.",
        |c| c.cookies_rejected,
    ),
    (
        "cookies_failed_total",
        "Valid cookies that the stack did not take.",
        |c| c.cookies_failed,
    ),
];

pub(super) fn families(services: &[ServiceReport]) -> Vec<Family> {
    let mut families = vec![states(services), kinds(services), state_seconds(services)];
    families.extend(GAUGES.iter().map(|&(name, help, value)| {
        Family::new(GAUGE, name, help)
            .each(services, |service| ([port(service)], value(service) as f64))
    }));
    families.extend(LIMITS.iter().map(|&(name, help, value)| {
        let limited = services.iter().filter_map(|s| Some((s, value(s)?)));
        limited.fold(
            Family::new(GAUGE, name, help),
            |family, (service, limit)| family.with(&[port(service)], limit as f64),
        )
    }));
    families.extend(SHARES.iter().map(|&(name, help, value)| {
        Family::new(GAUGE, name, help).each(services, |service| {
            ([port(service)], value(service) as f64 / 100.0)
        })
    }));
    families.push(
        Family::new(COUNTER, "attacks_total", "Floods that began.").each(services, |service| {
            ([port(service)], service.flood.attacks as f64)
        }),
    );
    families.extend(COUNTERS.iter().map(|&(name, help, value)| {
        Family::new(COUNTER, name, help).each(services, |service| {
            ([port(service)], value(&service.counters) as f64)
        })
    }));
    families.push(durations(services));
    families
}

/// A sample for every state, so that a query need not know absent ones.
fn states(services: &[ServiceReport]) -> Family {
    let mut family = Family::new(
        GAUGE,
        "service_state",
        "1 for the state that the service is in, 0 for the others.",
    );
    for service in services {
        for state in STATES {
            family = family.with(
                &[port(service), ("state", state.to_owned())],
                f64::from(u8::from(service.state == state)),
            );
        }
    }
    family
}

/// Likewise for every kind of flood.
fn kinds(services: &[ServiceReport]) -> Family {
    let mut family = Family::new(
        GAUGE,
        "flood_kind",
        "1 for the kind of flood that the service is under, 0 for the others.",
    );
    for service in services {
        for kind in Kind::ALL {
            family = family.with(
                &[port(service), ("kind", kind.name().to_owned())],
                f64::from(u8::from(service.flood.kind == kind.name())),
            );
        }
    }
    family
}

fn state_seconds(services: &[ServiceReport]) -> Family {
    Family::new(
        GAUGE,
        "service_state_seconds",
        "For how long the service is in its state.",
    )
    .each(services, |service| ([port(service)], service.state_seconds))
}

fn durations(services: &[ServiceReport]) -> Family {
    let family = Family::new(
        HISTOGRAM,
        "handshake_duration_seconds",
        "From SYN to ACK, of tracked half-open connections that completed.",
    );
    services.iter().fold(family, |family, service| {
        family.with_histogram(&[port(service)], &service.handshakes)
    })
}

fn port(service: &ServiceReport) -> (&'static str, String) {
    ("service", service.port.to_string())
}
