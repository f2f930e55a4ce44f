//! What the controller says of listeners, by the client's route.

use core::ptr::{addr_of, addr_of_mut};

use aya_ebpf::maps::lpm_trie::Key;
use syn_guard_common::abi::{Listener, ListenerKey, NearListener, listener_flags};
use syn_guard_common::flow::Flow;

use crate::maps::{LISTENERS, NEAR_LISTENERS, ROUTES};

/// Bits of an address.
const ADDRESS_BITS: u32 = 128;

/// The listener on the flow's own end, for clients in general: whether it is
/// there, and whether its accept queue is full, is written here only.
#[inline(always)]
pub fn find(flow: &Flow) -> Option<*mut Listener> {
    let key = key(flow, 0);
    let near = NEAR_LISTENERS.get_ptr_mut(NearListener::cell(&key))?;
    // SAFETY: a map value; of what the controller writes meanwhile the key is last.
    let there = unsafe { addr_of!((*near).key).read_volatile() };
    if there == key {
        // SAFETY: a field of the map value.
        return Some(unsafe { addr_of_mut!((*near).listener) });
    }
    LISTENERS.get_ptr_mut(&key)
}

/// Whether only the stack's own answer says that it is there for clients.
#[inline(always)]
pub fn needs_proof(listener: *mut Listener) -> bool {
    // SAFETY: a map value; a field is read whole.
    unsafe { addr_of!((*listener).flags).read_volatile() & listener_flags::PROOF != 0 }
}

/// What `listener`, found by [`find`], says to the flow's client.
#[inline(always)]
pub fn for_client(flow: &Flow, listener: *mut Listener, flags: u32) -> *mut Listener {
    if flags & listener_flags::ROUTED == 0 {
        return listener;
    }
    match ROUTES.get(&Key::new(ADDRESS_BITS, flow.remote)) {
        Some(route) => LISTENERS
            .get_ptr_mut(&key(flow, *route))
            .unwrap_or(listener),
        None => listener,
    }
}

#[inline(always)]
const fn key(flow: &Flow, route: u32) -> ListenerKey {
    ListenerKey {
        address: flow.local,
        port: flow.local_port as u32,
        route,
    }
}
