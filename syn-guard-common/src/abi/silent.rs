//! Sources that the stack answers nothing: the host's own addresses, which come from nowhere
//! outside, and the broadcast addresses of its links (`fib_validate_source`, Linux 6.18).

use crate::address::Address;

/// Cells of their map: in the cell of an address stands the address, or another one that
/// shares it; all zeroes where there is none, from which no client comes.
pub const SILENT_CELLS: u32 = 256;

/// The cell of an address.
#[inline(always)]
#[must_use]
pub const fn silent_cell(address: &Address) -> u32 {
    let [a, b, c, d] = address.0;
    let mixed = a ^ b ^ c ^ d;
    (mixed ^ (mixed >> 16) ^ (mixed >> 24)) & (SILENT_CELLS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;
    use std::collections::HashSet;

    #[test]
    fn addresses_of_a_network_have_cells_of_their_own() {
        let cells: HashSet<u32> = (0..=255)
            .map(|last| silent_cell(&Ipv4Addr::new(198, 18, 7, last).into()))
            .collect();
        assert_eq!(cells.len(), SILENT_CELLS as usize);
    }
}
