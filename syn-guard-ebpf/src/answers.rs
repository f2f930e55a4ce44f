//! What leaves the host: the stack's own SYN-ACKs show who answers a SYN and how, its
//! resets that a connection made from a cookie was lost.

use aya_ebpf::bindings::bpf_sock;
use aya_ebpf::helpers::generated::bpf_get_listener_sock;
use aya_ebpf::programs::TcContext;
use syn_guard_common::abi::{Listener, State, listener_flags};
use syn_guard_common::flow::Flow;
use syn_guard_common::wire::{Frame as _, Headers, Tcp, flags};

use crate::frame::Packet;
use crate::state::Service;
use crate::{clock, filters, half_open, handed, kernel_cookie, listeners, observe, standing};

/// Bytes of a SYN-ACK or RST at most: Ethernet, IPv6 with some extensions, TCP with options.
const MOST: u32 = 14 + 40 + 64 + 60;
/// Bytes of a TCP header without options.
const TCP: usize = 20;
/// Kind and length of the MSS option, which the stack writes first.
const MSS_OPTION: u16 = 0x0204;
/// The bits of a TOS or traffic class that are not ECN's.
const DSCP: u8 = 0xfc;

/// Looks at a packet that leaves the host.
#[inline(always)]
pub fn handle(context: &TcContext) -> Option<()> {
    // SAFETY: fields of the program's own context.
    let (length, came_from) = unsafe {
        let skb = context.skb.skb;
        ((*skb).len, (*skb).ingress_ifindex)
    };
    // Most of what leaves is longer; what is forwarded is other hosts'.
    if length > MOST || came_from != 0 {
        return None;
    }
    let packet = Packet::of_tc(context);
    let headers = Headers::find(&packet).ok()?;
    if headers.first_fragment {
        return None;
    }
    let tcp = headers.read_tcp(&packet)?;
    let is_answer =
        tcp.flags & (flags::SYN | flags::ACK | flags::RST | flags::FIN) == flags::SYN | flags::ACK;
    if !is_answer && tcp.flags & flags::RST == 0 {
        return None;
    }
    let service = Service::of_port(tcp.source)?;
    let headers = headers.forget(&packet);
    let flow = headers.read_flow(&packet, &tcp)?.reversed().forget(&packet);
    let listener = listeners::find(&flow)?;
    let hash = flow.hash();
    if is_answer {
        answer(
            context, &packet, &headers, &tcp, &service, &flow, hash, listener,
        );
    } else if service.is_validating() {
        reset(context, &tcp, &service, &flow, hash, listener);
    }
    Some(())
}

/// The stack answers a SYN.
#[inline(always)]
#[allow(
    clippy::too_many_arguments,
    reason = "inlined; a struct of references would live on the stack"
)]
fn answer(
    context: &TcContext,
    packet: &Packet<'_>,
    headers: &Headers,
    tcp: &Tcp,
    service: &Service,
    flow: &Flow,
    hash: u32,
    listener: *mut Listener,
) {
    // SAFETY: a map value.
    let listener_flags = unsafe { (*listener).flags };
    if listener_flags & listener_flags::PROOF == 0 {
        return;
    }
    let now = clock::now_ns();
    if service.state() == State::Observing && !is_known(flow, hash, now) {
        // Only what is answered is half-open.
        let sequence = tcp.acknowledgement.wrapping_sub(1);
        observe::handle(service, flow, hash, sequence, now);
    }
    match whose(context, packet, headers, tcp, flow) {
        Whose::Listeners => {}
        // A cookie does not tell the listener from a transparent proxy's.
        Whose::Cookie if !standing::is_elsewhere(listener) => {}
        Whose::Others => return standing::led_elsewhere(listener),
        Whose::Cookie | Whose::Unknown => return,
    }
    let class = headers.read_traffic_class(packet) & DSCP;
    let ttl = if headers.ipv6 {
        packet.chunk::<8>(headers.ip).map(|header| header.u8::<7>())
    } else {
        packet.chunk::<9>(headers.ip).map(|header| header.u8::<8>())
    };
    let option = packet.chunk::<4>(headers.tcp + TCP);
    if let (Some(ttl), Some(option)) = (ttl, option)
        && tcp.length > TCP
        && option.u16::<0>() == MSS_OPTION
    {
        let for_client = listeners::for_client(flow, listener, listener_flags);
        standing::answered(for_client, option.u16::<2>(), ttl, class);
    }
    standing::proved(listener, now);
}

/// Whether a SYN-ACK was sent before.
#[inline(always)]
fn is_known(flow: &Flow, hash: u32, now: u64) -> bool {
    filters::may_be_half_open(hash)
        && half_open::find(flow).is_some_and(|known| known.ends_ns > now)
}

/// Who answers a SYN.
#[derive(Clone, Copy)]
enum Whose {
    /// The listener that a look-up finds for the flow: one on its address and port.
    Listeners,
    /// The stack, with a cookie of its own for the flow.
    Cookie,
    /// A listener elsewhere: the port is redirected, or a transparent proxy's.
    Others,
    /// Nobody knows.
    Unknown,
}

/// Whose answer a SYN-ACK is.
#[inline(always)]
fn whose(
    context: &TcContext,
    packet: &Packet<'_>,
    headers: &Headers,
    tcp: &Tcp,
    flow: &Flow,
) -> Whose {
    // SAFETY: a field of the program's own context; the kernel tells whether it is null.
    let request = unsafe { (*context.skb.skb).__bindgen_anon_2.sk };
    if request.is_null() {
        // With a cookie of the stack's own there is no request.
        return if has_window(packet, headers) && kernel_cookie::is_of_flow(tcp, flow) {
            Whose::Cookie
        } else {
            Whose::Unknown
        };
    }
    // SAFETY: a socket.
    if unsafe { (*request).src_port } != u32::from(flow.local_port) {
        return Whose::Others;
    }
    // SAFETY: as above.
    if !unsafe { is_to_client(request, flow) } {
        return Whose::Others;
    }
    // SAFETY: as above; what it returns is null or a listener, and need not be given back.
    let listener: *mut bpf_sock = unsafe { bpf_get_listener_sock(request) };
    if listener.is_null() {
        return Whose::Unknown;
    }
    // SAFETY: not null.
    let is_there = unsafe {
        if (*listener).src_port != u32::from(flow.local_port) {
            false
        } else if flow.local.is_ipv4() {
            let bound = (*listener).src_ip4;
            bound == 0 || bound == flow.local.0[3]
        } else {
            let [a, b, c, d] = (*listener).src_ip6;
            let [w, x, y, z] = flow.local.0;
            (a | b | c | d) == 0 || (a == w && b == x && c == y && d == z)
        }
    };
    if is_there {
        Whose::Listeners
    } else {
        Whose::Others
    }
}

/// Whether a request is the client's of the wire: not where NAT gives the stack another
/// source (`type nat hook input`).
///
/// # Safety
/// `request` must be a socket.
#[inline(always)]
unsafe fn is_to_client(request: *mut bpf_sock, flow: &Flow) -> bool {
    let [w, x, y, z] = flow.remote.0;
    // SAFETY: by the caller's word. The port stands as in a header.
    unsafe {
        if u16::from_be((*request).dst_port) != flow.remote_port {
            return false;
        }
        if flow.remote.is_ipv4() {
            return (*request).dst_ip4 == z;
        }
        let [a, b, c, d] = (*request).dst_ip6;
        (a ^ w) | (b ^ x) | (c ^ y) | (d ^ z) == 0
    }
}

/// Whether a SYN-ACK offers a window. One that SYNPROXY makes, with a cookie of the same
/// kind, does not (`synproxy_send_client_synack`, Linux 6.18).
#[inline(always)]
fn has_window(packet: &Packet<'_>, headers: &Headers) -> bool {
    packet
        .chunk::<TCP>(headers.tcp)
        .is_some_and(|header| header.u16::<14>() != 0)
}

/// The stack resets a flow. It does so with a socket of its own; a program that resets its
/// connection does it with the connection's.
#[inline(always)]
fn reset(
    context: &TcContext,
    tcp: &Tcp,
    service: &Service,
    flow: &Flow,
    hash: u32,
    listener: *mut Listener,
) {
    // SAFETY: a field of the program's own context.
    let socket = unsafe { (*context.skb.skb).__bindgen_anon_2.sk };
    // SAFETY: a socket, where it is not null.
    if !socket.is_null() && unsafe { (*socket).src_port } == u32::from(flow.local_port) {
        return;
    }
    // What an ACK is answered with goes on where the ACK says (RFC 9293 section 3.5.2).
    if handed::is_waiting(hash, tcp.sequence.wrapping_sub(1)) {
        standing::lost(listener, &flow.local, service.slot, clock::now_ns());
    }
}
