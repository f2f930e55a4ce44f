//! Where cookies do not go although a service protects: the stack was not seen to answer
//! there, or connections made from cookies were lost.

use std::net::IpAddr;

use syn_guard_common::abi::{
    Event, EventKind as Happened, Listener, ListenerKey, is_unanswered, listener_flags, moment,
    stands_back,
};

use crate::events::{EventKind, EventLog, Level};

/// Why cookies do not go to the clients of an own address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Socket look-ups from the guarded interfaces do not find the listener.
    NotFound,
    /// The stack answered none of its last SYNs.
    Unanswered,
    /// Connections made from cookies were lost.
    StandsBack,
}

impl Standing {
    /// Of a listener at `now_ns`, if any.
    pub fn of(listener: &Listener, now_ns: u64) -> Option<Self> {
        let now = moment(now_ns);
        if stands_back(listener.back_since, listener.stood_back, now) {
            return Some(Self::StandsBack);
        }
        if listener.gone != 0 {
            return Some(Self::NotFound);
        }
        let needs_proof = listener.flags & listener_flags::PROOF != 0;
        (needs_proof && is_unanswered(listener.proved_at, listener.asked_at, now))
            .then_some(Self::Unanswered)
    }

    /// In words, with the addresses where it is so.
    fn words(self, addresses: &[IpAddr]) -> String {
        let list: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let list = list.join(", ");
        match self {
            Self::NotFound => format!(
                "no cookies on {list}: look-ups from the guarded interface do not find the listener, which is bound to another one (SO_BINDTODEVICE) or has just gone"
            ),
            Self::Unanswered => format!(
                "no cookies on {list}: no SYN-ACK of the host's own leaves by a guarded interface (a firewall drops the SYNs, they are led to another socket or host, or the answers leave by another interface: guard that one too)"
            ),
            Self::StandsBack => format!(
                "stands back on {list}: connections made from cookies were lost; the kernel answers SYNs, and cookies are tried again after a minute, or later where it happens again"
            ),
        }
    }
}

/// What is to be said of a service with these listeners.
pub fn words(listeners: &[(ListenerKey, Listener)], now_ns: u64) -> Vec<String> {
    [
        Standing::StandsBack,
        Standing::NotFound,
        Standing::Unanswered,
    ]
    .into_iter()
    .filter_map(|standing| {
        let mut addresses: Vec<IpAddr> = listeners
            .iter()
            .filter(|(_, listener)| Standing::of(listener, now_ns) == Some(standing))
            .map(|(key, _)| IpAddr::from(key.address))
            .collect();
        addresses.sort_unstable();
        (!addresses.is_empty()).then(|| standing.words(&addresses))
    })
    .collect()
}

/// Takes an event of the data path; false when it is about something else.
pub fn take(event: &Event, port: Option<u16>, log: &mut EventLog) -> bool {
    if event.kind() != Some(Happened::StandsBack) {
        return false;
    }
    log.push(
        EventKind::StandsBack,
        Level::Warn,
        port,
        Standing::StandsBack.words(&[IpAddr::from(event.source)]),
        &[],
    );
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_is_told_with_its_reason() {
        let now = 1000 << 30;
        let key = |address: &str| ListenerKey {
            address: address.parse::<IpAddr>().unwrap().into(),
            port: 80,
            route: 0,
        };
        let silent = Listener {
            flags: listener_flags::PROOF,
            asked_at: moment(now) - 10,
            ..Listener::default()
        };
        let fine = Listener {
            proved_at: moment(now) - 9,
            ..silent
        };
        let back = Listener {
            back_since: moment(now) - 1,
            ..fine
        };
        let no_rules = Listener { flags: 0, ..silent };
        let gone = Listener {
            gone: 1,
            ..no_rules
        };
        let listeners = [
            (key("198.18.0.2"), silent),
            (key("198.18.0.1"), silent),
            (key("198.18.0.3"), fine),
            (key("2001:db8::1"), back),
            (key("198.18.0.4"), no_rules),
            (key("198.18.0.5"), gone),
        ];
        let words = words(&listeners, now);
        assert_eq!(words.len(), 3);
        assert!(
            words[0].starts_with("stands back on 2001:db8::1:"),
            "{}",
            words[0]
        );
        assert!(
            words[2].starts_with("no cookies on 198.18.0.1, 198.18.0.2:"),
            "{}",
            words[2]
        );
    }
}
