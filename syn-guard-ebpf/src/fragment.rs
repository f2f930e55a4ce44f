//! First fragments: a SYN in pieces would pass XDP unseen and be put together
//! behind it.

use syn_guard_common::abi::{Reason, State};
use syn_guard_common::flow::Flow;
use syn_guard_common::wire::{Frame as _, Headers, Tcp, flags};

use crate::frame::Packet;
use crate::listeners;
use crate::state::Service;

/// Bytes of a TCP header up to its flags.
const UP_TO_FLAGS: usize = 14;

/// Decides about the first fragment of a segment.
#[inline(always)]
pub fn handle(packet: &Packet<'_>, headers: &Headers) -> Reason {
    match begins_syn(packet, &headers.forget(packet)) {
        Some(true) => Reason::FragmentedSyn,
        _ => Reason::Fragment,
    }
}

/// Whether it begins a SYN to a listener that protects, or is too short to
/// tell. No sender makes its first fragment that short.
#[inline(always)]
fn begins_syn(packet: &Packet<'_>, headers: &Headers) -> Option<bool> {
    if headers.segment_length < 4 {
        return None;
    }
    let ports = packet.chunk::<4>(headers.tcp)?;
    let tcp = Tcp {
        source: ports.u16::<0>(),
        destination: ports.u16::<2>(),
        sequence: 0,
        acknowledgement: 0,
        length: 0,
        flags: 0,
    };
    let service = Service::of_port(tcp.destination)?;
    if service.state() != State::Protecting {
        return None;
    }
    if headers.segment_length >= UP_TO_FLAGS {
        let flags = packet.chunk::<UP_TO_FLAGS>(headers.tcp)?.u8::<13>();
        if flags & (flags::SYN | flags::ACK | flags::RST | flags::FIN) != flags::SYN {
            return None;
        }
    }
    let flow: Flow = headers.read_flow(packet, &tcp)?.forget(packet);
    Some(listeners::find(&flow).is_some())
}
