//! ACKs in XDP: those of no connection are told from the others, and dropped
//! where they are too many, before they cost the stack anything.
//!
//! A look-up tells them for certain: a connection may have been silent for hours.
//! Flows found established lately and flows that a cookie went to are not looked
//! up, and past the limit none that is not marked, while the controller marks all
//! connections again and again.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::programs::XdpContext;
use syn_guard_common::abi::{Reason, Sent, State};
use syn_guard_common::flow::Flow;
use syn_guard_common::wire::{Headers, Tcp, flags};

use crate::frame::Packet;
use crate::maps::{SETTINGS, STRAYS};
use crate::sockets::Socket;
use crate::state::Service;
use crate::{clock, count, engine, filters, handed, kernel_cookie, listeners, sent, standing};

const SECOND_NS: u64 = 1_000_000_000;

/// Looks at a segment to a service that is no SYN.
#[inline(always)]
pub fn handle(
    context: &XdpContext,
    headers: &Headers,
    tcp: &Tcp,
    flow: &Flow,
    hash: u32,
    service: &Service,
) -> Reason {
    if tcp.flags & (flags::ACK | flags::SYN | flags::RST) != flags::ACK
        || !service.is_validating()
        || (filters::is_established(hash) && !may_be_replayed(tcp, hash))
    {
        return Reason::Segment;
    }
    let off = service.state() == State::Off;
    let sent = sent::lately(hash, true);
    if !engine::is_kernel_only() && (off || sent == Sent::Maybe) {
        // The TC program looks at its cookie.
        return Reason::Segment;
    }
    let Some(listener) = listeners::find(flow) else {
        return Reason::Segment;
    };
    let counts = !off && sent != Sent::Maybe;
    let now = clock::now_ns();
    if !standing::is_straight(listener, now) {
        return Reason::Segment;
    }
    if counts
        && service.has_all_marked(now)
        && are_too_many(service.slot)
        && !filters::may_be_connection(hash, now)
    {
        // A look-up would find nothing else.
        count::service(service.slot, |counters| counters.strays_dropped += 1);
        return Reason::AckFlood;
    }
    let Some(socket) = Socket::find(context.as_ptr(), flow) else {
        return Reason::Segment;
    };
    if !socket.is_listener() {
        socket.release();
        filters::mark_established(hash);
        return Reason::Segment;
    }
    if engine::is_kernel_only()
        && filters::just_completed(hash, tcp.acknowledgement.wrapping_sub(1))
    {
        // Right behind its handshake, which the stack has not seen yet.
        socket.release();
        return Reason::Segment;
    }
    if counts && are_too_many(service.slot) {
        socket.release();
        count::service(service.slot, |counters| counters.strays_dropped += 1);
        return Reason::AckFlood;
    }
    let valid = kernel_cookie::check(&socket, &Packet::of_xdp(context), headers);
    socket.release();
    if valid {
        // Where the TC program looks at cookies, no cookie of ours went to this flow.
        if !engine::is_kernel_only() {
            return Reason::Segment;
        }
        let reason = kernel_cookie::valid(tcp, flow, hash, service);
        if reason == Reason::CookieValidated {
            count::verdict(reason);
            return Reason::Segment;
        }
        return reason;
    }
    if off {
        return Reason::Segment;
    }
    if counts {
        count_stray(service.slot);
    }
    if sent == Sent::No {
        return Reason::StrayAck;
    }
    if !engine::is_kernel_only() {
        return Reason::Segment;
    }
    sent::tried(hash);
    count::service(service.slot, |counters| counters.cookies_rejected += 1);
    Reason::NoCookie
}

/// Whether a flow that was found established is looked at all the same: where
/// the stack validates, it would take the cookie again.
#[inline(always)]
fn may_be_replayed(tcp: &Tcp, hash: u32) -> bool {
    engine::is_kernel_only() && handed::was_over(hash, tcp.acknowledgement.wrapping_sub(1))
}

/// A second, and how many strays of the service passed in it on this CPU.
#[inline(always)]
fn this_second(slot: u32) -> Option<&'static mut [u64; 2]> {
    let strays = STRAYS.get_ptr_mut(slot)?;
    let second = clock::now_ns() / SECOND_NS;
    // SAFETY: this CPU's own value.
    let strays = unsafe { &mut *strays };
    if strays[0] != second {
        *strays = [second, 0];
    }
    Some(strays)
}

/// Whether as many strays passed in this second as may: ACKs of no connection and
/// without a valid cookie, to whose flow no cookie went lately or which has had its
/// tries. Past that nobody looks whether one is valid, so that tries are few.
#[inline(always)]
fn are_too_many(slot: u32) -> bool {
    let (Some(settings), Some(strays)) = (SETTINGS.get(0), this_second(slot)) else {
        return false;
    };
    settings.stray_rate != 0 && strays[1] >= settings.stray_rate
}

/// Counts a stray that passes.
#[inline(always)]
fn count_stray(slot: u32) {
    if let Some(strays) = this_second(slot) {
        strays[1] += 1;
    }
}
