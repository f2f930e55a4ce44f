//! SYNs written to frames, and SYN-ACKs taken apart, byte by byte and without
//! the product's own code.

use std::net::{IpAddr, SocketAddr};

use xtask::lab::{CLIENT_MAC, SERVER_MAC};

use crate::syns::Syn;

/// The Ethernet frame of a SYN.
pub fn write(syn: &Syn, source: SocketAddr, service: SocketAddr, sequence: u32) -> Vec<u8> {
    let tcp_length = 20 + syn.options.len() + syn.payload.len();
    let doff = ((20 + syn.options.len()) / 4) as u16;
    let mut tcp = Vec::new();
    tcp.extend_from_slice(&source.port().to_be_bytes());
    tcp.extend_from_slice(&service.port().to_be_bytes());
    tcp.extend_from_slice(&sequence.to_be_bytes());
    tcp.extend_from_slice(&[0; 4]);
    tcp.extend_from_slice(&((doff << 12) | syn.flags).to_be_bytes());
    tcp.extend_from_slice(&syn.window.to_be_bytes());
    tcp.extend_from_slice(&[0; 4]);
    tcp.extend_from_slice(&syn.options);
    tcp.extend_from_slice(&syn.payload);
    let sum = checksum(&[&pseudo_header(source.ip(), service.ip(), tcp_length), &tcp]);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());

    let mut frame = [SERVER_MAC, CLIENT_MAC].concat();
    match (source.ip(), service.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            frame.extend_from_slice(&[8, 0]);
            let mut ip = vec![0x45, syn.tos];
            ip.extend_from_slice(&(20 + tcp_length as u16).to_be_bytes());
            ip.extend_from_slice(&[0x12, 0x34, 0x40, 0, 57, 6, 0, 0]);
            ip.extend_from_slice(&from.octets());
            ip.extend_from_slice(&to.octets());
            let sum = checksum(&[&ip]);
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
            frame.extend_from_slice(&ip);
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            frame.extend_from_slice(&[0x86, 0xdd]);
            let first = (6 << 28) | (u32::from(syn.tos) << 20) | syn.label;
            frame.extend_from_slice(&first.to_be_bytes());
            frame.extend_from_slice(&(tcp_length as u16).to_be_bytes());
            frame.extend_from_slice(&[6, 57]);
            frame.extend_from_slice(&from.octets());
            frame.extend_from_slice(&to.octets());
        }
        _ => panic!("two families"),
    }
    frame.extend_from_slice(&tcp);
    frame
}

/// RFC 1071.
fn checksum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) * 256 + u32::from(*pair.get(1).unwrap_or(&0)))
        .sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

fn pseudo_header(from: IpAddr, to: IpAddr, length: usize) -> Vec<u8> {
    let mut header = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => [from.octets(), to.octets()].concat(),
        (IpAddr::V6(from), IpAddr::V6(to)) => [from.octets(), to.octets()].concat(),
        _ => panic!("two families"),
    };
    header.extend_from_slice(&(length as u32).to_be_bytes());
    header.extend_from_slice(&[0, 0, 0, 6]);
    header
}

/// The options of a SYN-ACK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// SACK permitted.
    pub sack: bool,
    /// TSecr.
    pub echo: Option<u32>,
    /// The window scale.
    pub scale: Option<u8>,
}

/// A SYN-ACK: all of it but what depends on who asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SynAck {
    /// Name and value of each field, in the order of the frame.
    pub fields: Vec<(&'static str, String)>,
    /// Its options, where they are the kernel's usual ones.
    pub options: Answered,
    /// ECE.
    pub ece: bool,
}

/// What a frame is the answer to: the client's address and port.
pub fn client_of(frame: &[u8]) -> Option<SocketAddr> {
    let (to, tcp): (IpAddr, usize) = match (frame.get(12..14)?, frame.get(14)? >> 4) {
        ([8, 0], 4) if *frame.get(23)? == 6 => {
            let octets: [u8; 4] = frame.get(30..34)?.try_into().ok()?;
            (octets.into(), 14 + usize::from(frame[14] & 15) * 4)
        }
        ([0x86, 0xdd], 6) if *frame.get(20)? == 6 => {
            let octets: [u8; 16] = frame.get(38..54)?.try_into().ok()?;
            (octets.into(), 54)
        }
        _ => return None,
    };
    let port: [u8; 2] = frame.get(tcp + 2..tcp + 4)?.try_into().ok()?;
    Some(SocketAddr::new(to, u16::from_be_bytes(port)))
}

/// Takes a frame apart that answers the SYN of that source and sequence
/// number. Whatever depends on these is checked here; the sequence number,
/// TSval and identification are left out.
pub fn read(
    frame: &[u8],
    source: SocketAddr,
    service: SocketAddr,
    sequence: u32,
    by_guard: bool,
) -> SynAck {
    let mut fields = vec![
        ("Ethernet", format!("{:02x?}", &frame[..14])),
        ("frame length", frame.len().to_string()),
    ];
    let ipv4 = source.is_ipv4();
    let tcp_at = if ipv4 {
        let ip = &frame[14..34];
        assert_eq!(checksum(&[ip]), 0, "checksum of the IPv4 header");
        let fragment = u16::from_be_bytes([ip[6], ip[7]]);
        fields.extend([
            ("version and header length", format!("{:#x}", ip[0])),
            ("TOS", format!("{:#04x}", ip[1])),
            (
                "total length",
                u16::from_be_bytes([ip[2], ip[3]]).to_string(),
            ),
            ("fragment field", format!("{fragment:#06x}")),
            ("TTL", ip[8].to_string()),
            ("protocol", ip[9].to_string()),
        ]);
        if fragment & 0x4000 != 0 {
            // No identification of its own where nobody may fragment.
            let id = u16::from_be_bytes([ip[4], ip[5]]);
            fields.push(("identification", id.to_string()));
        }
        let addresses = [&ip[12..16], &ip[16..20]].map(|octets| {
            let octets: [u8; 4] = octets.try_into().unwrap();
            IpAddr::from(octets)
        });
        assert_eq!(addresses, [service.ip(), source.ip()]);
        34
    } else {
        let ip = &frame[14..54];
        let first = u32::from_be_bytes(ip[..4].try_into().unwrap());
        fields.extend([
            ("version", (first >> 28).to_string()),
            ("traffic class", format!("{:#04x}", (first >> 20) & 0xff)),
            ("flow label is 0", (first & 0xf_ffff == 0).to_string()),
            (
                "payload length",
                u16::from_be_bytes([ip[4], ip[5]]).to_string(),
            ),
            ("next header", ip[6].to_string()),
            ("hop limit", ip[7].to_string()),
        ]);
        let addresses = [&ip[8..24], &ip[24..40]].map(|octets| {
            let octets: [u8; 16] = octets.try_into().unwrap();
            IpAddr::from(octets)
        });
        assert_eq!(addresses, [service.ip(), source.ip()]);
        54
    };
    let tcp = &frame[tcp_at..];
    // Between local namespaces the kernel leaves its own to an offload.
    let pseudo = pseudo_header(source.ip(), service.ip(), tcp.len());
    let right = !by_guard || checksum(&[&pseudo, tcp]) == 0;
    fields.push(("checksum is right", right.to_string()));
    let word = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
    assert_eq!((word(0), word(2)), (service.port(), source.port()));
    let acknowledged = u32::from_be_bytes(tcp[8..12].try_into().unwrap());
    fields.extend([
        (
            "acknowledges",
            acknowledged.wrapping_sub(sequence).to_string(),
        ),
        ("data offset", (tcp[12] >> 4).to_string()),
        ("flags", format!("{:#05x}", word(12) & 0xfff)),
        ("window", word(14).to_string()),
        ("urgent pointer", word(18).to_string()),
    ]);
    let end = usize::from(tcp[12] >> 4) * 4;
    let mut bytes = tcp[20..end].to_vec();
    let options = options(&mut bytes);
    fields.push(("options", format!("{bytes:02x?}")));
    fields.push(("data", format!("{:02x?}", &tcp[end..])));
    SynAck {
        fields,
        options,
        ece: tcp[13] & 0x40 != 0,
    }
}

/// Reads the options and blots out TSval.
fn options(bytes: &mut [u8]) -> Answered {
    let mut read = Answered {
        sack: false,
        echo: None,
        scale: None,
    };
    let mut at = 0;
    while at < bytes.len() && bytes[at] != 0 {
        if bytes[at] == 1 {
            at += 1;
            continue;
        }
        match bytes[at] {
            3 => read.scale = Some(bytes[at + 2]),
            4 => read.sack = true,
            8 => {
                bytes[at + 2..at + 6].fill(0xee);
                let echo: [u8; 4] = bytes[at + 6..at + 10].try_into().unwrap();
                read.echo = Some(u32::from_be_bytes(echo));
            }
            _ => {}
        }
        at += usize::from(bytes[at + 1].max(2));
    }
    read
}
