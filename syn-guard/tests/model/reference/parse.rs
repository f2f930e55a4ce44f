//! Finding the headers of a frame.

use std::net::{IpAddr, Ipv6Addr};

use etherparse::{
    Ethernet2HeaderSlice, IpNumber, Ipv4HeaderSlice, Ipv6HeaderSlice, SingleVlanHeaderSlice,
    TcpHeaderSlice,
};
use syn_guard_common::abi::Reason;

/// Extension headers that are followed at most.
const MAX_EXTENSIONS: usize = 6;

/// A frame as the program gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// All of it.
    pub bytes: Vec<u8>,
    /// How much of it stands in the first buffer, the only one that the
    /// program reads.
    pub linear: usize,
}

impl Frame {
    /// What the program can read.
    pub fn readable(&self) -> &[u8] {
        &self.bytes[..self.linear]
    }
}

/// Where things are in a frame with TCP.
#[derive(Clone, Debug)]
pub struct Located {
    pub destination_mac: [u8; 6],
    pub source_mac: [u8; 6],
    /// Ethernet header and tags, as they stand.
    pub ip_at: usize,
    pub tags: usize,
    pub source: IpAddr,
    pub destination: IpAddr,
    /// TOS or traffic class.
    pub traffic_class: u8,
    pub tcp_at: usize,
    /// Bytes of TCP header and data, by the IP header.
    pub segment: usize,
    /// More fragments follow.
    pub first_fragment: bool,
}

/// The fixed part of a TCP header.
#[derive(Clone, Debug)]
pub struct Tcp {
    pub source: u16,
    pub destination: u16,
    pub sequence: u32,
    pub syn: bool,
    pub ack: bool,
    pub rst: bool,
    pub fin: bool,
    pub ece: bool,
    pub cwr: bool,
    /// Any of the four bits between data offset and flags.
    pub reserved: bool,
    /// Bytes of the header.
    pub length: usize,
}

/// Finds the TCP header, or says what the frame is instead.
pub fn locate(frame: &Frame) -> Result<Located, Reason> {
    let bytes = frame.readable();
    let ethernet = Ethernet2HeaderSlice::from_slice(bytes).map_err(|_| Reason::Unknown)?;
    let mut kind = ethernet.ether_type().0;
    let mut ip_at = 14;
    let mut tags = 0;
    while is_tag(kind) {
        if tags == 2 {
            return Err(Reason::Unknown);
        }
        let tag =
            SingleVlanHeaderSlice::from_slice(&bytes[ip_at..]).map_err(|_| Reason::Unknown)?;
        kind = tag.ether_type().0;
        ip_at += 4;
        tags += 1;
    }
    let mut located = Located {
        destination_mac: ethernet.destination(),
        source_mac: ethernet.source(),
        ip_at,
        tags,
        source: Ipv6Addr::UNSPECIFIED.into(),
        destination: Ipv6Addr::UNSPECIFIED.into(),
        traffic_class: 0,
        tcp_at: 0,
        segment: 0,
        first_fragment: false,
    };
    match kind {
        0x0800 => ipv4(frame, &mut located)?,
        0x86dd => ipv6(frame, &mut located)?,
        _ => return Err(Reason::NotTcp),
    }
    Ok(located)
}

fn is_tag(kind: u16) -> bool {
    kind == 0x8100 || kind == 0x88a8
}

fn ipv4(frame: &Frame, located: &mut Located) -> Result<(), Reason> {
    let at = located.ip_at;
    let Some(fixed) = frame.readable()[at..].first_chunk::<20>() else {
        return Err(Reason::Unknown);
    };
    if fixed[9] != IpNumber::TCP.0 {
        return Err(Reason::NotTcp);
    }
    // etherparse wants the options too, which may be in another buffer.
    let header_length = usize::from(fixed[0] & 0xf) * 4;
    let mut without_options = *fixed;
    without_options[0] = (fixed[0] & 0xf0) | 5;
    let Ok(header) = Ipv4HeaderSlice::from_slice(&without_options) else {
        return Err(Reason::Unknown);
    };
    let total = usize::from(header.total_len());
    if header_length < 20 || total < header_length || frame.bytes.len() < at + total {
        return Err(Reason::Unknown);
    }
    if header.fragments_offset().value() != 0 {
        return Err(Reason::Fragment);
    }
    located.first_fragment = header.more_fragments();
    located.source = header.source_addr().into();
    located.destination = header.destination_addr().into();
    located.traffic_class = fixed[1];
    located.tcp_at = at + header_length;
    located.segment = total - header_length;
    Ok(())
}

fn ipv6(frame: &Frame, located: &mut Located) -> Result<(), Reason> {
    let at = located.ip_at;
    let Ok(header) = Ipv6HeaderSlice::from_slice(&frame.readable()[at..]) else {
        return Err(Reason::Unknown);
    };
    let payload = usize::from(header.payload_length());
    if frame.bytes.len() < at + 40 + payload {
        return Err(Reason::Unknown);
    }
    located.source = header.source_addr().into();
    located.destination = header.destination_addr().into();
    located.traffic_class = header.traffic_class();

    // etherparse stops at headers that are in no right order, or cut short.
    let mut next = header.next_header().0;
    let mut skipped = 0;
    for _ in 0..MAX_EXTENSIONS {
        let rest = frame.readable().get(at + 40 + skipped..).unwrap_or(&[]);
        let byte = |index: usize| rest.get(index).copied().ok_or(Reason::Unknown);
        let length = match next {
            // Hop-by-hop options, routing, destination options.
            // Routing with segments left: it goes on to somebody else.
            43 if byte(3)? != 0 => return Err(Reason::Unknown),
            0 | 43 | 60 => {
                byte(3)?;
                8 * (usize::from(byte(1)?) + 1)
            }
            // Authentication.
            51 => 4 * (usize::from(byte(1)?) + 2),
            // Fragment.
            44 => {
                let offset_and_more = u16::from_be_bytes([byte(2)?, byte(3)?]);
                if offset_and_more >> 3 != 0 {
                    return Err(Reason::Fragment);
                }
                located.first_fragment |= offset_and_more & 1 != 0;
                8
            }
            _ => break,
        };
        next = byte(0)?;
        skipped += length;
    }
    if [0, 43, 44, 51, 60].contains(&next) {
        return Err(Reason::ManyExtensions);
    }
    if next != IpNumber::TCP.0 {
        return Err(Reason::NotTcp);
    }
    if skipped > payload {
        return Err(Reason::Unknown);
    }
    located.tcp_at = at + 40 + skipped;
    located.segment = payload - skipped;
    Ok(())
}

/// The TCP header, if its fixed part is there and its length is possible.
pub fn tcp(frame: &Frame, located: &Located) -> Option<Tcp> {
    let fixed = frame
        .readable()
        .get(located.tcp_at..)?
        .first_chunk::<20>()?;
    let length = usize::from(fixed[12] >> 4) * 4;
    if length < 20 || length > located.segment {
        return None;
    }
    // etherparse wants the options too, which may be in another buffer.
    let mut without_options = *fixed;
    without_options[12] = 0x50 | (fixed[12] & 0xf);
    let header = TcpHeaderSlice::from_slice(&without_options).ok()?;
    Some(Tcp {
        source: header.source_port(),
        destination: header.destination_port(),
        sequence: header.sequence_number(),
        syn: header.syn(),
        ack: header.ack(),
        rst: header.rst(),
        fin: header.fin(),
        ece: header.ece(),
        cwr: header.cwr(),
        reserved: fixed[12] & 0xf != 0,
        length,
    })
}
