//! SYNs to a service that protects: answered with a cookie, unless the stack
//! must see them.

use core::ptr::{addr_of, addr_of_mut};

use aya_ebpf::EbpfContext as _;
use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::debug;
use syn_guard_common::abi::{Listener, Reason, listener_flags};
use syn_guard_common::cookie::{self, Terms};
use syn_guard_common::flow::Flow;
use syn_guard_common::wire::{Frame as _, Headers, SynAck, Tcp, found, read_options};

use crate::frame::{Packet, change_length, frame_length};
use crate::maps::COOKIE_KEYS;
use crate::sockets::{Known, known};
use crate::state::Service;
use crate::{clock, count, filters, listeners};

/// A listener is looked up once in so many jiffies: 8 to 80 ms.
const PROBE_JIFFIES: u64 = 8;

/// Answers a SYN, or says why the stack gets it.
#[inline(always)]
pub fn handle(
    context: &XdpContext,
    headers: &Headers,
    tcp: &Tcp,
    flow: &Flow,
    hash: u32,
    service: &Service,
    listener: *mut Listener,
) -> Reason {
    // SAFETY: a map value; what the controller writes meanwhile may be torn
    // between two versions of it, both of them true a moment ago.
    let listener_flags = unsafe { addr_of!((*listener).flags).read_volatile() };
    if listener_flags & listener_flags::NO_COOKIES != 0 || !headers.is_answerable() {
        filters::mark_connection(hash);
        return Reason::Unanswerable;
    }
    // SAFETY: as above.
    let full_until = unsafe { addr_of!((*listener).full_until_ns).read_volatile() };
    if full_until != 0 && clock::now_ns() < full_until {
        filters::mark_connection(hash);
        return Reason::AcceptQueueFull;
    }
    // SAFETY: as above.
    let (gone, probed_at) = unsafe {
        (
            addr_of!((*listener).gone).read_volatile(),
            addr_of!((*listener).probed_at).read_volatile(),
        )
    };
    let jiffies = clock::jiffies();
    let probe = jiffies.wrapping_sub(probed_at) >= PROBE_JIFFIES;
    if probe || filters::may_be_connection(hash) {
        let known = known(context.as_ptr(), flow);
        if known == Known::Connection {
            filters::mark_connection(hash);
            return Reason::KnownConnection;
        }
        // An earlier connection of this flow is over: its ACKs are looked at.
        filters::forget_established(hash);
        let now_gone = u32::from(known == Known::Nothing);
        // SAFETY: as above.
        unsafe {
            addr_of_mut!((*listener).probed_at).write_volatile(jiffies);
            if gone != now_gone {
                addr_of_mut!((*listener).gone).write_volatile(now_gone);
            }
        }
        if now_gone != 0 {
            debug!(context, "no listener on port {}", flow.local_port);
            return Reason::NoListener;
        }
    } else if gone != 0 {
        return Reason::NoListener;
    }
    let listener = listeners::for_client(flow, listener, listener_flags);
    match answer(context, headers, tcp, flow, listener) {
        None => {
            filters::mark_connection(hash);
            Reason::Unanswerable
        }
        Some(()) => {
            count::service(service.slot, |counters| counters.cookies_sent += 1);
            Reason::CookieSent
        }
    }
}

/// Turns the SYN into its SYN-ACK.
#[inline(always)]
fn answer(
    context: &XdpContext,
    headers: &Headers,
    tcp: &Tcp,
    flow: &Flow,
    listener: *const Listener,
) -> Option<()> {
    let packet = Packet::of_xdp(context);
    let options = read_options(&packet, headers, tcp);
    if options.found & found::SIGNATURE != 0
        || headers.tcp + headers.segment_length > packet.length()
    {
        return None;
    }
    let traffic_class = headers.read_traffic_class(&packet);
    let ecn = headers.asks_for_ecn(&packet, tcp, traffic_class);
    // SAFETY: a map value.
    let listener = unsafe { &*listener };
    let (terms, class) = Terms::grant(&options, ecn, listener.flags);
    let terms = terms.forget(&packet);
    let class = packet.forget(class as usize, 7) as u32;
    let now = clock::now_ns();
    let epoch = cookie::epoch(now);
    let keys = COOKIE_KEYS.get_ptr(0)?;
    // SAFETY: one of the four keys in the map value; this epoch's is not
    // replaced while the epoch lasts.
    let key = unsafe { &*keys.cast::<cookie::Key>().add((epoch & 3) as usize) };
    let cookie = cookie::make(key, flow, tcp.sequence, epoch, class, terms.timestamps());
    let value = cookie::timestamp(&terms, now);
    let syn_ack = SynAck::new(
        &packet,
        &terms,
        listener,
        traffic_class,
        cookie,
        value,
        options.value,
    );
    let (from, to) = (frame_length(context), syn_ack.frame_length(headers, flow));
    if from != to {
        change_length(context, from, to)?;
    }
    syn_ack.write(&mut Packet::of_xdp(context), headers, flow, tcp)
}
