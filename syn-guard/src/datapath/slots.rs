//! How many services the maps have room for.

use syn_guard_common::abi::{LEAST_SLOTS, MAX_SERVICES};

/// The maps with an entry for each slot.
pub(super) const BY_SLOT: [&str; 5] = [
    "SAMPLES",
    "SERVICE_CONFIG",
    "SERVICE_COUNTERS",
    "SERVICE_STATE",
    "STRAYS",
];
/// Room for more services, as a share of those that there are.
const HEAD_ROOM: usize = 8;

/// Slots for so many services, and for more that may come while the guard runs.
pub(super) fn slots(services: usize) -> u32 {
    let wanted = services.saturating_add((services / HEAD_ROOM).max(LEAST_SLOTS as usize / 2));
    u32::try_from(wanted)
        .unwrap_or(MAX_SERVICES)
        .clamp(LEAST_SLOTS, MAX_SERVICES)
}

/// Whether maps with so many slots go on to be used.
pub(super) fn suffice(slots: u32, services: usize) -> bool {
    (LEAST_SLOTS..=MAX_SERVICES).contains(&slots)
        && (slots == MAX_SERVICES || services <= slots as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_more_services_than_there_are() {
        for (services, expected) in [
            (0, 1024),
            (1, 1024),
            (512, 1024),
            (1000, 1512),
            (10_000, 11_250),
            (16_000, 16_384),
            (65_535, 16_384),
            (usize::MAX, 16_384),
        ] {
            assert_eq!(slots(services), expected, "{services}");
            assert!(suffice(slots(services), services), "{services}");
        }
    }

    #[test]
    fn maps_are_kept_while_they_have_room() {
        for (slots, services, kept) in [
            (1024, 1024, true),
            (1024, 1025, false),
            (11_250, 3, true),
            (16_384, 20_000, true),
            (256, 3, false),
            (32_768, 3, false),
        ] {
            assert_eq!(suffice(slots, services), kept, "{slots} {services}");
        }
    }
}
