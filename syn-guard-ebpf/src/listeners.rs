//! What the controller says of listeners, by the client's route.

use aya_ebpf::maps::lpm_trie::Key;
use syn_guard_common::abi::{Listener, ListenerKey, listener_flags};
use syn_guard_common::flow::Flow;

use crate::maps::{LISTENERS, ROUTES};

/// Bits of an address.
const ADDRESS_BITS: u32 = 128;

/// The listener on the flow's own end, for clients in general: whether it is
/// there, and whether its accept queue is full, is written here only.
#[inline(always)]
pub fn find(flow: &Flow) -> Option<*mut Listener> {
    find_for(flow, 0)
}

/// What `listener`, found by [`find`], says to the flow's client.
#[inline(always)]
pub fn for_client(flow: &Flow, listener: *mut Listener, flags: u32) -> *mut Listener {
    if flags & listener_flags::ROUTED == 0 {
        return listener;
    }
    let key = Key::new(ADDRESS_BITS, flow.remote);
    match ROUTES.get(&key) {
        Some(route) => find_for(flow, *route).unwrap_or(listener),
        None => listener,
    }
}

#[inline(always)]
fn find_for(flow: &Flow, route: u32) -> Option<*mut Listener> {
    let key = ListenerKey {
        address: flow.local,
        port: u32::from(flow.local_port),
        route,
    };
    LISTENERS.get_ptr_mut(&key)
}
