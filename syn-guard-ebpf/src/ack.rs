//! What XDP passed, before the stack sees it: the ACK that carries a cookie
//! becomes a connection.

use core::ffi::c_void;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::bpf_skc_to_tcp_sock;
use aya_ebpf::programs::TcContext;
use aya_log_ebpf::debug;
use syn_guard_common::abi::{Listener, Reason, Sent, State};
use syn_guard_common::cookie::{self, Key, Terms};
use syn_guard_common::flow::Flow;
use syn_guard_common::wire::{Frame as _, Headers, Options, Tcp, flags, found, read_options};

use crate::frame::Packet;
use crate::kfunc::{Request, assign_request};
use crate::maps::COOKIE_KEYS;
use crate::sockets::Socket;
use crate::state::{Service, any_validating};
use crate::{
    accept_queue, clock, conntrack, count, engine, filters, handed, kernel_cookie, listeners, sent,
    sources, standing,
};

/// Bytes that all headers of a segment take at most: Ethernet, IPv6 with some
/// extensions, TCP with options.
const HEADERS: u32 = 14 + 40 + 64 + 60;

/// Looks at a packet; none when it is nothing of ours.
#[inline(always)]
pub fn handle(context: &TcContext) -> Option<Reason> {
    if !any_validating() {
        // In calm times no packet costs more than this.
        return None;
    }
    if (context.data_end() - context.data()) < HEADERS as usize
        && context.len() as usize > context.data_end() - context.data()
    {
        // A driver may leave headers outside the linear part.
        let wanted = if context.len() < HEADERS {
            context.len()
        } else {
            HEADERS
        };
        context.pull_data(wanted).ok()?;
    }
    let packet = Packet::of_tc(context);
    let headers = find_headers(context, &packet)?;
    if headers.first_fragment {
        return None;
    }
    let tcp = headers.read_tcp(&packet)?;
    if tcp.flags & (flags::ACK | flags::SYN | flags::RST) != flags::ACK {
        return None;
    }
    let service = Service::of_port(tcp.destination)?;
    if !service.is_validating() {
        return None;
    }
    let flow = headers.read_flow(&packet, &tcp)?;
    // All kinds of packets join here: the verifier follows what comes only
    // once.
    let headers = headers.forget(&packet);
    let flow = flow.forget(&packet);
    let tcp = Tcp {
        length: packet.forget(tcp.length, 63),
        ..tcp
    };
    let hash = flow.hash();
    if filters::is_established(hash) && !may_be_replayed(&tcp, hash) {
        return None;
    }
    // What is forwarded or for another address is none of ours.
    listeners::find(&flow)?;
    let off = service.state() == State::Off;
    if off && sent::lately(hash, true) != Sent::Maybe {
        // Nothing of it is dropped any more, but nobody tries for a cookie that
        // none got, or tries on.
        return None;
    }
    let options = read_options(&packet, &headers, &tcp);
    let cookie = tcp.acknowledgement.wrapping_sub(1);
    let now = cookie::epoch(clock::now_ns());
    let keys = COOKIE_KEYS.get_ptr(0)?;
    let slot = (cookie::epoch_of(cookie, now) & 3) as usize;
    // SAFETY: one of the four keys in the map value; this epoch's and the
    // last one's are not replaced.
    let key = unsafe { &*keys.cast::<Key>().add(slot) };
    let timestamps = options.found & found::TIMESTAMPS != 0;
    let sequence = tcp.sequence.wrapping_sub(1);
    let reason = match cookie::check(key, &flow, sequence, cookie, now, timestamps, options.echo) {
        Some(terms) => complete(context, &service, &flow, hash, cookie, &terms, &options),
        None if off => {
            sent::tried(hash);
            None
        }
        None => without_cookie(context, &packet, &headers, &tcp, &service, &flow, hash),
    };
    if reason == Some(Reason::CookieValidated) {
        conntrack::leave(context, &headers);
    }
    reason
}

/// Whether a flow that was found established is looked at all the same: where the stack
/// validates, it would take the cookie again.
#[inline(always)]
fn may_be_replayed(tcp: &Tcp, hash: u32) -> bool {
    engine::makes_kernels() && handed::was_over(hash, tcp.acknowledgement.wrapping_sub(1))
}

/// Finds the headers. Behind generic XDP a packet may come without its Ethernet
/// header (`skb_pp_cow_data` loses its length, Linux 6.18): then what stands in
/// the place of the EtherType is another.
#[inline(always)]
fn find_headers(context: &TcContext, packet: &Packet<'_>) -> Option<Headers> {
    // SAFETY: a field of the program's own context.
    let kind = u16::from_be(unsafe { (*context.skb.skb).protocol } as u16);
    // Behind a tag that is still there the stack takes no cookie's connection;
    // no cookie went there either.
    if kind != 0x0800 && kind != 0x86dd {
        return None;
    }
    let found = if packet.chunk::<14>(0)?.u16::<12>() == kind {
        Headers::find(packet)
    } else {
        Headers::find_at(packet, kind, 0)
    };
    found.ok()
}

/// Hands the connection of a validated cookie to the stack.
#[inline(always)]
#[allow(
    clippy::too_many_arguments,
    reason = "inlined; a struct of references would live on the stack"
)]
fn complete(
    context: &TcContext,
    service: &Service,
    flow: &Flow,
    hash: u32,
    cookie: u32,
    terms: &Terms,
    options: &Options,
) -> Option<Reason> {
    // Found again: the verifier follows what lies between for each map that it may be in.
    let listener = listeners::find(flow)?;
    // SAFETY: a map value.
    let (flags, full_until) = unsafe { ((*listener).flags, (*listener).full_until_ns) };
    let socket = Socket::find(context.as_ptr(), flow)?;
    if !socket.is_listener() {
        // The connection is there already: its first ACKs still fit.
        socket.release();
        handed::seen(hash);
        return None;
    }
    // SAFETY: a socket that is not yet given back.
    let full = unsafe { bpf_skc_to_tcp_sock(socket.as_ptr()) };
    if full.is_null() || is_behind_its_handshake(hash, cookie, full.cast(), full_until) {
        socket.release();
        return None;
    }
    if handed::is_replayed(hash, cookie) {
        socket.release();
        count::service(service.slot, |counters| counters.cookies_rejected += 1);
        return Some(Reason::ReplayedAck);
    }
    // SAFETY: as above.
    let has_room = unsafe { accept_queue::may_be_full(full.cast()) } == Some(false);
    note_try(service, flow, hash, cookie, listener, has_room);
    // SAFETY: a map value.
    let (our_scale, most_mss) = unsafe {
        let listener = listeners::for_client(flow, listener, flags);
        ((*listener).scale, (*listener).most_mss)
    };
    let mut request = Request::new(terms, !flow.remote.is_ipv4(), our_scale, most_mss, options);
    // SAFETY: the program's own context and a full socket.
    let result = unsafe { assign_request(context.as_ptr(), full.cast(), &mut request) };
    socket.release();
    if result == 0 {
        handed::over(hash, cookie);
        if let Some(listener) = listeners::find(flow) {
            standing::handed_over(listener);
        }
        filters::remember_completed(hash, cookie);
        sources::completed(service.slot, flow);
        count::service(service.slot, |counters| counters.cookies_validated += 1);
        return Some(Reason::CookieValidated);
    }
    debug!(
        context,
        "the stack refused a cookie's connection: {}", result
    );
    count::service(service.slot, |counters| counters.cookies_failed += 1);
    Some(Reason::CookieFailed)
}

/// Takes note of a valid cookie: of one that comes again although the accept queue has room,
/// and of a queue that may be full.
#[inline(always)]
fn note_try(
    service: &Service,
    flow: &Flow,
    hash: u32,
    cookie: u32,
    listener: *mut Listener,
    has_room: bool,
) {
    let now = clock::now_ns();
    if !has_room {
        standing::may_be_full(now);
    } else if handed::is_waiting(hash, cookie) {
        standing::came_again(listener, &flow.local, service.slot, now);
    }
}

/// Whether a packet stands right behind its handshake's ACK, which the stack
/// has not seen yet: packets come to this program in batches. Such a packet
/// passes; as another handshake the stack would drop it. But where the accept
/// queue is full the ACK comes to nothing, and the stack would answer RST.
#[inline(always)]
fn is_behind_its_handshake(
    hash: u32,
    cookie: u32,
    listener: *const c_void,
    full_until: u64,
) -> bool {
    if !filters::just_completed(hash, cookie) {
        return false;
    }
    // SAFETY: by the callers, a listener that is not yet given back.
    match unsafe { accept_queue::may_be_full(listener) } {
        Some(full) => !full,
        None => full_until == 0 || clock::now_ns() >= full_until,
    }
}

/// An ACK without a valid cookie. Where there is no connection for it, but a
/// cookie went to its flow lately, it may have overtaken the handshake's ACK: it
/// will be sent again, while the stack would reset the connection. To others the
/// stack says that there is none. Cookies of the kernel's own are the stack's.
#[inline(always)]
#[allow(
    clippy::too_many_arguments,
    reason = "inlined; a struct of references would live on the stack"
)]
fn without_cookie(
    context: &TcContext,
    packet: &Packet<'_>,
    headers: &Headers,
    tcp: &Tcp,
    service: &Service,
    flow: &Flow,
    hash: u32,
) -> Option<Reason> {
    let cookie = tcp.acknowledgement.wrapping_sub(1);
    let listener = listeners::find(flow)?;
    let sent = sent::lately(hash, false);
    if (sent == Sent::No && !may_be_replayed(tcp, hash))
        || !standing::is_straight(listener, clock::now_ns())
    {
        return None;
    }
    let socket = Socket::find(context.as_ptr(), flow)?;
    if !socket.is_listener() {
        socket.release();
        filters::mark_established(hash);
        return None;
    }
    // SAFETY: a map value, and a socket that is not yet given back.
    let (full_until, full) = unsafe {
        (
            (*listener).full_until_ns,
            bpf_skc_to_tcp_sock(socket.as_ptr()),
        )
    };
    if full.is_null() || is_behind_its_handshake(hash, cookie, full.cast(), full_until) {
        socket.release();
        return None;
    }
    // SAFETY: as above.
    let has_room = unsafe { accept_queue::may_be_full(full.cast()) } == Some(false);
    let kernels = kernel_cookie::check(&socket, packet, headers);
    socket.release();
    if kernels && engine::makes_kernels() {
        note_try(service, flow, hash, cookie, listener, has_room);
        return Some(kernel_cookie::valid(tcp, flow, hash, service));
    }
    if kernels {
        // Its data may stand right behind it.
        filters::remember_completed(hash, cookie);
        return None;
    }
    sent::tried(hash);
    count::service(service.slot, |counters| counters.cookies_rejected += 1);
    Some(Reason::NoCookie)
}
