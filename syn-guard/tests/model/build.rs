//! Builds frames with TCP, right in everything that is not told otherwise.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use xtask::lab::{CLIENT_MAC, SERVER_IPV4, SERVER_MAC};

use crate::reference::Frame;

/// Flags of TCP.
pub mod flags {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
    pub const URG: u8 = 0x20;
    pub const ECE: u8 = 0x40;
    pub const CWR: u8 = 0x80;
}

/// The tag of a VLAN, and of a provider's.
pub const VLAN: u16 = 0x8100;
pub const PROVIDER_VLAN: u16 = 0x88a8;

/// The options of Linux: MSS 1460, SACK, timestamps, window scale 7.
pub const LINUX: [u8; 20] = [
    2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 1, 2, 3, 0, 0, 0, 0, 1, 3, 3, 7,
];

/// What stands in a checksum field.
#[derive(Clone, Copy, Debug)]
pub enum Checksum {
    Right,
    /// Wrong in these bits.
    Wrong(u16),
    /// Only the pseudo-header's sum, as an offload leaves it.
    Unfinished,
}

/// The packet's fragment fields.
#[derive(Clone, Copy, Debug)]
pub struct Fragment {
    /// In units of 8 bytes.
    pub offset: u16,
    pub more: bool,
}

/// A frame with a SYN, or another segment.
#[derive(Clone, Debug)]
pub struct Segment {
    pub destination_mac: [u8; 6],
    pub source_mac: [u8; 6],
    /// EtherType and tag, outermost first.
    pub tags: Vec<(u16, u16)>,
    /// Another EtherType than the IP version's.
    pub kind: Option<u16>,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub traffic_class: u8,
    pub ttl: u8,
    /// IPv4 without "don't fragment" by default; in IPv6 a header of its own,
    /// behind the others.
    pub fragment: Option<Fragment>,
    /// IPv4 options, whole words.
    pub ip_options: Vec<u8>,
    /// IPv6 extension headers: kind, and bytes whose first becomes the next
    /// kind.
    pub extensions: Vec<(u8, Vec<u8>)>,
    /// Another protocol.
    pub protocol: Option<u8>,
    pub version: Option<u8>,
    pub ihl: Option<u8>,
    /// What the IP header's length says more or less than is there.
    pub length_off: i32,
    pub ip_checksum: Checksum,
    pub sequence: u32,
    pub acknowledgement: u32,
    pub data_offset: Option<u8>,
    /// The four bits behind the data offset.
    pub reserved: u8,
    pub flags: u8,
    pub tcp_checksum: Checksum,
    /// Padded to whole words.
    pub options: Vec<u8>,
    pub payload: Vec<u8>,
    /// TCP's bytes are cut to so many, before lengths are set.
    pub cut_segment: Option<usize>,
    /// The frame is cut to so many bytes, after everything.
    pub cut_frame: Option<usize>,
    /// Bytes behind the packet.
    pub trailer: Vec<u8>,
    /// Bytes of the first buffer.
    pub linear: Option<usize>,
}

impl Segment {
    /// A SYN from Linux.
    pub fn syn(source: SocketAddr, destination: SocketAddr) -> Self {
        Self {
            destination_mac: SERVER_MAC,
            source_mac: CLIENT_MAC,
            tags: Vec::new(),
            kind: None,
            source,
            destination,
            traffic_class: 0,
            ttl: 64,
            fragment: None,
            ip_options: Vec::new(),
            extensions: Vec::new(),
            protocol: None,
            version: None,
            ihl: None,
            length_off: 0,
            ip_checksum: Checksum::Right,
            sequence: 0x1234_5678,
            acknowledgement: 0,
            data_offset: None,
            reserved: 0,
            flags: flags::SYN,
            tcp_checksum: Checksum::Right,
            options: LINUX.to_vec(),
            payload: Vec::new(),
            cut_segment: None,
            cut_frame: None,
            trailer: Vec::new(),
            linear: None,
        }
    }

    /// A SYN from somebody to the server's IPv4 address.
    pub fn to_port(port: u16) -> Self {
        Self::syn(
            (Ipv4Addr::new(10, 200, 3, 4), 40_000).into(),
            (SERVER_IPV4, port).into(),
        )
    }

    /// The frame.
    pub fn build(&self) -> Frame {
        let mut bytes = [self.destination_mac, self.source_mac].concat();
        for (kind, tag) in &self.tags {
            bytes.extend(kind.to_be_bytes());
            bytes.extend(tag.to_be_bytes());
        }
        let ipv6 = self.destination.is_ipv6();
        let kind = self.kind.unwrap_or(if ipv6 { 0x86dd } else { 0x0800 });
        bytes.extend(kind.to_be_bytes());
        let segment = self.segment();
        if ipv6 {
            self.ipv6(&mut bytes, &segment);
        } else {
            self.ipv4(&mut bytes, &segment);
        }
        bytes.extend(&self.trailer);
        if let Some(length) = self.cut_frame {
            bytes.truncate(length.max(14));
        }
        let linear = self.linear.unwrap_or(bytes.len()).clamp(14, bytes.len());
        Frame { bytes, linear }
    }

    fn segment(&self) -> Vec<u8> {
        let mut options = self.options.clone();
        options.truncate(40);
        options.resize(options.len().next_multiple_of(4), 0);
        let words = 5 + options.len() / 4;
        let mut bytes = Vec::new();
        bytes.extend(self.source.port().to_be_bytes());
        bytes.extend(self.destination.port().to_be_bytes());
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.acknowledgement.to_be_bytes());
        let offset = self.data_offset.unwrap_or(words as u8);
        bytes.push(offset << 4 | self.reserved & 0xf);
        bytes.push(self.flags);
        bytes.extend(64_240_u16.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(options);
        bytes.extend(&self.payload);
        let pseudo = self.pseudo_header(bytes.len());
        let checksum = match self.tcp_checksum {
            Checksum::Right => !sum(&[&pseudo, &bytes]),
            Checksum::Wrong(bits) => !sum(&[&pseudo, &bytes]) ^ bits,
            Checksum::Unfinished => sum(&[&pseudo]),
        };
        bytes[16..18].copy_from_slice(&checksum.to_be_bytes());
        if let Some(length) = self.cut_segment {
            bytes.truncate(length);
        }
        bytes
    }

    fn pseudo_header(&self, length: usize) -> Vec<u8> {
        let mut pseudo = Vec::new();
        for address in [self.source.ip(), self.destination.ip()] {
            match address {
                IpAddr::V4(address) => pseudo.extend(address.octets()),
                IpAddr::V6(address) => pseudo.extend(address.octets()),
            }
        }
        pseudo.extend((length as u32).to_be_bytes());
        pseudo.extend([0, 0, 0, 6]);
        pseudo
    }

    fn ipv4(&self, frame: &mut Vec<u8>, segment: &[u8]) {
        let (IpAddr::V4(source), IpAddr::V4(destination)) =
            (self.source.ip(), self.destination.ip())
        else {
            panic!("both addresses are of one family");
        };
        let length = 20 + self.ip_options.len();
        let total = (length + segment.len()) as i32 + self.length_off;
        let mut header = vec![0; 20];
        let ihl = self.ihl.unwrap_or((length / 4) as u8);
        header[0] = self.version.unwrap_or(4) << 4 | ihl & 0xf;
        header[1] = self.traffic_class;
        header[2..4].copy_from_slice(&(total as u16).to_be_bytes());
        header[4..6].copy_from_slice(&0x4242_u16.to_be_bytes());
        let fragment = self.fragment.map_or(0x4000, |fragment| {
            fragment.offset & 0x1fff | u16::from(fragment.more) << 13
        });
        header[6..8].copy_from_slice(&fragment.to_be_bytes());
        header[8] = self.ttl;
        header[9] = self.protocol.unwrap_or(6);
        header[12..16].copy_from_slice(&source.octets());
        header[16..20].copy_from_slice(&destination.octets());
        header.extend(&self.ip_options);
        let checksum = match self.ip_checksum {
            Checksum::Right => !sum(&[&header]),
            Checksum::Wrong(bits) => !sum(&[&header]) ^ bits,
            Checksum::Unfinished => 0,
        };
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        frame.extend(header);
        frame.extend(segment);
    }

    fn ipv6(&self, frame: &mut Vec<u8>, segment: &[u8]) {
        let (IpAddr::V6(source), IpAddr::V6(destination)) =
            (self.source.ip(), self.destination.ip())
        else {
            panic!("both addresses are of one family");
        };
        let mut extensions = self.extensions.clone();
        if let Some(fragment) = self.fragment {
            let [high, low] = (fragment.offset << 3 | u16::from(fragment.more)).to_be_bytes();
            extensions.push((44, vec![0, 0, high, low, 0, 0, 0x42, 0x42]));
        }
        let mut next = self.protocol.unwrap_or(6);
        for (kind, bytes) in extensions.iter_mut().rev() {
            bytes[0] = next;
            next = *kind;
        }
        let extensions: Vec<u8> = extensions
            .into_iter()
            .flat_map(|(_, bytes)| bytes)
            .collect();
        let payload = (extensions.len() + segment.len()) as i32 + self.length_off;
        let version = u32::from(self.version.unwrap_or(6) & 0xf);
        let first = version << 28 | u32::from(self.traffic_class) << 20 | 0xa_bcde;
        frame.extend(first.to_be_bytes());
        frame.extend((payload as u16).to_be_bytes());
        frame.extend([next, self.ttl]);
        frame.extend(source.octets());
        frame.extend(destination.octets());
        frame.extend(extensions);
        frame.extend(segment);
    }
}

/// The sum of RFC 1071, folded.
fn sum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for part in parts {
        for pair in part.chunks(2) {
            let high = u32::from(pair[0]) << 8;
            let low = pair.get(1).copied().map_or(0, u32::from);
            sum += high | low;
            sum = (sum & 0xffff) + (sum >> 16);
        }
    }
    sum as u16
}
