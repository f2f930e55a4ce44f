//! The SYN-ACK, made from nothing by etherparse.

use std::net::IpAddr;

use etherparse::{
    Ethernet2Header, IpDscp, IpEcn, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, TcpHeader,
};
use syn_guard_common::abi::{Listener, listener_flags};

use super::cookie;
use super::parse::{Located, Tcp};
use super::terms::Granted;
use super::world::Flow;

/// A SYN-ACK but for the time.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The SYN's bytes before its IP header.
    pub link: Vec<u8>,
    pub located: Located,
    pub tcp: Tcp,
    pub flow: Flow,
    pub listener: Listener,
    pub granted: Granted,
    /// Bytes of the SYN's frame: the answer has no more.
    pub syn_length: usize,
    /// The SYN's TSval.
    pub echo: u32,
    /// None: the cookie is the kernel's.
    pub keys: Option<[(u64, u64); 4]>,
}

impl Reply {
    /// Bytes of the frame, which are as many at any time.
    pub fn length(&self) -> usize {
        self.at(1 << 40, &[]).len()
    }

    /// The frame, made at this `CLOCK_MONOTONIC` time. A cookie of the kernel's
    /// is taken from the program's answer.
    pub fn at(&self, now_ns: u64, answer: &[u8]) -> Vec<u8> {
        let granted = &self.granted;
        let cookie = match &self.keys {
            Some(keys) => cookie::make(
                keys,
                &self.flow,
                self.tcp.sequence,
                cookie::epoch(now_ns),
                granted.class,
                granted.timestamp_bits.is_some(),
            ),
            None => self.sequence_of(answer),
        };
        let mut tcp = TcpHeader::new(
            self.tcp.destination,
            self.tcp.source,
            cookie,
            if granted.timestamp_bits.is_some() {
                self.listener.window_with_timestamps
            } else {
                self.listener.window
            },
        );
        tcp.syn = true;
        tcp.ack = true;
        tcp.ece = granted.ecn;
        tcp.acknowledgment_number = self.tcp.sequence.wrapping_add(1);
        tcp.set_options_raw(&self.options(now_ns)).unwrap();

        let mut frame = Vec::new();
        let mut link = Ethernet2Header::from_slice(&self.link).unwrap().0;
        (link.source, link.destination) = (link.destination, link.source);
        link.write(&mut frame).unwrap();
        frame.extend(&self.link[14..]);

        let tos = self.traffic_class();
        match (self.flow.local.ip(), self.flow.remote.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let mut ip = Ipv4Header::new(
                    tcp.header_len_u16(),
                    self.listener.ttl,
                    IpNumber::TCP,
                    from.octets(),
                    to.octets(),
                )
                .unwrap();
                ip.dscp = IpDscp::try_new(tos >> 2).unwrap();
                ip.ecn = IpEcn::try_new(tos & 3).unwrap();
                ip.identification = 0;
                ip.dont_fragment = true;
                tcp.checksum = tcp.calc_checksum_ipv4(&ip, &[]).unwrap();
                ip.write(&mut frame).unwrap();
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let label = if self.listener.flags & listener_flags::FLOW_LABEL != 0 {
                    cookie >> 12
                } else {
                    0
                };
                let ip = Ipv6Header {
                    traffic_class: tos,
                    flow_label: Ipv6FlowLabel::try_new(label).unwrap(),
                    payload_length: tcp.header_len_u16(),
                    next_header: IpNumber::TCP,
                    hop_limit: self.listener.ttl,
                    source: from.octets(),
                    destination: to.octets(),
                };
                tcp.checksum = tcp.calc_checksum_ipv6(&ip, &[]).unwrap();
                ip.write(&mut frame).unwrap();
            }
            _ => unreachable!("both addresses of a packet are of its family"),
        }
        tcp.write(&mut frame).unwrap();
        frame
    }

    /// The sequence number of an answer, or any.
    fn sequence_of(&self, answer: &[u8]) -> u32 {
        let ip = if self.flow.local.is_ipv4() { 20 } else { 40 };
        let at = self.link.len() + ip + 4;
        let bytes = answer.get(at..).and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
    }

    fn traffic_class(&self) -> u8 {
        let own = self.listener.tos;
        if self.listener.flags & listener_flags::REFLECT_TOS != 0 {
            self.located.traffic_class & 0xfc | own & 3
        } else {
            own
        }
    }

    /// In the kernel's order.
    fn options(&self, now_ns: u64) -> Vec<u8> {
        let granted = &self.granted;
        let mut options = Vec::new();
        if let Some(bits) = granted.timestamp_bits {
            options.extend(if granted.sack { [4, 2] } else { [1, 1] });
            options.extend([8, 10]);
            options.extend(cookie::timestamp(now_ns, bits).to_be_bytes());
            options.extend(self.echo.to_be_bytes());
        } else if granted.sack {
            options.extend([1, 1, 4, 2]);
        }
        if granted.scaling {
            options.extend([1, 3, 3, self.listener.scale]);
        }
        let ip = if self.flow.local.is_ipv4() { 20 } else { 40 };
        let without = self.link.len() + ip + 20 + options.len();
        if without + 4 <= self.syn_length {
            let [high, low] = self.listener.mss.to_be_bytes();
            options.splice(0..0, [2, 4, high, low]);
        }
        options
    }
}
