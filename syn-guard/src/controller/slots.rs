//! Which service has which slot.

use std::collections::{BTreeMap, BTreeSet};

/// The slots of the guarded ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    by_port: BTreeMap<u16, u32>,
    by_slot: BTreeMap<u32, u16>,
}

impl Slots {
    /// Goes on with slots that an earlier controller gave.
    #[must_use]
    pub fn continued(ports: impl IntoIterator<Item = (u16, u32)>) -> Self {
        let mut slots = Self::default();
        for (port, slot) in ports {
            slots.insert(port, slot);
        }
        slots
    }

    fn insert(&mut self, port: u16, slot: u32) {
        self.by_port.insert(port, slot);
        self.by_slot.insert(slot, port);
    }

    /// The port of a slot.
    #[must_use]
    pub fn port_of(&self, slot: u32) -> Option<u16> {
        self.by_slot.get(&slot).copied()
    }

    /// Slots from the first to the last one in use.
    #[must_use]
    pub fn in_use(&self) -> u32 {
        self.by_slot
            .last_key_value()
            .map_or(0, |(slot, _)| slot + 1)
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
        if let Some(slot) = self.by_port.remove(&port) {
            self.by_slot.remove(&slot);
        }
    }

    /// Gives one of `room` slots to each `wanted` port that has none; the ports for
    /// which none was left.
    pub fn assign(&mut self, wanted: &BTreeSet<u16>, room: u32) -> Vec<u16> {
        let (mut refused, mut next) = (Vec::new(), 0);
        for port in wanted {
            if self.by_port.contains_key(port) {
                continue;
            }
            while self.by_slot.contains_key(&next) {
                next += 1;
            }
            if next < room {
                self.insert(*port, next);
            } else {
                refused.push(*port);
            }
        }
        refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: u32 = 1024;

    #[test]
    fn a_service_keeps_its_slot_and_a_free_one_is_used_again() {
        let mut slots = Slots::default();
        assert!(slots.assign(&[80, 443].into(), ROOM).is_empty());
        assert_eq!(slots.by_port(), &BTreeMap::from([(80, 0), (443, 1)]));
        for _ in 0..2 {
            // As long as it is not freed, it is told again.
            assert_eq!(slots.unwanted(&[443].into()), [(80, 0)]);
        }
        slots.free(80);
        assert!(slots.unwanted(&[443].into()).is_empty());
        assert_eq!((slots.port_of(0), slots.port_of(1)), (None, Some(443)));
        assert!(slots.assign(&[22, 443].into(), ROOM).is_empty());
        assert_eq!(slots.by_port(), &BTreeMap::from([(22, 0), (443, 1)]));
        assert_eq!((slots.port_of(0), slots.in_use()), (Some(22), 2));
    }

    #[test]
    fn past_the_last_slot_ports_are_refused() {
        let mut slots = Slots::continued([(1, 7)]);
        assert_eq!(slots.in_use(), 8);
        let last = u16::try_from(ROOM).unwrap() + 2;
        let refused = slots.assign(&(1..=last).collect(), ROOM);
        assert_eq!(refused, [last - 1, last]);
        let used: BTreeSet<_> = slots.by_port().values().collect();
        assert_eq!(used.len(), ROOM as usize);
        assert_eq!(slots.by_port()[&1], 7);
        assert_eq!(slots.in_use(), ROOM);
    }
}
