//! What the data path tells of single sources: said, but not without end.

use std::net::IpAddr;

use syn_guard_common::abi::{Event, EventKind as Happened};
use syn_guard_common::address::Address;

use super::LimitOptions;
use crate::events::{EventKind, EventLog, Level};

/// Sources named in [`WINDOW_NS`].
const MOST: u64 = 20;
/// Nanoseconds in which so many are named.
const WINDOW_NS: u64 = 10_000_000_000;

/// Says which sources are dropped.
#[derive(Debug, Default)]
pub struct DroppedSources {
    window: u64,
    named: u64,
    unnamed: u64,
}

impl DroppedSources {
    /// Takes an event of the data path; false when it is not about a source.
    pub fn take(
        &mut self,
        event: &Event,
        port: Option<u16>,
        limits: &LimitOptions,
        log: &mut EventLog,
    ) -> bool {
        let what = match event.kind() {
            Some(Happened::SourceHalfOpen) => "half-open connections",
            Some(Happened::SourceRate) => "unanswered SYNs a second",
            _ => return false,
        };
        self.second(event.at_ns, log);
        self.unnamed += u64::from(event.suppressed);
        if self.named >= MOST {
            self.unnamed += 1;
            return true;
        }
        self.named += 1;
        log.push(
            EventKind::SourceDropped,
            Level::Warn,
            port,
            format!(
                "SYNs of {} are dropped: {} {what} reached its limit of {}",
                source_text(event.source, limits),
                event.value,
                event.limit
            ),
            &[("value", event.value as f64), ("limit", event.limit as f64)],
        );
        true
    }

    /// Says how many were not named, when their time is over.
    pub fn second(&mut self, now_ns: u64, log: &mut EventLog) {
        let window = now_ns / WINDOW_NS;
        if window == self.window {
            return;
        }
        self.window = window;
        self.named = 0;
        if self.unnamed > 0 {
            log.push(
                EventKind::SourceDropped,
                Level::Warn,
                None,
                format!(
                    "SYNs of {} more sources began to be dropped, which are not named",
                    self.unnamed
                ),
                &[("sources", self.unnamed as f64)],
            );
            self.unnamed = 0;
        }
    }
}

/// A source as people write it: an address, or a prefix where it is one.
#[must_use]
pub fn source_text(source: Address, limits: &LimitOptions) -> String {
    match IpAddr::from(source) {
        IpAddr::V4(address) if limits.ipv4_bits < 32 => {
            format!("{address}/{}", limits.ipv4_bits)
        }
        IpAddr::V6(address) if limits.ipv6_bits < 128 => {
            format!("{address}/{}", limits.ipv6_bits)
        }
        address => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(at_ns: u64, source: &str, suppressed: u32) -> Event {
        let source: IpAddr = source.parse().unwrap();
        Event {
            at_ns,
            value: 128,
            limit: 128,
            source: source.into(),
            slot: 0,
            untracked: 0,
            kind: Happened::SourceHalfOpen as u32,
            suppressed,
        }
    }

    fn texts(log: &EventLog) -> Vec<&str> {
        log.after(0).map(|event| event.text.as_str()).collect()
    }

    #[test]
    fn a_source_is_named_with_its_numbers() {
        let (mut dropped, mut log) = (DroppedSources::default(), EventLog::default());
        let limits = LimitOptions::default();
        for source in ["10.0.0.1", "2001:db8:1:2::"] {
            assert!(dropped.take(&event(0, source, 0), Some(80), &limits, &mut log));
        }
        let expected = [
            "SYNs of 10.0.0.1 are dropped: 128 half-open connections reached its limit of 128",
            "SYNs of 2001:db8:1:2::/64 are dropped: 128 half-open connections reached its limit of 128",
        ];
        assert_eq!(texts(&log), expected);
        let other = Event {
            kind: Happened::HalfOpen as u32,
            ..event(0, "::", 0)
        };
        assert!(!dropped.take(&other, Some(80), &limits, &mut log));
    }

    #[test]
    fn many_are_counted_and_not_named() {
        let (mut dropped, mut log) = (DroppedSources::default(), EventLog::default());
        let limits = LimitOptions::default();
        for index in 0..MOST + 30 {
            dropped.take(&event(index, "10.0.0.1", 1), Some(80), &limits, &mut log);
        }
        dropped.second(WINDOW_NS - 1, &mut log);
        assert_eq!(log.count(EventKind::SourceDropped), MOST);
        dropped.second(WINDOW_NS, &mut log);
        dropped.second(WINDOW_NS * 2, &mut log);
        let expected = format!(
            "SYNs of {} more sources began to be dropped, which are not named",
            30 + MOST + 30
        );
        assert_eq!(texts(&log).last(), Some(&expected.as_str()));
        assert_eq!(log.count(EventKind::SourceDropped), MOST + 1);
    }
}
