//! Whose SYNs always pass and whose are dropped.

use core::ptr::addr_of;

use aya_ebpf::maps::lpm_trie::Key;
use syn_guard_common::abi::{ListKind, prefix_flags};
use syn_guard_common::address::Address;
use syn_guard_common::prefix_filter;

use crate::clock;
use crate::maps::{PREFIX_FILTER, PREFIXES};

/// Bits of an address.
const ADDRESS_BITS: u32 = 128;
/// Prefixes around each other whose time is over, at most, before it is no more
/// looked for a shorter one: they are there only while no controller is.
const ENDED: usize = 4;

/// The list that an address is on.
#[inline(always)]
pub fn list_of(address: &Address) -> Option<ListKind> {
    if !may_be_listed(address) {
        return None;
    }
    find(address)
}

/// Whether a prefix may match: one word where there are none, else some bits.
#[inline(always)]
fn may_be_listed(address: &Address) -> bool {
    let Some(filter) = PREFIX_FILTER.get_ptr(0) else {
        return false;
    };
    // SAFETY: a map value, as all below; written by the controller meanwhile.
    if unsafe { addr_of!((*filter).prefixes).read_volatile() } == 0 {
        return false;
    }
    let mut found = 0;
    let [exact, one, other] = prefix_filter::positions(address);
    for position in [among_exact(exact), one, other] {
        // SAFETY: a position is that of a bit of the filter.
        let word = unsafe {
            addr_of!((*filter).bits)
                .cast::<u64>()
                .add(position as usize / 64)
                .read_volatile()
        };
        found |= word >> (position % 64) & 1;
    }
    found != 0
}

/// The same position. Linux 6.1's verifier knows no bounds of a number that was
/// byte-swapped, and the compiler, which does, leaves the mask out.
#[inline(always)]
fn among_exact(position: u32) -> u32 {
    let mut position = position;
    // SAFETY: changes nothing but one register, and that to what it is.
    unsafe {
        core::arch::asm!("{0} &= {1}", inout(wreg) position, const prefix_filter::EXACT - 1);
    }
    position
}

/// Looks for the longest prefix that has not ended.
#[inline(always)]
fn find(address: &Address) -> Option<ListKind> {
    let mut bits = ADDRESS_BITS;
    for _ in 0..ENDED {
        let entry = PREFIXES.get(&Key::new(bits, *address))?;
        if entry.flags & prefix_flags::IPV6 != 0 && address.is_ipv4() {
            return None;
        }
        if entry.ends_ns == 0 || clock::now_ns() < entry.ends_ns {
            return ListKind::from_u32(entry.list);
        }
        if entry.afterwards != 0 || entry.bits == 0 {
            return ListKind::from_u32(u32::from(entry.afterwards));
        }
        bits = u32::from(entry.bits) - 1;
    }
    None
}
