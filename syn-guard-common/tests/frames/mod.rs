//! Frames of every shape, built with etherparse.

#![allow(dead_code, reason = "not everybody uses all of it")]

use etherparse::{
    EtherType, Ethernet2Header, IpAuthHeader, IpNumber, Ipv4Header, Ipv6FlowLabel,
    Ipv6FragmentHeader, Ipv6Header, Ipv6RawExtHeader, TcpHeader,
};

/// What a frame is built from.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Its tags' kinds, the outermost first.
    pub tags: Vec<u16>,
    /// IP.
    pub ip: Ip,
    /// Source and destination port.
    pub ports: [u16; 2],
    /// Sequence and acknowledgement number.
    pub numbers: [u32; 2],
    /// Byte 13 of the TCP header.
    pub flags: u8,
    /// The TCP options' bytes: a multiple of 4, at most 40.
    pub options: Vec<u8>,
    /// Bytes of data.
    pub payload: usize,
    /// Bytes behind the packet, as short frames have them.
    pub padding: usize,
}

/// An IP header.
#[derive(Clone, Debug)]
pub enum Ip {
    /// IPv4 with addresses and options: a multiple of 4 bytes, at most 40.
    V4([[u8; 4]; 2], Vec<u8>),
    /// IPv6 with addresses and extension headers.
    V6([[u8; 16]; 2], Vec<Extension>),
}

/// An IPv6 extension header.
#[derive(Clone, Copy, Debug)]
pub enum Extension {
    /// Hop-by-hop options, of so many times 8 bytes more than the least.
    HopByHop(u8),
    /// Routing.
    Routing(u8),
    /// Destination options.
    Destination(u8),
    /// A fragment that is all of its packet.
    Atomic,
    /// Authentication, of so many times 4 bytes.
    Authentication(u8),
}

impl Extension {
    fn number(self) -> IpNumber {
        match self {
            Self::HopByHop(_) => IpNumber::IPV6_HEADER_HOP_BY_HOP,
            Self::Routing(_) => IpNumber::IPV6_ROUTE_HEADER,
            Self::Destination(_) => IpNumber::IPV6_DESTINATION_OPTIONS,
            Self::Atomic => IpNumber::IPV6_FRAGMENTATION_HEADER,
            Self::Authentication(_) => IpNumber::AUTHENTICATION_HEADER,
        }
    }

    fn bytes(self, next: IpNumber) -> Vec<u8> {
        match self {
            Self::HopByHop(more) | Self::Routing(more) | Self::Destination(more) => {
                let content = vec![0; 6 + usize::from(more) * 8];
                Ipv6RawExtHeader::new_raw(next, &content)
                    .unwrap()
                    .to_bytes()
                    .to_vec()
            }
            Self::Atomic => Ipv6FragmentHeader::new(next, 0.try_into().unwrap(), false, 7)
                .to_bytes()
                .to_vec(),
            Self::Authentication(words) => {
                let value = vec![0; usize::from(words) * 4];
                IpAuthHeader::new(next, 1, 2, &value)
                    .unwrap()
                    .to_bytes()
                    .to_vec()
            }
        }
    }
}

/// Where the parts of a built frame stand.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    /// The IP header.
    pub ip: usize,
    /// The TCP header.
    pub tcp: usize,
    /// The end of the packet.
    pub end: usize,
}

impl Shape {
    /// A SYN with Linux's options.
    pub fn syn(ip: Ip) -> Self {
        Self {
            tags: Vec::new(),
            ip,
            ports: [40_000, 80],
            numbers: [1_000_000, 0],
            flags: 0x02,
            options: LINUX.to_vec(),
            payload: 0,
            padding: 0,
        }
    }

    /// The frame, and where what stands in it.
    pub fn build(&self) -> (Vec<u8>, Places) {
        let mut tcp = TcpHeader::new(self.ports[0], self.ports[1], self.numbers[0], 64_240);
        tcp.acknowledgment_number = self.numbers[1];
        tcp.set_options_raw(&self.options).unwrap();
        let flag = |bit: u8| self.flags & bit != 0;
        tcp.fin = flag(0x01);
        tcp.syn = flag(0x02);
        tcp.rst = flag(0x04);
        tcp.psh = flag(0x08);
        tcp.ack = flag(0x10);
        tcp.urg = flag(0x20);
        tcp.ece = flag(0x40);
        tcp.cwr = flag(0x80);
        let payload = vec![0x55; self.payload];
        let kind = match self.ip {
            Ip::V4(..) => EtherType::IPV4,
            Ip::V6(..) => EtherType::IPV6,
        };
        let mut kinds: Vec<EtherType> = self.tags.iter().map(|tag| EtherType(*tag)).collect();
        kinds.push(kind);
        let mut frame = Vec::new();
        Ethernet2Header {
            source: [2, 0, 0, 0, 0, 2],
            destination: [2, 0, 0, 0, 0, 1],
            ether_type: kinds[0],
        }
        .write(&mut frame)
        .unwrap();
        for kind in &kinds[1..] {
            frame.extend([0, 5]);
            frame.extend(kind.0.to_be_bytes());
        }
        let ip = frame.len();
        let length = u16::try_from(tcp.header_len() + payload.len()).unwrap();
        match &self.ip {
            Ip::V4([source, destination], options) => {
                let mut header =
                    Ipv4Header::new(length, 64, IpNumber::TCP, *source, *destination).unwrap();
                header.options = options.as_slice().try_into().unwrap();
                header.set_payload_len(usize::from(length)).unwrap();
                tcp.checksum = tcp.calc_checksum_ipv4(&header, &payload).unwrap();
                header.write(&mut frame).unwrap();
            }
            Ip::V6([source, destination], extensions) => {
                let mut headers = Vec::new();
                for (index, extension) in extensions.iter().enumerate() {
                    let next = extensions.get(index + 1);
                    let next = next.map_or(IpNumber::TCP, |next| next.number());
                    headers.extend(extension.bytes(next));
                }
                let first = extensions.first();
                let header = Ipv6Header {
                    traffic_class: 0,
                    flow_label: Ipv6FlowLabel::ZERO,
                    payload_length: length + u16::try_from(headers.len()).unwrap(),
                    next_header: first.map_or(IpNumber::TCP, |first| first.number()),
                    hop_limit: 64,
                    source: *source,
                    destination: *destination,
                };
                tcp.checksum = tcp.calc_checksum_ipv6(&header, &payload).unwrap();
                header.write(&mut frame).unwrap();
                frame.extend(headers);
            }
        }
        let places = Places {
            ip,
            tcp: frame.len(),
            end: frame.len() + usize::from(length),
        };
        tcp.write(&mut frame).unwrap();
        frame.extend(payload);
        frame.resize(places.end + self.padding, 0);
        (frame, places)
    }
}

/// The options of Linux's SYN.
pub const LINUX: [u8; 20] = [
    2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 1, 2, 3, 0, 0, 0, 0, 1, 3, 3, 10,
];
/// The options of Windows' SYN.
pub const WINDOWS: [u8; 12] = [2, 4, 5, 0xb4, 1, 3, 3, 8, 1, 1, 4, 2];
/// The options of macOS' SYN.
pub const MACOS: [u8; 24] = [
    2, 4, 5, 0xb4, 1, 3, 3, 6, 1, 1, 8, 10, 0, 1, 2, 3, 0, 0, 0, 0, 4, 2, 0, 0,
];
