//! The decisions, in their order.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use syn_guard_common::abi::{Action, ListKind, Reason, State, listener_flags};

use super::options;
use super::parse::{Frame, Located, Tcp, locate, tcp};
use super::reply::Reply;
use super::terms;
use super::world::{Engine, Flow, HalfOpen, World};

/// The largest segment whose checksum is looked at, bytes.
const MAX_SUMMED: usize = 1536;
/// The first window of a listener is at most this large, bytes.
const WINDOW: u32 = 65_536;

/// What is right for a frame.
#[derive(Clone, Debug)]
pub struct Decision {
    pub reason: Reason,
    /// The answer, where there is one; else the frame stays as it is.
    pub reply: Option<Box<Reply>>,
}

impl From<Reason> for Decision {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            reply: None,
        }
    }
}

impl World {
    /// Decides about a frame and takes note of it.
    pub fn decide(&mut self, frame: &Frame) -> Decision {
        let located = match locate(frame) {
            Ok(located) => located,
            Err(Reason::ManyExtensions) if self.any_protects() => {
                return Reason::TooManyExtensions.into();
            }
            Err(reason) => return reason.into(),
        };
        if located.first_fragment {
            return self.first_fragment(frame, &located).into();
        }
        let Some(tcp) = tcp(frame, &located) else {
            return Reason::Unknown.into();
        };
        let Some(state) = self.services.get(&tcp.destination).map(|it| it.state) else {
            return Reason::NotGuarded.into();
        };
        if is_mapped(located.source) || is_mapped(located.destination) {
            return Reason::Unknown.into();
        }
        let flow = Flow {
            remote: SocketAddr::new(located.source, tcp.source),
            local: SocketAddr::new(located.destination, tcp.destination),
        };
        if !tcp.syn || tcp.ack || tcp.rst || tcp.fin {
            let reason = self.without_syn(&flow, &tcp);
            if reason.action() == Action::Pass {
                self.segment(&flow, &tcp);
            }
            return reason.into();
        }
        if state == State::Off {
            return Reason::NotGuarded.into();
        }
        self.count(tcp.destination, |counts| counts.syns += 1);
        let list = self.list_of(located.source);
        if list == Some(ListKind::Allow) {
            self.count(tcp.destination, |counts| counts.allowed += 1);
            return self.syn_passes(&flow, Reason::Allowed);
        }
        let Some(entry) = self.entry(located.destination, tcp.destination, located.source) else {
            return self.syn_passes(&flow, Reason::NoListener);
        };
        if !self.own_macs.contains(&located.destination_mac) {
            return Reason::OtherHost.into();
        }
        if list == Some(ListKind::Deny) {
            self.count(tcp.destination, |counts| counts.denied += 1);
            return Reason::Denied.into();
        }
        let protects = state == State::Protecting;
        let invalid = |reason| if protects { reason } else { Reason::Invalid };
        if !may_be_client(located.source)
            || located.source == located.destination
            || located.source_mac[0] & 1 != 0
        {
            return invalid(Reason::BadSource).into();
        }
        if !checksums_are_right(frame, &located) {
            return invalid(Reason::BadChecksum).into();
        }
        if protects && let Some(limit) = self.over {
            return limit.into();
        }
        if !protects && !self.observe(&flow, &tcp) {
            return self.syn_passes(&flow, Reason::Observed);
        }

        let listener = entry.listener;
        if listener.flags & listener_flags::NO_COOKIES != 0 || located.tags > 1 {
            return self.syn_passes(&flow, Reason::Unanswerable);
        }
        if listener.full_until_ns != 0 {
            // In this test it is full for ever, or not at all.
            return self.syn_passes(&flow, Reason::AcceptQueueFull);
        }
        if self.connections.contains(&flow) {
            return self.syn_passes(&flow, Reason::KnownConnection);
        }
        if !entry.alive {
            return self.syn_passes(&flow, Reason::NoListener);
        }
        let offer = options::read(frame, &located, &tcp);
        let signed = (offer.md5 && self.knows_md5) || (offer.ao && self.knows_ao);
        let closed = listener.flags & listener_flags::CLOSED != 0;
        if signed || closed || located.tcp_at + located.segment > frame.linear {
            return self.syn_passes(&flow, Reason::Unanswerable);
        }
        let asks_for_ecn = tcp.ece && tcp.cwr && (located.traffic_class & 3 == 0 || tcp.reserved);
        let mut granted = terms::grant(&offer, asks_for_ecn, listener.flags);
        if self.engine == Engine::Kernel && granted.timestamp_bits.is_none() {
            // The kernel's cookies carry nothing but an MSS.
            granted.sack = false;
            granted.scaling = false;
        }
        let reply = Reply {
            link: frame.bytes[..located.ip_at].to_vec(),
            located,
            tcp,
            flow,
            listener,
            granted,
            syn_length: frame.bytes.len(),
            echo: offer.timestamp.unwrap_or(0),
            keys: match self.engine {
                Engine::Reqsk => Some(self.keys),
                Engine::Kernel => None,
            },
        };
        if frame.linear < frame.bytes.len() && reply.length() > frame.linear {
            // Only the first buffer can be written.
            return self.syn_passes(&flow, Reason::Unanswerable);
        }
        self.count(flow.local.port(), |counts| counts.cookies_sent += 1);
        self.cookie_sent(&flow);
        Decision {
            reason: Reason::CookieSent,
            reply: Some(Box::new(reply)),
        }
    }

    fn any_protects(&self) -> bool {
        let mut services = self.services.values();
        services.any(|service| service.state == State::Protecting)
    }

    /// Only a SYN to a listener that protects, or to any from a denied prefix, may
    /// not come in pieces.
    fn first_fragment(&mut self, frame: &Frame, located: &Located) -> Reason {
        let byte = |index: usize| frame.readable().get(located.tcp_at + index).copied();
        let (Some(high), Some(low)) = (byte(2), byte(3)) else {
            return Reason::Fragment;
        };
        if located.segment < 4 {
            return Reason::Fragment;
        }
        let port = u16::from_be_bytes([high, low]);
        let syn = if located.segment < 14 {
            // Nobody can tell, and no sender makes so short ones.
            true
        } else {
            // FIN, SYN, RST and ACK. In another buffer nobody can tell, too,
            // but that is not the sender's doing.
            byte(13).is_some_and(|flags| flags & 0b1_0111 == 0b0_0010)
        };
        let Some(state) = self.services.get(&port).map(|service| service.state) else {
            return Reason::Fragment;
        };
        let mapped = is_mapped(located.source) || is_mapped(located.destination);
        let own = self.listeners.contains_key(&(located.destination, port, 0))
            && self.own_macs.contains(&located.destination_mac);
        // From a mapped address the stack takes nothing.
        if !syn || !own || mapped || state == State::Off {
            return Reason::Fragment;
        }
        match self.list_of(located.source) {
            Some(ListKind::Allow) => Reason::Fragment,
            Some(ListKind::Deny) => {
                self.count(port, |counts| counts.denied += 1);
                Reason::Denied
            }
            None if state == State::Protecting => Reason::FragmentedSyn,
            None => Reason::Fragment,
        }
    }

    /// What is no SYN may end a half-open connection.
    fn segment(&mut self, flow: &Flow, tcp: &Tcp) {
        if tcp.syn || !(tcp.ack || tcp.rst) {
            return;
        }
        let Some(found) = self.half_open.get(flow).copied() else {
            return;
        };
        let expected = found.sequence.wrapping_add(1);
        if tcp.sequence.wrapping_sub(expected) >= WINDOW {
            return;
        }
        self.half_open.remove(flow);
        let reset = tcp.rst;
        self.count(found.port, |counts| {
            if reset {
                counts.reset += 1;
            } else {
                counts.completed += 1;
            }
        });
    }

    /// An ACK of no connection is a stray one, unless a cookie went to its flow, or
    /// may have gone. Then the TC program looks at it; where the kernel makes the cookies, XDP
    /// drops what would be answered with RST. No generated segment carries a
    /// cookie of the kernel's.
    fn without_syn(&self, flow: &Flow, tcp: &Tcp) -> Reason {
        let looked_at = tcp.ack && !tcp.syn && !tcp.rst;
        let service = self.services.get(&flow.local.port());
        let validates = service.is_some_and(|it| it.validating && it.state != State::Off);
        let key = (flow.local.ip(), flow.local.port(), 0);
        let listens = self.listeners.get(&key).is_some_and(|entry| entry.alive);
        if !looked_at || !validates || !listens || self.connections.contains(flow) {
            return Reason::Segment;
        }
        match self.engine {
            _ if !self.may_have_cookie(flow) => Reason::StrayAck,
            Engine::Reqsk => Reason::Segment,
            Engine::Kernel => Reason::NoCookie,
        }
    }

    /// The stack may answer with a cookie of its own.
    fn syn_passes(&mut self, flow: &Flow, reason: Reason) -> Decision {
        self.cookie_sent(flow);
        reason.into()
    }

    fn cookie_sent(&mut self, flow: &Flow) {
        let (cell, bits) = (self.filtered_as)(flow);
        self.cookies_sent.entry(cell).or_default().insert(bits);
    }

    /// What the filter says: yes of flows that a cookie may have gone to, and of
    /// some others.
    fn may_have_cookie(&self, flow: &Flow) -> bool {
        let (cell, bits) = (self.filtered_as)(flow);
        let sent = self.cookies_sent.get(&cell);
        sent.is_some_and(|known| known.len() > 1 || known.contains(&bits))
    }

    /// Takes note of a SYN that passes; true when with it the service starts
    /// to protect, and it is answered instead.
    fn observe(&mut self, flow: &Flow, tcp: &Tcp) -> bool {
        let port = tcp.destination;
        if self.half_open.contains_key(flow) {
            self.count(port, |counts| counts.syn_retransmissions += 1);
            return false;
        }
        let limit = self.services.get(&port).and_then(|it| it.limit);
        if limit.is_some_and(|limit| self.half_open_of(port) >= limit)
            && let Some(service) = self.services.get_mut(&port)
        {
            service.state = State::Protecting;
            service.validating = true;
            service.counts.protections += 1;
            return true;
        }
        let entry = HalfOpen {
            sequence: tcp.sequence,
            port,
        };
        self.half_open.insert(*flow, entry);
        self.count(port, |counts| counts.tracked += 1);
        false
    }

    fn count(&mut self, port: u16, count: impl FnOnce(&mut super::Counts)) {
        if let Some(service) = self.services.get_mut(&port) {
            count(&mut service.counts);
        }
    }
}

/// `::ffff:a.b.c.d` in an IPv6 header.
fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some())
}

/// Whether the stack takes packets from this address.
fn may_be_client(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            !address.is_unspecified()
                && !address.is_loopback()
                && !address.is_multicast()
                && address != Ipv4Addr::BROADCAST
        }
        IpAddr::V6(address) => {
            !address.is_unspecified() && !address.is_loopback() && !address.is_multicast()
        }
    }
}

/// The sum of RFC 1071, folded.
fn sum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u64;
    for part in parts {
        for pair in part.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            sum += u64::from(u16::from_be_bytes([pair[0], low]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Whether the checksums are right, as far as they are looked at.
fn checksums_are_right(frame: &Frame, located: &Located) -> bool {
    let bytes = &frame.bytes;
    if located.source.is_ipv4() {
        let length = usize::from(bytes[located.ip_at] & 0xf) * 4;
        let header = &bytes[located.ip_at..located.ip_at + length];
        if sum(&[header]) != 0xffff {
            return false;
        }
    }
    let end = located.tcp_at + located.segment;
    if located.segment > MAX_SUMMED || end > frame.linear {
        return true;
    }
    let segment = &bytes[located.tcp_at..end];
    let mut pseudo = Vec::new();
    for address in [located.source, located.destination] {
        match address {
            IpAddr::V4(address) => pseudo.extend(address.octets()),
            IpAddr::V6(address) => pseudo.extend(address.octets()),
        }
    }
    pseudo.extend((located.segment as u32).to_be_bytes());
    pseudo.extend([0, 0, 0, 6]);
    let unfinished = sum(&[&pseudo]).to_be_bytes();
    sum(&[&pseudo, segment]) == 0xffff || segment[16..18] == unfinished
}
