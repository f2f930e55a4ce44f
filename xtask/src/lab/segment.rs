//! TCP segments as values: written to frames, read from frames.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, bail};
use etherparse::{
    EtherType, Ethernet2Header, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, NetSlice,
    SlicedPacket, TcpHeader, TcpOptionElement, TransportSlice,
};

/// TCP flags; all false by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    missing_docs,
    clippy::struct_excessive_bools,
    reason = "the flags of TCP"
)]
pub struct Flags {
    pub fin: bool,
    pub syn: bool,
    pub rst: bool,
    pub psh: bool,
    pub ack: bool,
    pub ece: bool,
    pub cwr: bool,
}

impl Flags {
    /// Whether it is a SYN-ACK.
    #[must_use]
    pub fn is_syn_ack(self) -> bool {
        self.syn && self.ack && !self.rst && !self.fin
    }
}

/// TCP options of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpOptions {
    /// Maximum segment size in bytes.
    pub mss: Option<u16>,
    /// Window scale, in bits.
    pub window_scale: Option<u8>,
    /// SACK permitted.
    pub sack: bool,
    /// Timestamp value and echo reply.
    pub timestamps: Option<(u32, u32)>,
}

impl TcpOptions {
    /// No options at all.
    pub const NONE: Self = Self {
        mss: None,
        window_scale: None,
        sack: false,
        timestamps: None,
    };
    /// MSS 1460 and window scale 7.
    pub const SHORT: Self = Self {
        mss: Some(1460),
        window_scale: Some(7),
        ..Self::NONE
    };
    /// MSS 1460, SACK, timestamps and window scale 7, as Linux clients send them.
    pub const FULL: Self = Self {
        mss: Some(1460),
        window_scale: Some(7),
        sack: true,
        timestamps: Some((1_000_000, 0)),
    };

    /// In the order and with the padding that Linux uses.
    fn elements(self) -> Vec<TcpOptionElement> {
        use TcpOptionElement::{
            MaximumSegmentSize, Noop, SelectiveAcknowledgementPermitted, Timestamp, WindowScale,
        };
        let mut elements: Vec<_> = self.mss.map(MaximumSegmentSize).into_iter().collect();
        match (self.sack, self.timestamps) {
            (true, Some((value, echo))) => {
                elements.extend([SelectiveAcknowledgementPermitted, Timestamp(value, echo)]);
            }
            (false, Some((value, echo))) => elements.extend([Noop, Noop, Timestamp(value, echo)]),
            (true, None) => elements.extend([Noop, Noop, SelectiveAcknowledgementPermitted]),
            (false, None) => {}
        }
        if let Some(scale) = self.window_scale {
            elements.extend([Noop, WindowScale(scale)]);
        }
        elements
    }
}

/// A TCP segment with what tests look at of its IP header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Sender.
    pub source: SocketAddr,
    /// Receiver.
    pub destination: SocketAddr,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Flags.
    pub flags: Flags,
    /// Window as it stands in the header.
    pub window: u16,
    /// Options.
    pub options: TcpOptions,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// Data.
    pub payload: Vec<u8>,
}

impl Segment {
    /// The Ethernet frame of it, with valid checksums.
    pub fn frame(&self, source_mac: [u8; 6], destination_mac: [u8; 6]) -> Result<Vec<u8>> {
        let mut tcp = TcpHeader::new(
            self.source.port(),
            self.destination.port(),
            self.seq,
            self.window,
        );
        tcp.acknowledgment_number = self.ack;
        tcp.fin = self.flags.fin;
        tcp.syn = self.flags.syn;
        tcp.rst = self.flags.rst;
        tcp.psh = self.flags.psh;
        tcp.ack = self.flags.ack;
        tcp.ece = self.flags.ece;
        tcp.cwr = self.flags.cwr;
        tcp.set_options(&self.options.elements())?;
        let length = u16::try_from(tcp.header_len() + self.payload.len())?;

        let ethernet = |ether_type| Ethernet2Header {
            source: source_mac,
            destination: destination_mac,
            ether_type,
        };
        let mut frame = Vec::with_capacity(54 + usize::from(length));
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut ip = Ipv4Header::new(
                    length,
                    self.ttl,
                    IpNumber::TCP,
                    source.octets(),
                    destination.octets(),
                )?;
                ip.dont_fragment = true;
                tcp.checksum = tcp.calc_checksum_ipv4(&ip, &self.payload)?;
                ethernet(EtherType::IPV4).write(&mut frame)?;
                ip.write(&mut frame)?;
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let ip = Ipv6Header {
                    traffic_class: 0,
                    flow_label: Ipv6FlowLabel::ZERO,
                    payload_length: length,
                    next_header: IpNumber::TCP,
                    hop_limit: self.ttl,
                    source: source.octets(),
                    destination: destination.octets(),
                };
                tcp.checksum = tcp.calc_checksum_ipv6(&ip, &self.payload)?;
                ethernet(EtherType::IPV6).write(&mut frame)?;
                ip.write(&mut frame)?;
            }
            _ => bail!(
                "{} and {} are of different families",
                self.source,
                self.destination
            ),
        }
        tcp.write(&mut frame)?;
        frame.extend_from_slice(&self.payload);
        Ok(frame)
    }

    /// Reads a frame; `None` if it is not TCP. Checksums are not looked at: between local
    /// namespaces they are left to offloads.
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let packet = SlicedPacket::from_ethernet(frame).ok()?;
        let (source, destination, ttl): (IpAddr, IpAddr, u8) = match packet.net? {
            NetSlice::Ipv4(ip) => (
                ip.header().source_addr().into(),
                ip.header().destination_addr().into(),
                ip.header().ttl(),
            ),
            NetSlice::Ipv6(ip) => (
                ip.header().source_addr().into(),
                ip.header().destination_addr().into(),
                ip.header().hop_limit(),
            ),
            NetSlice::Arp(_) => return None,
        };
        let Some(TransportSlice::Tcp(tcp)) = packet.transport else {
            return None;
        };
        let mut options = TcpOptions::NONE;
        for element in tcp.options_iterator().flatten() {
            match element {
                TcpOptionElement::MaximumSegmentSize(mss) => options.mss = Some(mss),
                TcpOptionElement::WindowScale(scale) => options.window_scale = Some(scale),
                TcpOptionElement::SelectiveAcknowledgementPermitted => options.sack = true,
                TcpOptionElement::Timestamp(value, echo) => {
                    options.timestamps = Some((value, echo));
                }
                TcpOptionElement::Noop | TcpOptionElement::SelectiveAcknowledgement(..) => {}
            }
        }
        Some(Self {
            source: SocketAddr::new(source, tcp.source_port()),
            destination: SocketAddr::new(destination, tcp.destination_port()),
            seq: tcp.sequence_number(),
            ack: tcp.acknowledgment_number(),
            flags: Flags {
                fin: tcp.fin(),
                syn: tcp.syn(),
                rst: tcp.rst(),
                psh: tcp.psh(),
                ack: tcp.ack(),
                ece: tcp.ece(),
                cwr: tcp.cwr(),
            },
            window: tcp.window_size(),
            options,
            ttl,
            payload: tcp.payload().to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for (source, destination, length) in [
            ("10.1.2.3:1024", "198.18.0.1:80", 62),
            ("[2001:db8:2000::5]:1024", "[2001:db8:0:1::1]:80", 82),
        ] {
            for (options, more) in [
                (TcpOptions::SHORT, 0),
                (TcpOptions::FULL, 12),
                (TcpOptions::NONE, -8),
            ] {
                let segment = Segment {
                    source: source.parse().unwrap(),
                    destination: destination.parse().unwrap(),
                    seq: 7,
                    ack: 9,
                    flags: Flags {
                        syn: true,
                        ece: true,
                        ..Flags::default()
                    },
                    window: 1000,
                    options,
                    ttl: 61,
                    payload: Vec::new(),
                };
                let frame = segment.frame([1; 6], [2; 6]).unwrap();
                assert_eq!(i64::try_from(frame.len()).unwrap(), length + more);
                assert_eq!(Segment::parse(&frame), Some(segment));
            }
        }
    }
}
