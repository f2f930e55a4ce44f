//! The first look at every frame.

use aya_ebpf::programs::XdpContext;
use syn_guard_common::abi::{Action, ListKind, Reason, State, moment};
use syn_guard_common::flow::Flow;
use syn_guard_common::wire::{Frame as _, Headers, NotASegment, Tcp, flags};

use crate::frame::Packet;
use crate::sources::Standing;
use crate::state::{Service, any_protecting};
use crate::{
    clock, count, filters, fragment, listeners, observe, prefixes, protect, segment, sources,
    standing, stray, validate,
};

/// A SYN to a service.
pub struct Syn {
    /// Where its headers stand.
    pub headers: Headers,
    /// Its TCP header.
    pub tcp: Tcp,
    /// Its connection.
    pub flow: Flow,
    /// The flow's hash.
    pub hash: u32,
    /// `CLOCK_MONOTONIC` nanoseconds, as [`clock::now_ns`] says.
    pub now_ns: u64,
}

/// Decides about a frame.
#[inline(always)]
pub fn handle(context: &XdpContext) -> Reason {
    let packet = Packet::of_xdp(context);
    let headers = match Headers::find(&packet) {
        Ok(headers) => headers,
        Err(NotASegment::NotTcp) => return Reason::NotTcp,
        Err(NotASegment::Unknown) => return Reason::Unknown,
        Err(NotASegment::Fragment) => return Reason::Fragment,
        Err(NotASegment::ManyExtensions) if any_protecting() => return Reason::TooManyExtensions,
        Err(NotASegment::ManyExtensions) => return Reason::ManyExtensions,
    };
    if headers.first_fragment {
        return fragment::handle(&packet, &headers);
    }
    let Some(tcp) = headers.read_tcp(&packet) else {
        return Reason::Unknown;
    };
    let Some(service) = Service::of_port(tcp.destination) else {
        return Reason::NotGuarded;
    };
    let Some(flow) = headers.read_flow(&packet, &tcp) else {
        return Reason::Unknown;
    };
    let hash = flow.hash();
    if tcp.flags & (flags::SYN | flags::ACK | flags::RST | flags::FIN) != flags::SYN {
        let headers = headers.forget(&packet);
        let forgotten = flow.forget(&packet);
        let reason = stray::handle(context, &headers, &tcp, &forgotten, hash, &service);
        if reason.action() == Action::Pass {
            segment::handle(&flow, hash, &tcp, &service);
        }
        return reason;
    }
    // All kinds of frames join here: the verifier follows what comes only once.
    let headers = headers.forget(&packet);
    let flow = flow.forget(&packet);
    let tcp = Tcp {
        length: packet.forget(tcp.length, 63),
        ..tcp
    };
    let state = service.state();
    if state == State::Off {
        return Reason::NotGuarded;
    }
    count::service(service.slot, |counters| counters.syns += 1);
    let list = prefixes::list_of(&flow.remote);
    if list == Some(ListKind::Allow) {
        // Whom the operator trusts is none of the guard's: not answered, not
        // tracked, and in no count that a limit goes by.
        count::service(service.slot, |counters| counters.allowed += 1);
        filters::mark_syn(hash);
        return Reason::Allowed;
    }
    // What is only forwarded is other hosts', whoever sends it.
    let Some(listener) = listeners::find(&flow) else {
        // Somebody may listen of whom the controller has not told yet.
        filters::mark_syn(hash);
        return Reason::NoListener;
    };
    if validate::is_for_other_host(&packet) {
        return Reason::OtherHost;
    }
    if list == Some(ListKind::Deny) {
        count::service(service.slot, |counters| counters.denied += 1);
        return Reason::Denied;
    }
    if let Some(reason) = validate::why_not(&packet, &headers, &flow, state) {
        return reason;
    }
    let protects = state == State::Protecting;
    let now = clock::now_ns();
    match sources::syn(service.slot, &flow, hash, protects, now) {
        Standing::Fine => {}
        Standing::OverSource => return Reason::SourceLimit,
        Standing::OverReplies => return Reason::ReplyLimit,
    }
    if !protects && listeners::needs_proof(listener) {
        // What a firewall may drop is half-open only once the stack has answered, which
        // the program of what leaves the host sees.
        standing::asked(listener, moment(now));
        observe::came_again(&service, &flow, hash, now);
        filters::mark_connection(hash);
        return Reason::Observed;
    }
    if protects || observe::handle(&service, &flow, hash, tcp.sequence, now) {
        let syn = Syn {
            headers,
            tcp,
            flow,
            hash,
            now_ns: now,
        };
        let reason = protect::handle(context, &syn, &service, listener);
        if reason != Reason::CookieSent {
            sources::passed(service.slot, &syn.flow);
        }
        return reason;
    }
    Reason::Observed
}
