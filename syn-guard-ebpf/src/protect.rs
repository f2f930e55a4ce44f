//! SYNs to a service that protects: answered with a cookie, unless the stack
//! must see them.

use core::ptr::{addr_of, addr_of_mut};

use aya_ebpf::EbpfContext as _;
use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::debug;
use syn_guard_common::abi::{Listener, Reason, listener_flags};
use syn_guard_common::cookie::{self, Terms};
use syn_guard_common::wire::{Frame as _, SynAck, read_options};

use crate::frame::{Packet, change_length, frame_length};
use crate::maps::COOKIE_KEYS;
use crate::sockets::{Known, Socket, known};
use crate::state::Service;
use crate::syn::Syn;
use crate::{
    clock, count, engine, filters, kernel_cookie, listeners, sent, silent, standing, unusual,
};

/// For how long an accept queue that was found full counts as full: until the
/// controller, which looks every 100 ms, has looked.
const FULL_NS: u64 = 150_000_000;

/// Answers a SYN, or says why the stack gets it.
#[inline(always)]
pub fn handle(
    context: &XdpContext,
    syn: &Syn,
    service: &Service,
    listener: *mut Listener,
) -> Reason {
    let reason = decide(context, syn, listener);
    if reason == Reason::CookieSent {
        sent::mark(syn.hash);
        count::service(service.slot, |counters| counters.cookies_sent += 1);
    } else if matches!(reason, Reason::Asked | Reason::StandsBack) {
        // Who answers is not known: the ACKs of this flow are none of the guard's.
        filters::mark_connection(syn.hash);
    } else {
        // Where nobody listens, somebody may since the last look.
        filters::mark_syn(syn.hash);
    }
    reason
}

#[inline(always)]
fn decide(context: &XdpContext, syn: &Syn, listener: *mut Listener) -> Reason {
    // SAFETY: a map value; what the controller writes meanwhile may be torn
    // between two versions of it, both of them true a moment ago.
    let listener_flags = unsafe { addr_of!((*listener).flags).read_volatile() };
    if listener_flags & listener_flags::NO_COOKIES != 0
        || !syn.headers.is_answerable()
        || silent::is_silent(&syn.flow.remote)
    {
        return Reason::Unanswerable;
    }
    if let Some(reason) = standing::why_not(listener, listener_flags, syn.now_ns) {
        return reason;
    }
    // SAFETY: as above.
    let full_until = unsafe { addr_of!((*listener).full_until_ns).read_volatile() };
    if full_until != 0 && syn.now_ns < full_until {
        return Reason::AcceptQueueFull;
    }
    let mut kernels = 0;
    let by_kernel = engine::makes_kernels();
    if by_kernel {
        match kernels_cookie(context, syn, listener) {
            Ok(cookie) => kernels = cookie,
            Err(reason) => return reason,
        }
    } else if let Some(reason) = look_up_now_and_then(context, syn, listener, listener_flags) {
        return reason;
    }
    match answer(context, syn, listener, listener_flags, by_kernel, kernels) {
        Some(()) => Reason::CookieSent,
        None => Reason::Unanswerable,
    }
}

/// Looks the flow up when the filter says maybe, and the listener once a jiffy, and with each
/// SYN while they are few: clients of a listener that has just gone are refused, as without a
/// guard. Why the SYN must go to the stack, if it must.
#[inline(always)]
fn look_up_now_and_then(
    context: &XdpContext,
    syn: &Syn,
    listener: *mut Listener,
    listener_flags: u32,
) -> Option<Reason> {
    // SAFETY: a map value.
    let (gone, probed_at) = unsafe {
        (
            addr_of!((*listener).gone).read_volatile(),
            addr_of!((*listener).probed_at).read_volatile(),
        )
    };
    let jiffies = clock::jiffies() as u32;
    let probe = jiffies != probed_at;
    if probe || (gone == 0 && sent::are_few()) || filters::may_be_connection(syn.hash, syn.now_ns) {
        let known = known(context.as_ptr(), &syn.flow);
        if known == Known::Connection {
            return Some(Reason::KnownConnection);
        }
        // An earlier connection of this flow is over: its ACKs are looked at.
        filters::forget_established(syn.hash);
        let now_gone = u8::from(known == Known::Nothing);
        // SAFETY: as above.
        unsafe {
            if probe {
                addr_of_mut!((*listener).probed_at).write_volatile(jiffies);
            }
            if gone != now_gone {
                addr_of_mut!((*listener).gone).write_volatile(now_gone);
            }
        }
        if known == Known::FullListener {
            // One of a group speaks for itself only.
            if listener_flags & listener_flags::GROUP == 0 {
                let until = syn.now_ns + FULL_NS;
                // SAFETY: as above.
                unsafe { addr_of_mut!((*listener).full_until_ns).write_volatile(until) }
            }
            return Some(Reason::AcceptQueueFull);
        }
        if now_gone != 0 {
            debug!(context, "no listener on port {}", syn.flow.local_port);
            return Some(Reason::NoListener);
        }
    } else if gone != 0 {
        return Some(Reason::NoListener);
    }
    None
}

/// A cookie of the kernel's.
#[inline(always)]
fn kernels_cookie(context: &XdpContext, syn: &Syn, listener: *mut Listener) -> Result<u32, Reason> {
    let socket = Socket::find(context.as_ptr(), &syn.flow);
    let now_gone = u8::from(socket.is_none());
    // SAFETY: a map value; written only when it changes.
    unsafe {
        let gone = addr_of_mut!((*listener).gone);
        if gone.read_volatile() != now_gone {
            gone.write_volatile(now_gone);
        }
    }
    let Some(socket) = socket else {
        debug!(context, "no listener on port {}", syn.flow.local_port);
        return Err(Reason::NoListener);
    };
    if !socket.is_listener() {
        socket.release();
        return Err(Reason::KnownConnection);
    }
    if filters::may_be_connection(syn.hash, syn.now_ns) {
        // An earlier connection of this flow is over; who is not marked had none
        // lately.
        filters::forget_established(syn.hash);
    }
    let cookie = kernel_cookie::make(context, &socket, &syn.headers, &syn.tcp);
    socket.release();
    cookie.ok_or(Reason::Unanswerable)
}

/// Turns the SYN into its SYN-ACK, with a cookie of our own or, with that engine,
/// with the kernel's.
#[inline(always)]
fn answer(
    context: &XdpContext,
    syn: &Syn,
    listener: *mut Listener,
    listener_flags: u32,
    by_kernel: bool,
    kernels_cookie: u32,
) -> Option<()> {
    let Syn {
        headers, tcp, flow, ..
    } = syn;
    let packet = Packet::of_xdp(context);
    let options = read_options(&packet, headers, tcp);
    if options.found & engine::known_signatures() != 0
        || headers.tcp + headers.segment_length > packet.length()
        || unusual::passes(&packet, headers, &options, syn.now_ns)
    {
        return None;
    }
    let traffic_class = headers.read_traffic_class(&packet);
    let ecn = headers.asks_for_ecn(&packet, tcp, traffic_class);
    // SAFETY: a map value.
    let listener = unsafe { &*listeners::for_client(flow, listener, listener_flags) };
    if listener.flags & (listener_flags::NO_COOKIES | listener_flags::CLOSED) != 0 {
        // The stack has no way back to this client, or answers others only.
        return None;
    }
    let now = syn.now_ns;
    let (terms, cookie) = if by_kernel {
        let terms = Terms::grant_by_kernel(&options, ecn, listener.flags);
        (terms.forget(&packet), kernels_cookie)
    } else {
        let (terms, class) = Terms::grant(&options, ecn, listener.flags);
        let terms = terms.forget(&packet);
        let class = packet.forget(class as usize, 7) as u32;
        let epoch = cookie::epoch(now);
        let keys = COOKIE_KEYS.get_ptr(0)?;
        // SAFETY: one of the four keys in the map value; this epoch's is not
        // replaced while the epoch lasts.
        let key = unsafe { &*keys.cast::<cookie::Key>().add((epoch & 3) as usize) };
        let cookie = cookie::make(key, flow, tcp.sequence, epoch, class, terms.timestamps());
        (terms, cookie)
    };
    let syn_ack = SynAck::new(
        &packet,
        &terms,
        listener,
        traffic_class,
        cookie,
        cookie::timestamp(&terms, now),
        options.value,
    );
    let from = frame_length(context);
    let syn_ack = syn_ack.no_longer_than(&packet, from, headers, flow);
    let to = syn_ack.frame_length(headers, flow);
    if from != packet.length() && to > packet.length() {
        // Of a frame in several buffers only the first one can be written.
        return None;
    }
    if from != to {
        change_length(context, from, to)?;
    }
    syn_ack.write(&mut Packet::of_xdp(context), headers, flow, tcp)
}
