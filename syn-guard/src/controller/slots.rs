//! Which service has which slot.

use std::collections::{BTreeMap, BTreeSet};

use syn_guard_common::abi::MAX_SERVICES;

/// The slots of the guarded ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    by_port: BTreeMap<u16, u32>,
}

impl Slots {
    /// Goes on with slots that an earlier controller gave.
    #[must_use]
    pub fn continued(ports: impl IntoIterator<Item = (u16, u32)>) -> Self {
        Self {
            by_port: ports.into_iter().collect(),
        }
    }

    /// Port to slot.
    #[must_use]
    pub const fn by_port(&self) -> &BTreeMap<u16, u32> {
        &self.by_port
    }

    /// Services that are not `wanted` any more, with their slots, which they
    /// keep until [`Self::free`].
    #[must_use]
    pub fn unwanted(&self, wanted: &BTreeSet<u16>) -> Vec<(u16, u32)> {
        self.by_port
            .iter()
            .filter(|(port, _)| !wanted.contains(port))
            .map(|(port, slot)| (*port, *slot))
            .collect()
    }

    /// Frees the slot of a service that is no more.
    pub fn free(&mut self, port: u16) {
        self.by_port.remove(&port);
    }

    /// Gives a slot to each `wanted` port that has none; the ports for which
    /// none was left.
    pub fn assign(&mut self, wanted: &BTreeSet<u16>) -> Vec<u16> {
        let used: BTreeSet<u32> = self.by_port.values().copied().collect();
        let mut free = (0..MAX_SERVICES).filter(|slot| !used.contains(slot));
        let mut refused = Vec::new();
        for port in wanted {
            if self.by_port.contains_key(port) {
                continue;
            }
            match free.next() {
                Some(slot) => {
                    self.by_port.insert(*port, slot);
                }
                None => refused.push(*port),
            }
        }
        refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_keeps_its_slot_and_a_free_one_is_used_again() {
        let mut slots = Slots::default();
        assert!(slots.assign(&[80, 443].into()).is_empty());
        assert_eq!(slots.by_port(), &BTreeMap::from([(80, 0), (443, 1)]));
        for _ in 0..2 {
            // As long as it is not freed, it is told again.
            assert_eq!(slots.unwanted(&[443].into()), [(80, 0)]);
        }
        slots.free(80);
        assert!(slots.unwanted(&[443].into()).is_empty());
        assert!(slots.assign(&[22, 443].into()).is_empty());
        assert_eq!(slots.by_port(), &BTreeMap::from([(22, 0), (443, 1)]));
    }

    #[test]
    fn past_the_last_slot_ports_are_refused() {
        let mut slots = Slots::continued([(1, 7)]);
        let last = u16::try_from(MAX_SERVICES).unwrap() + 2;
        let refused = slots.assign(&(1..=last).collect());
        assert_eq!(refused, [last - 1, last]);
        let used: BTreeSet<_> = slots.by_port().values().collect();
        assert_eq!(used.len(), MAX_SERVICES as usize);
        assert_eq!(slots.by_port()[&1], 7);
    }
}
