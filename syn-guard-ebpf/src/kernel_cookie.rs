//! Cookies of the kernel's own, for the engine that needs no
//! `bpf_sk_assign_tcp_reqsk`.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::{
    bpf_tcp_check_syncookie, bpf_tcp_gen_syncookie, bpf_tcp_raw_check_syncookie_ipv4,
    bpf_tcp_raw_check_syncookie_ipv6, bpf_xdp_load_bytes,
};
use aya_ebpf::programs::XdpContext;
use core::ffi::c_void;
use syn_guard_common::abi::Reason;
use syn_guard_common::flow::Flow;
use syn_guard_common::wire::{Frame as _, Headers, Tcp};

use crate::frame::Packet;
use crate::sockets::Socket;
use crate::state::Service;
use crate::zero::zero;
use crate::{count, filters, handed, listeners, sources, standing};

/// Words that hold a TCP header with all its options, and the bound that the
/// verifier knows of its length.
const TCP_WORDS: usize = 8;

/// The kernel's cookie for a SYN to `listener`; none where the kernel would
/// send none: `net.ipv4.tcp_syncookies` is not 2 and the queue not full, or the
/// accept queue is full.
#[inline(always)]
pub fn make(context: &XdpContext, listener: &Socket, headers: &Headers, tcp: &Tcp) -> Option<u32> {
    let packet = Packet::of_xdp(context);
    let mut header = [zero(); TCP_WORDS];
    // A copy of its own: Linux 6.1's verifier does not learn from the check of
    // one copy what it says of another.
    let length = packet.forget(tcp.length, 63);
    if length < 20 {
        return None;
    }
    // SAFETY: a helper call with the program's own context and a buffer that
    // is longer than the length.
    let result = unsafe {
        bpf_xdp_load_bytes(
            context.as_ptr().cast(),
            headers.tcp as u32,
            header.as_mut_ptr().cast(),
            length as u32,
        )
    };
    if result != 0 {
        return None;
    }
    let (ip, ip_length) = ip_header(&packet, headers)?;
    // SAFETY: a listener that is not yet given back, and headers whose length
    // was checked.
    let cookie = unsafe {
        bpf_tcp_gen_syncookie(
            listener.as_ptr(),
            ip,
            ip_length,
            header.as_mut_ptr().cast(),
            length as u32,
        )
    };
    (cookie >= 0).then_some(cookie as u32)
}

/// Takes note of an ACK with a valid cookie of the kernel's, of which the stack makes a
/// connection, unless it is replayed.
#[inline(always)]
pub fn valid(tcp: &Tcp, flow: &Flow, hash: u32, service: &Service) -> Reason {
    let cookie = tcp.acknowledgement.wrapping_sub(1);
    if handed::is_replayed(hash, cookie) {
        count::service(service.slot, |counters| counters.cookies_rejected += 1);
        return Reason::ReplayedAck;
    }
    handed::over(hash, cookie);
    if let Some(listener) = listeners::find(flow) {
        standing::handed_over(listener);
    }
    filters::remember_completed(hash, cookie);
    sources::completed(service.slot, flow);
    count::service(service.slot, |counters| counters.cookies_validated += 1);
    Reason::CookieValidated
}

/// Whether an ACK carries a cookie of the kernel's.
#[inline(always)]
pub fn check(listener: &Socket, packet: &Packet<'_>, headers: &Headers) -> bool {
    let Some((ip, ip_length)) = ip_header(packet, headers) else {
        return false;
    };
    let Some(tcp) = packet.chunk::<20>(headers.tcp) else {
        return false;
    };
    // SAFETY: a listener that is not yet given back, and headers whose length
    // was checked.
    let result = unsafe {
        bpf_tcp_check_syncookie(
            listener.as_ptr(),
            ip,
            ip_length,
            tcp.as_ptr().cast_mut().cast(),
            20,
        )
    };
    result == 0
}

/// Whether the sequence number of a SYN-ACK is a cookie that the stack takes for this very
/// flow: whoever answers for another port or address, as where a port is redirected, makes
/// it for that one. `flow` is as its client's packets have it.
#[inline(always)]
pub fn is_of_flow(syn_ack: &Tcp, flow: &Flow) -> bool {
    // The ACK that would complete the handshake, as far as the helpers look at it.
    let ports = u32::from(flow.remote_port.to_be()) | (u32::from(flow.local_port.to_be()) << 16);
    let none = || zero() as u32;
    let mut tcp = [
        ports,
        syn_ack.acknowledgement.to_be(),
        syn_ack.sequence.wrapping_add(1).to_be(),
        none(),
        none(),
    ];
    let (remote, local) = (&flow.remote.0, &flow.local.0);
    let result = if flow.remote.is_ipv4() {
        let mut ip = [none(), none(), none(), remote[3], local[3]];
        // SAFETY: headers of the length that the helper reads.
        unsafe { bpf_tcp_raw_check_syncookie_ipv4(ip.as_mut_ptr().cast(), tcp.as_mut_ptr().cast()) }
    } else {
        let mut ip = [
            none(),
            none(),
            remote[0],
            remote[1],
            remote[2],
            remote[3],
            local[0],
            local[1],
            local[2],
            local[3],
        ];
        // SAFETY: as above.
        unsafe { bpf_tcp_raw_check_syncookie_ipv6(ip.as_mut_ptr().cast(), tcp.as_mut_ptr().cast()) }
    };
    result == 0
}

/// The IP header without options, as the helpers want it.
#[inline(always)]
fn ip_header(packet: &Packet<'_>, headers: &Headers) -> Option<(*mut c_void, u32)> {
    if headers.ipv6 {
        let ip = packet.chunk::<40>(headers.ip)?;
        Some((ip.as_ptr().cast_mut().cast(), 40))
    } else {
        let ip = packet.chunk::<20>(headers.ip)?;
        Some((ip.as_ptr().cast_mut().cast(), 20))
    }
}
