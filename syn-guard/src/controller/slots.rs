//! Which service has which slot.

use std::collections::{BTreeMap, BTreeSet};

use syn_guard_common::abi::MAX_SERVICES;

/// The slots of the guarded ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    by_port: BTreeMap<u16, u32>,
}

/// What an update changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotChanges {
    /// Services that are new, with their slots.
    pub added: Vec<(u16, u32)>,
    /// Services that are no more, with the slots they had.
    pub removed: Vec<(u16, u32)>,
    /// Ports for which no slot was left.
    pub refused: Vec<u16>,
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

    /// Guards exactly `wanted`. A service keeps its slot.
    pub fn update(&mut self, wanted: &BTreeSet<u16>) -> SlotChanges {
        let mut changes = SlotChanges::default();
        self.by_port.retain(|port, slot| {
            let keep = wanted.contains(port);
            if !keep {
                changes.removed.push((*port, *slot));
            }
            keep
        });
        let used: BTreeSet<u32> = self.by_port.values().copied().collect();
        let mut free = (0..MAX_SERVICES).filter(|slot| !used.contains(slot));
        for port in wanted {
            if self.by_port.contains_key(port) {
                continue;
            }
            match free.next() {
                Some(slot) => {
                    self.by_port.insert(*port, slot);
                    changes.added.push((*port, slot));
                }
                None => changes.refused.push(*port),
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_keeps_its_slot_and_a_free_one_is_used_again() {
        let mut slots = Slots::default();
        assert_eq!(slots.update(&[80, 443].into()).added, [(80, 0), (443, 1)]);
        let changes = slots.update(&[443].into());
        assert_eq!((changes.removed, changes.added.len()), (vec![(80, 0)], 0));
        assert_eq!(slots.update(&[22, 443].into()).added, [(22, 0)]);
        assert_eq!(slots.by_port(), &BTreeMap::from([(22, 0), (443, 1)]));
    }

    #[test]
    fn past_the_last_slot_ports_are_refused() {
        let mut slots = Slots::continued([(1, 7)]);
        let last = u16::try_from(MAX_SERVICES).unwrap() + 2;
        let changes = slots.update(&(1..=last).collect());
        assert_eq!(changes.refused, [last - 1, last]);
        let used: BTreeSet<_> = slots.by_port().values().collect();
        assert_eq!(used.len(), MAX_SERVICES as usize);
        assert_eq!(slots.by_port()[&1], 7);
    }
}
