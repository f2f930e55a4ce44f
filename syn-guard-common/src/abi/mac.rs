//! The host's own hardware addresses: frames for others reach XDP too, where a
//! switch floods or somebody captures.

/// Cells of the map of own hardware addresses: in the cell of an address
/// stands the address, or [`ANY_MAC`] where two share it.
pub const OWN_MAC_CELLS: u32 = 1024;
/// A cell's value that stands for every address.
pub const ANY_MAC: u64 = u64::MAX;
/// The value of a cell that no own address has: no address, not even
/// 00:00:00:00:00:00, which is that of `lo`.
pub const NO_MAC: u64 = 1 << 48;

/// A hardware address as a number: its bytes from the highest to the lowest.
#[must_use]
pub fn mac(bytes: [u8; 6]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

/// The cell of a hardware address.
#[inline(always)]
#[must_use]
pub const fn mac_cell(mac: u64) -> u32 {
    // The low bytes tell the interfaces of a host apart.
    (mac ^ (mac >> 13) ^ (mac >> 29)) as u32 & (OWN_MAC_CELLS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_addresses_have_cells_of_their_own() {
        assert_eq!(mac([1, 2, 3, 4, 5, 6]), 0x0102_0304_0506);
        let cells: std::collections::HashSet<u32> = (0..=255)
            .map(|last| mac_cell(mac([2, 0, 0, 0, 0, last])))
            .collect();
        assert_eq!(cells.len(), 256);
        assert!(cells.iter().all(|cell| *cell < OWN_MAC_CELLS));
    }
}
