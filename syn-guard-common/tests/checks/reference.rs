//! What etherparse says of a frame, and a plain reading of TCP options.

use core::net::{IpAddr, SocketAddr};

use etherparse::checksum::Sum16BitWords;
use etherparse::err::ipv6_exts::HeaderError;
use etherparse::err::packet::SliceError;
use etherparse::{
    EtherType, Ipv6ExtensionSlice, LinkExtSlice, LinkSlice, NetSlice, SlicedPacket,
    TcpOptionElement, TransportSlice,
};
use syn_guard_common::wire::{Options, found};

/// A frame as etherparse sees it.
#[derive(Debug)]
pub enum Reference {
    /// A whole TCP segment.
    Segment(Box<Segment>),
    /// No whole TCP segment.
    Other,
    /// Headers that etherparse refuses and the guard follows, as the kernel
    /// does: a hop-by-hop header that is not the first, an authentication
    /// header without content.
    Strict,
}

/// A TCP segment as etherparse sees it.
#[derive(Debug)]
pub struct Segment {
    /// Who sent it.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// Byte 13 of the header.
    pub flags: u8,
    /// The options' bytes.
    pub options: Vec<u8>,
    /// Bytes from the start of the TCP header to the end of the packet.
    pub length: usize,
    /// Where the TCP header stands in the frame.
    pub offset: usize,
    /// TOS or traffic class.
    pub traffic_class: u8,
    /// Whether the checksums of IPv4 and TCP are right; that of TCP may be the
    /// pseudo-header's only.
    pub right_checksums: bool,
    /// Something that the guard does not follow, and why.
    pub beyond: Option<&'static str>,
}

impl Reference {
    /// Reads a frame.
    pub fn of(frame: &[u8]) -> Self {
        let packet = match SlicedPacket::from_ethernet(frame) {
            Ok(packet) => packet,
            Err(SliceError::Ipv6Exts(HeaderError::HopByHopNotAtStart | HeaderError::IpAuth(_))) => {
                return Self::Strict;
            }
            Err(_) => return Self::Other,
        };
        let Some(TransportSlice::Tcp(tcp)) = &packet.transport else {
            return Self::Other;
        };
        let ends: (IpAddr, IpAddr, u8);
        let (mut pseudo, mut header) = (Sum16BitWords::new(), None);
        match &packet.net {
            Some(NetSlice::Ipv4(ip)) => {
                let ip = ip.header();
                ends = (
                    ip.source_addr().into(),
                    ip.destination_addr().into(),
                    ip.slice()[1],
                );
                pseudo = pseudo.add_4bytes(ip.source()).add_4bytes(ip.destination());
                header = Some(Sum16BitWords::new().add_slice(ip.slice()));
            }
            Some(NetSlice::Ipv6(ip)) => {
                let ip = ip.header();
                ends = (
                    ip.source_addr().into(),
                    ip.destination_addr().into(),
                    ip.traffic_class(),
                );
                pseudo = pseudo
                    .add_16bytes(ip.source())
                    .add_16bytes(ip.destination());
            }
            _ => return Self::Other,
        }
        let (source, destination, traffic_class) = ends;
        let length = tcp.slice().len() as u32;
        pseudo = pseudo.add_2bytes([0, 6]).add_4bytes(length.to_be_bytes());
        let right = |sum: Sum16BitWords| sum.ones_complement() == 0;
        let left_to_the_card = !pseudo.ones_complement().to_be();
        let right_checksums = header.is_none_or(right)
            && (tcp.checksum() == left_to_the_card || right(pseudo.add_slice(tcp.slice())));
        Self::Segment(Box::new(Segment {
            source: SocketAddr::new(source, tcp.source_port()),
            destination: SocketAddr::new(destination, tcp.destination_port()),
            sequence: tcp.sequence_number(),
            acknowledgement: tcp.acknowledgment_number(),
            flags: [
                (tcp.fin(), 0x01),
                (tcp.syn(), 0x02),
                (tcp.rst(), 0x04),
                (tcp.psh(), 0x08),
                (tcp.ack(), 0x10),
                (tcp.urg(), 0x20),
                (tcp.ece(), 0x40),
                (tcp.cwr(), 0x80),
            ]
            .iter()
            .map(|(set, bit)| if *set { *bit } else { 0 })
            .sum(),
            options: tcp.options().to_vec(),
            length: tcp.slice().len(),
            offset: tcp.slice().as_ptr() as usize - frame.as_ptr() as usize,
            traffic_class,
            right_checksums,
            beyond: beyond(&packet),
        }))
    }
}

/// What of a packet the guard does not follow on purpose (README, Limits).
fn beyond(packet: &SlicedPacket<'_>) -> Option<&'static str> {
    let mut kinds = Vec::new();
    if let Some(LinkSlice::Ethernet2(ethernet)) = &packet.link {
        kinds.push(ethernet.ether_type());
    }
    for tag in &packet.link_exts {
        match tag {
            LinkExtSlice::Vlan(tag) => kinds.push(tag.ether_type()),
            LinkExtSlice::Macsec(_) => return Some("MACsec"),
        }
    }
    if packet.link_exts.len() > 2 {
        return Some("three VLAN tags");
    }
    if kinds.contains(&EtherType::VLAN_DOUBLE_TAGGED_FRAME) {
        return Some("a tag of kind 0x9100");
    }
    match &packet.net {
        Some(NetSlice::Ipv4(ip)) if ip.extensions().auth.is_some() => Some("AH over IPv4"),
        Some(NetSlice::Ipv6(ip)) => {
            let mapped = |address: core::net::Ipv6Addr| address.to_ipv4_mapped().is_some();
            if ip.header().payload_length() == 0 {
                Some("a jumbogram")
            } else if mapped(ip.header().source_addr()) || mapped(ip.header().destination_addr()) {
                Some("a mapped address")
            } else if ip.extensions().clone().into_iter().any(|extension| {
                matches!(extension, Ipv6ExtensionSlice::Routing(header) if header.slice().get(3) != Some(&0))
            }) {
                Some("a routing header with segments left")
            } else if ip.extensions().clone().into_iter().count() > 6 {
                Some("more than six extension headers")
            } else {
                None
            }
        }
        _ => None,
    }
}

/// The options by the words of RFC 9293 section 3.1, one after the other, the
/// last of a kind counting, up to the first that is broken.
pub fn options(mut bytes: &[u8]) -> Options {
    let mut options = Options::default();
    loop {
        match *bytes {
            [] | [0, ..] => return options,
            [1, ref rest @ ..] => bytes = rest,
            [kind, size, ..] if size >= 2 && usize::from(size) <= bytes.len() => {
                let (option, rest) = bytes.split_at(usize::from(size));
                let word = |at: usize| {
                    u32::from_be_bytes([option[at], option[at + 1], option[at + 2], option[at + 3]])
                };
                match (kind, size) {
                    (2, 4) => options.mss = u16::from_be_bytes([option[2], option[3]]),
                    (3, 3) => {
                        options.found |= found::SCALE;
                        options.scale = option[2];
                    }
                    (4, 2) => options.found |= found::SACK,
                    (8, 10) => {
                        options.found |= found::TIMESTAMPS;
                        options.value = word(2);
                        options.echo = word(6);
                    }
                    (19, 18) => options.found |= found::MD5,
                    (29, _) => options.found |= found::AUTHENTICATION,
                    _ => {}
                }
                bytes = rest;
            }
            _ => return options,
        }
    }
}

/// The options by etherparse, if it knows all of them.
pub fn known_options(bytes: &[u8]) -> Option<Options> {
    let mut options = Options::default();
    for element in etherparse::TcpOptionsIterator::from_slice(bytes) {
        match element.ok()? {
            TcpOptionElement::MaximumSegmentSize(mss) => options.mss = mss,
            TcpOptionElement::WindowScale(scale) => {
                options.found |= found::SCALE;
                options.scale = scale;
            }
            TcpOptionElement::SelectiveAcknowledgementPermitted => options.found |= found::SACK,
            TcpOptionElement::Timestamp(value, echo) => {
                options.found |= found::TIMESTAMPS;
                options.value = value;
                options.echo = echo;
            }
            TcpOptionElement::Noop | TcpOptionElement::SelectiveAcknowledgement(..) => {}
        }
    }
    Some(options)
}
