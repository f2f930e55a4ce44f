//! Asking the stack what it has for a flow.

use core::ffi::c_void;

use aya_ebpf::bindings::bpf_sock;
use aya_ebpf::helpers::generated::{bpf_sk_release, bpf_skc_lookup_tcp, bpf_skc_to_tcp_sock};
use syn_guard_common::flow::Flow;

use crate::accept_queue;

/// `TCP_LISTEN` of the kernel.
const LISTEN: u32 = 10;
/// The look-up is made in the network namespace of the interface.
const CURRENT_NETNS: u64 = u64::MAX;
const IPV4_TUPLE: u32 = 12;
const IPV6_TUPLE: u32 = 36;

/// What the stack has for a flow.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Nothing, not even a listener.
    Nothing,
    /// A listener.
    Listener,
    /// A listener whose accept queue is full.
    FullListener,
    /// A connection in whatever state, TIME_WAIT and SYN_RECV among them.
    Connection,
}

/// A socket that must be given back.
pub struct Socket(*mut bpf_sock);

impl Socket {
    /// Looks the full four-tuple up, then listeners (about 107 ns).
    #[inline(always)]
    pub fn find(context: *mut c_void, flow: &Flow) -> Option<Self> {
        let (mut tuple, size) = tuple(flow);
        // SAFETY: context and tuple are valid for the call; the reference is
        // given back by `release`, which the verifier insists on.
        let socket = unsafe {
            bpf_skc_lookup_tcp(context, tuple.as_mut_ptr().cast(), size, CURRENT_NETNS, 0)
        };
        if socket.is_null() {
            None
        } else {
            Some(Self(socket))
        }
    }

    /// Whether it is a listener.
    #[inline(always)]
    pub fn is_listener(&self) -> bool {
        // SAFETY: not null, and not yet given back.
        unsafe { (*self.0).state == LISTEN }
    }

    /// Whether the accept queue of a listener is full.
    #[inline(always)]
    fn is_full(&self) -> bool {
        // SAFETY: not null, and not yet given back.
        unsafe {
            let full = bpf_skc_to_tcp_sock(self.as_ptr());
            !full.is_null() && accept_queue::is_full(full.cast())
        }
    }

    /// The kernel's pointer.
    #[inline(always)]
    pub fn as_ptr(&self) -> *mut c_void {
        self.0.cast()
    }

    /// Gives it back.
    #[inline(always)]
    pub fn release(self) {
        // SAFETY: not null, and given back once, since `self` is consumed.
        unsafe { bpf_sk_release(self.0.cast()) };
    }
}

/// What the stack has for a flow.
#[inline(always)]
pub fn known(context: *mut c_void, flow: &Flow) -> Known {
    let Some(socket) = Socket::find(context, flow) else {
        return Known::Nothing;
    };
    let known = if !socket.is_listener() {
        Known::Connection
    } else if socket.is_full() {
        Known::FullListener
    } else {
        Known::Listener
    };
    socket.release();
    known
}

/// The words of a `struct bpf_sock_tuple` and the bytes of it that count. All
/// of it is written: the compiler may store whatever a register holds where a
/// value is undefined, which the verifier does not accept.
#[inline(always)]
fn tuple(flow: &Flow) -> ([u32; 9], u32) {
    let remote = &flow.remote.0;
    let local = &flow.local.0;
    let ports = u32::from(flow.remote_port.to_be()) | (u32::from(flow.local_port.to_be()) << 16);
    if flow.remote.is_ipv4() {
        ([remote[3], local[3], ports, 0, 0, 0, 0, 0, 0], IPV4_TUPLE)
    } else {
        (
            [
                remote[0], remote[1], remote[2], remote[3], local[0], local[1], local[2], local[3],
                ports,
            ],
            IPV6_TUPLE,
        )
    }
}
