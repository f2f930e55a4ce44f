//! First fragments: a SYN in pieces would pass XDP unseen and be put together
//! behind it.

use syn_guard_common::abi::{ListKind, Reason, State};
use syn_guard_common::flow::Flow;
use syn_guard_common::wire::{Frame as _, Headers, Tcp, flags};

use crate::frame::Packet;
use crate::state::Service;
use crate::{count, listeners, prefixes, validate};

/// Bytes of a TCP header up to its flags.
const UP_TO_FLAGS: usize = 14;

/// Decides about the first fragment of a segment.
#[inline(always)]
pub fn handle(packet: &Packet<'_>, headers: &Headers) -> Reason {
    decide(packet, &headers.forget(packet)).unwrap_or(Reason::Fragment)
}

/// None unless it begins a SYN, or is too short to tell, goes to a listener, and
/// either that protects or it comes from a denied prefix. No sender makes its first
/// fragment that short.
#[inline(always)]
fn decide(packet: &Packet<'_>, headers: &Headers) -> Option<Reason> {
    if headers.segment_length < 4 || validate::is_for_other_host(packet) {
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
    let state = service.state();
    if state == State::Off {
        return None;
    }
    if headers.segment_length >= UP_TO_FLAGS {
        let flags = packet.chunk::<UP_TO_FLAGS>(headers.tcp)?.u8::<13>();
        if flags & (flags::SYN | flags::ACK | flags::RST | flags::FIN) != flags::SYN {
            return None;
        }
    }
    let flow: Flow = headers.read_flow(packet, &tcp)?.forget(packet);
    let list = prefixes::list_of(&flow.remote);
    let is_denied = list == Some(ListKind::Deny);
    if list == Some(ListKind::Allow) || (!is_denied && state != State::Protecting) {
        return None;
    }
    // What is only forwarded is other hosts'.
    listeners::find(&flow)?;
    if is_denied {
        count::service(service.slot, |counters| counters.denied += 1);
        return Some(Reason::Denied);
    }
    Some(Reason::FragmentedSyn)
}
