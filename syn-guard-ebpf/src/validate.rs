//! Whether the stack would take a SYN at all.

use syn_guard_common::abi::{ANY_MAC, Reason, State, mac_cell};
use syn_guard_common::flow::Flow;
use syn_guard_common::wire::{Frame as _, Headers};

use crate::frame::Packet;
use crate::maps::OWN_MACS;

/// The bit of a hardware address's first byte that says it is a group's.
const GROUP: u8 = 1;

/// Whether the frame is for another host's hardware address.
#[inline(always)]
pub fn is_for_other_host(packet: &Packet<'_>) -> bool {
    let Some(ethernet) = packet.chunk::<6>(0) else {
        return false;
    };
    let destination = (u64::from(ethernet.u16::<0>()) << 32) | u64::from(ethernet.u32::<2>());
    !is_own(destination)
}

/// Why the stack would not take a SYN for this host, if it would not. To be dropped only
/// where the service protects: no answer may be given, and a flood of them
/// would still cost the stack.
#[inline(always)]
pub fn why_not(
    packet: &Packet<'_>,
    headers: &Headers,
    flow: &Flow,
    state: State,
) -> Option<Reason> {
    let ethernet = packet.chunk::<14>(0)?;
    let reason = if ethernet.u8::<6>() & GROUP != 0
        || !flow.remote.may_be_client()
        || flow.remote == flow.local
    {
        Reason::BadSource
    } else if !headers.has_right_checksums(packet, flow) {
        Reason::BadChecksum
    } else {
        return None;
    };
    Some(if state == State::Protecting {
        reason
    } else {
        Reason::Invalid
    })
}

/// Whether this is one of the host's own hardware addresses.
#[inline(always)]
fn is_own(mac: u64) -> bool {
    match OWN_MACS.get(mac_cell(mac)) {
        Some(cell) => *cell == mac || *cell == ANY_MAC,
        None => false,
    }
}
