//! Finding the TCP header of a frame.

use super::frame::Frame;
use crate::address::Address;
use crate::flow::Flow;

/// Bits of the TCP header's flags (RFC 9293 section 3.1).
pub mod flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgement number is significant.
    pub const ACK: u8 = 0x10;
    /// ECN-Echo (RFC 3168).
    pub const ECE: u8 = 0x40;
    /// Congestion Window Reduced (RFC 3168).
    pub const CWR: u8 = 0x80;
}

const ETHERNET: usize = 14;
const VLAN_TAG: usize = 4;
const TCP: u8 = 6;
/// Bytes of an IPv4 header without options.
pub(super) const IPV4: usize = 20;
/// Bytes of an IPv6 header without extensions.
pub(super) const IPV6: usize = 40;
/// Bytes of a TCP header without options.
pub(super) const TCP_HEADER: usize = 20;
/// Extension headers that are followed before giving up.
const MAX_EXTENSIONS: usize = 6;

/// Why a frame holds no segment that syn-guard looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotASegment {
    /// Another protocol.
    NotTcp,
    /// A header that is cut short, contradicts itself or is not known.
    Unknown,
    /// A fragment that is not the first one of its packet.
    Fragment,
    /// IPv6 behind more extension headers than are followed.
    ManyExtensions,
}

/// Where a frame's headers stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// Offset of the IP header, bytes.
    pub ip: usize,
    /// Offset of the TCP header, bytes.
    pub tcp: usize,
    /// IPv6, or else IPv4.
    pub ipv6: bool,
    /// Bytes of the TCP header and what follows, by the IP header.
    pub segment_length: usize,
    /// Only the beginning of the segment: the first of several fragments.
    pub first_fragment: bool,
}

/// The TCP header, of which 20 bytes are known to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// The sender's port.
    pub source: u16,
    /// The receiver's port.
    pub destination: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// Bytes of the header with its options.
    pub length: usize,
    /// See [`flags`].
    pub flags: u8,
}

impl Headers {
    /// Whether an answer in place reaches the sender. Behind two VLAN tags it
    /// would, but TC sees such a packet with a tag, and the stack takes no
    /// cookie's connection from it (`bpf_sk_assign_tcp_reqsk`, Linux 6.18).
    #[inline(always)]
    #[must_use]
    pub const fn is_answerable(&self) -> bool {
        self.ip <= ETHERNET + VLAN_TAG
    }

    /// Finds the TCP header behind Ethernet, up to two VLAN tags, IPv4 with
    /// options or IPv6 with extension headers.
    ///
    /// # Errors
    /// Says why there is none.
    #[inline(always)]
    pub fn find<F: Frame>(frame: &F) -> Result<Self, NotASegment> {
        let ethernet = frame.chunk::<ETHERNET>(0).ok_or(NotASegment::Unknown)?;
        let mut kind = ethernet.u16::<12>();
        let mut ip = ETHERNET;
        if is_vlan(kind) {
            let tag = frame.chunk::<VLAN_TAG>(ip).ok_or(NotASegment::Unknown)?;
            kind = tag.u16::<2>();
            ip += VLAN_TAG;
            if is_vlan(kind) {
                let tag = frame.chunk::<VLAN_TAG>(ip).ok_or(NotASegment::Unknown)?;
                kind = tag.u16::<2>();
                ip += VLAN_TAG;
            }
            ip = frame.forget(ip, 0x1f);
        }
        Self::find_at(frame, kind, ip)
    }

    /// Finds the TCP header of a packet whose IP header stands at `ip`; `kind`
    /// is its EtherType.
    ///
    /// # Errors
    /// Says why there is none.
    #[inline(always)]
    pub fn find_at<F: Frame>(frame: &F, kind: u16, ip: usize) -> Result<Self, NotASegment> {
        match kind {
            0x0800 => ipv4(frame, ip),
            0x86dd => ipv6(frame, ip),
            kind if is_vlan(kind) => Err(NotASegment::Unknown),
            _ => Err(NotASegment::NotTcp),
        }
    }

    /// The same headers, of whose places the verifier remembers nothing
    /// ([`Frame::forget`]).
    #[inline(always)]
    #[must_use]
    pub fn forget<F: Frame>(&self, frame: &F) -> Self {
        Self {
            ip: frame.forget(self.ip, 0x1f),
            tcp: frame.forget(self.tcp, 0x3fff),
            ..*self
        }
    }

    /// Reads the TCP header, if it is whole.
    #[inline(always)]
    pub fn read_tcp<F: Frame>(&self, frame: &F) -> Option<Tcp> {
        let header = frame.chunk::<TCP_HEADER>(self.tcp)?;
        let length = usize::from(header.u8::<12>() >> 4) * 4;
        if length < TCP_HEADER || length > self.segment_length {
            return None;
        }
        Some(Tcp {
            source: header.u16::<0>(),
            destination: header.u16::<2>(),
            sequence: header.u32::<4>(),
            acknowledgement: header.u32::<8>(),
            length,
            flags: header.u8::<13>(),
        })
    }

    /// The TOS of IPv4 or the traffic class of IPv6; 0 where it cannot be read.
    #[inline(always)]
    pub fn read_traffic_class<F: Frame>(&self, frame: &F) -> u8 {
        let Some(header) = frame.chunk::<2>(self.ip) else {
            return 0;
        };
        let class = if self.ipv6 {
            header.u16::<0>() >> 4
        } else {
            header.u16::<0>()
        };
        frame.forget(usize::from(class), 0xff) as u8
    }

    /// Whether a SYN asks for ECN (RFC 3168 section 6.1.1) as the stack sees it
    /// (`tcp_ecn_create_request`, Linux 6.18): not from a packet that is marked
    /// as ECN-capable itself, unless reserved bits say that its sender knows
    /// more. `traffic_class`: the SYN's.
    #[inline(always)]
    pub fn asks_for_ecn<F: Frame>(&self, frame: &F, tcp: &Tcp, traffic_class: u8) -> bool {
        const BOTH: u8 = flags::ECE | flags::CWR;
        let Some(header) = frame.chunk::<TCP_HEADER>(self.tcp) else {
            return false;
        };
        // No branches, of which the verifier would follow each.
        let asks = u8::from(tcp.flags & BOTH == BOTH);
        let capable = u8::from(traffic_class & 3 != 0);
        let knows_more = u8::from(header.u8::<12>() & 0xf != 0);
        frame.forget(usize::from(asks & (knows_more | (capable ^ 1))), 1) != 0
    }

    /// The connection that a segment to this host belongs to.
    #[inline(always)]
    pub fn read_flow<F: Frame>(&self, frame: &F, tcp: &Tcp) -> Option<Flow> {
        let (remote, local) = if self.ipv6 {
            let header = frame.chunk::<IPV6>(self.ip)?;
            (
                Address([
                    header.word::<8>(),
                    header.word::<12>(),
                    header.word::<16>(),
                    header.word::<20>(),
                ]),
                Address([
                    header.word::<24>(),
                    header.word::<28>(),
                    header.word::<32>(),
                    header.word::<36>(),
                ]),
            )
        } else {
            let header = frame.chunk::<IPV4>(self.ip)?;
            (
                Address::from_ipv4_word(header.word::<12>()),
                Address::from_ipv4_word(header.word::<16>()),
            )
        };
        // A mapped IPv4 address does not belong on the wire (RFC 4942 section
        // 2.2), and would be taken for IPv4 here.
        if self.ipv6 && (remote.is_ipv4() || local.is_ipv4()) {
            return None;
        }
        Some(Flow {
            remote,
            local,
            remote_port: tcp.source,
            local_port: tcp.destination,
        })
    }
}

#[inline(always)]
const fn is_vlan(kind: u16) -> bool {
    // IEEE 802.1Q and 802.1ad.
    kind == 0x8100 || kind == 0x88a8
}

#[inline(always)]
fn ipv4<F: Frame>(frame: &F, ip: usize) -> Result<Headers, NotASegment> {
    let header = frame.chunk::<IPV4>(ip).ok_or(NotASegment::Unknown)?;
    let first = header.u8::<0>();
    let length = usize::from(first & 0xf) * 4;
    if header.u8::<9>() != TCP {
        return Err(NotASegment::NotTcp);
    }
    let total = usize::from(header.u16::<2>());
    if first >> 4 != 4 || length < IPV4 || total < length || !frame.holds(ip + total) {
        return Err(NotASegment::Unknown);
    }
    // RFC 791 section 3.1.
    let fragment = header.u16::<6>();
    if fragment & 0x1fff != 0 {
        return Err(NotASegment::Fragment);
    }
    Ok(Headers {
        ip,
        tcp: ip + length,
        ipv6: false,
        segment_length: total - length,
        first_fragment: fragment & 0x2000 != 0,
    })
}

#[inline(always)]
fn ipv6<F: Frame>(frame: &F, ip: usize) -> Result<Headers, NotASegment> {
    let header = frame.chunk::<IPV6>(ip).ok_or(NotASegment::Unknown)?;
    let payload = usize::from(header.u16::<4>());
    if header.u8::<0>() >> 4 != 6 || !frame.holds(ip + IPV6 + payload) {
        return Err(NotASegment::Unknown);
    }
    let mut next = header.u8::<6>();
    let mut skipped = 0;
    let mut more_fragments = 0;
    if next != TCP {
        for _ in 0..MAX_EXTENSIONS {
            let Some(found) = extension(frame, ip + IPV6 + skipped, next)? else {
                break;
            };
            next = frame.forget(usize::from(found.next), 0xff) as u8;
            skipped = frame.forget(skipped + found.length, 0x3fff);
            more_fragments = frame.forget(more_fragments | found.more_fragments, 1);
        }
        if next != TCP {
            return Err(if is_extension(next) {
                NotASegment::ManyExtensions
            } else {
                NotASegment::NotTcp
            });
        }
        if skipped > payload {
            return Err(NotASegment::Unknown);
        }
    }
    Ok(Headers {
        ip,
        tcp: ip + IPV6 + skipped,
        ipv6: true,
        segment_length: payload - skipped,
        first_fragment: more_fragments != 0,
    })
}

/// An extension header.
struct Extension {
    /// The kind of what follows.
    next: u8,
    /// Its bytes.
    length: usize,
    /// 1 for a fragment header that more fragments follow.
    more_fragments: usize,
}

/// Whether this is the kind of an extension header, see [`extension`].
#[inline(always)]
const fn is_extension(kind: u8) -> bool {
    matches!(kind, 0 | 43 | 44 | 51 | 60)
}

/// The extension header `kind` at `offset`; none when `kind` is no extension
/// header.
#[inline(always)]
fn extension<F: Frame>(
    frame: &F,
    offset: usize,
    kind: u8,
) -> Result<Option<Extension>, NotASegment> {
    // RFC 8200 section 4: hop-by-hop 0, routing 43, destination 60; fragment
    // 44; RFC 4302: authentication 51, in words of 4 bytes less 2.
    let (next, length, more_fragments) = match kind {
        0 | 43 | 60 => {
            let header = frame.chunk::<4>(offset).ok_or(NotASegment::Unknown)?;
            // A routing header with segments left: the packet is on its way to
            // somebody else.
            if kind == 43 && header.u8::<3>() != 0 {
                return Err(NotASegment::Unknown);
            }
            (header.u8::<0>(), (usize::from(header.u8::<1>()) + 1) * 8, 0)
        }
        51 => {
            let header = frame.chunk::<2>(offset).ok_or(NotASegment::Unknown)?;
            (header.u8::<0>(), (usize::from(header.u8::<1>()) + 2) * 4, 0)
        }
        44 => {
            let header = frame.chunk::<4>(offset).ok_or(NotASegment::Unknown)?;
            let fragment = header.u16::<2>();
            if fragment & 0xfff8 != 0 {
                return Err(NotASegment::Fragment);
            }
            // One without more (RFC 6946) is whole; the stack takes it.
            (header.u8::<0>(), 8, usize::from(fragment & 1))
        }
        _ => return Ok(None),
    };
    Ok(Some(Extension {
        next,
        length,
        more_fragments,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::frame::Slice;
    use super::*;
    use core::net::IpAddr;
    use etherparse::PacketBuilder;

    fn syn(tags: usize, ip_options: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ip(etherparse::IpHeaders::Ipv4(
                {
                    let mut header = etherparse::Ipv4Header::new(
                        0,
                        64,
                        etherparse::IpNumber::TCP,
                        [10, 1, 2, 3],
                        [198, 18, 0, 1],
                    )
                    .unwrap();
                    header.options = ip_options.try_into().unwrap();
                    header
                },
                Default::default(),
            ))
            .tcp(40_000, 80, 7, 100)
            .syn()
            .write(&mut frame, &[])
            .unwrap();
        for _ in 0..tags {
            frame.splice(12..12, [0x81, 0, 0, 5]);
        }
        frame
    }

    fn ipv6_syn(extensions: &[u8], first: u8) -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv6([0x20; 16], [0x30; 16], 64)
            .tcp(40_000, 80, 7, 100)
            .syn()
            .write(&mut frame, &[])
            .unwrap();
        frame.splice(54..54, extensions.iter().copied());
        frame[20] = first;
        let payload = u16::try_from(frame.len() - 54).unwrap();
        frame[18..20].copy_from_slice(&payload.to_be_bytes());
        frame
    }

    fn read(frame: &[u8]) -> Result<(Headers, Tcp, Flow), NotASegment> {
        let frame = Slice(frame);
        let headers = Headers::find(&frame)?;
        assert!(!headers.first_fragment);
        let tcp = headers.read_tcp(&frame).ok_or(NotASegment::Unknown)?;
        let flow = headers
            .read_flow(&frame, &tcp)
            .ok_or(NotASegment::Unknown)?;
        Ok((headers, tcp, flow))
    }

    #[test]
    fn a_syn_is_found_behind_tags_and_ip_options() {
        for (tags, options) in [(0, 0), (1, 0), (2, 0), (0, 4), (2, 40)] {
            let (headers, tcp, flow) = read(&syn(tags, &vec![1; options])).unwrap();
            assert_eq!(headers.ip, 14 + 4 * tags);
            assert_eq!(headers.tcp, headers.ip + 20 + options);
            assert_eq!((tcp.source, tcp.destination, tcp.sequence), (40_000, 80, 7));
            assert_eq!((tcp.flags, tcp.length), (flags::SYN, 20));
            assert_eq!(IpAddr::from(flow.remote), IpAddr::from([10, 1, 2, 3]));
            assert_eq!(IpAddr::from(flow.local), IpAddr::from([198, 18, 0, 1]));
        }
        assert_eq!(read(&syn(3, &[])), Err(NotASegment::Unknown), "three tags");
    }

    #[test]
    fn a_syn_is_found_behind_ipv6_extension_headers() {
        let hop_by_hop = [43, 0, 1, 4, 0, 0, 0, 0];
        let routing = [51, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let authentication = [6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let all = [&hop_by_hop[..], &routing, &authentication].concat();
        let (headers, tcp, flow) = read(&ipv6_syn(&all, 0)).unwrap();
        assert_eq!((headers.tcp, headers.segment_length), (54 + all.len(), 20));
        assert_eq!((tcp.destination, tcp.flags), (80, flags::SYN));
        assert_eq!(IpAddr::from(flow.remote), IpAddr::from([0x20; 16]));
        let (headers, ..) = read(&ipv6_syn(&[], 6)).unwrap();
        assert_eq!(headers.tcp, 54);
    }

    #[test]
    fn what_is_no_whole_segment_is_told_apart() {
        assert_eq!(
            read(&ipv6_syn(&[6, 0, 0, 8, 0, 0, 0, 0], 44)),
            Err(NotASegment::Fragment)
        );
        let first = ipv6_syn(&[6, 0, 0, 1, 0, 0, 0, 0], 44);
        assert!(Headers::find(&Slice(&first[..])).unwrap().first_fragment);
        assert!(
            read(&ipv6_syn(&[6, 0, 0, 0, 0, 0, 0, 9], 44)).is_ok(),
            "atomic"
        );
        assert_eq!(read(&ipv6_syn(&[], 17)), Err(NotASegment::NotTcp));
        let many = |count| [60, 0, 1, 4, 0, 0, 0, 0].repeat(count - 1);
        let last = [6, 0, 1, 4, 0, 0, 0, 0];
        let chain = |count| read(&ipv6_syn(&[&many(count)[..], &last].concat(), 60));
        assert!(chain(MAX_EXTENSIONS).is_ok());
        assert_eq!(chain(MAX_EXTENSIONS + 1), Err(NotASegment::ManyExtensions));
        let routing = |left| read(&ipv6_syn(&[6, 0, 4, left, 0, 0, 0, 0], 43));
        assert!(routing(0).is_ok());
        assert_eq!(routing(1), Err(NotASegment::Unknown));
        let mut arp = syn(0, &[]);
        arp[12..14].copy_from_slice(&[8, 6]);
        assert_eq!(read(&arp), Err(NotASegment::NotTcp));
        let mut fragment = syn(0, &[]);
        fragment[20] = 0x20;
        let found = Headers::find(&Slice(&fragment[..])).unwrap();
        assert!(found.first_fragment && found.segment_length == 20);
        fragment[20..22].copy_from_slice(&[0x20, 1]);
        assert_eq!(read(&fragment), Err(NotASegment::Fragment));
        fragment[20..22].copy_from_slice(&[0, 1]);
        assert_eq!(read(&fragment), Err(NotASegment::Fragment));
        let mut udp = syn(0, &[]);
        udp[23] = 17;
        assert_eq!(read(&udp), Err(NotASegment::NotTcp));
        let mut offset = syn(0, &[]);
        offset[46] = 0x40;
        assert_eq!(
            read(&offset),
            Err(NotASegment::Unknown),
            "a TCP header of 16 bytes"
        );
        let whole = syn(0, &[]);
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn a_mapped_address_on_the_wire_is_not_ipv4() {
        let mut frame = ipv6_syn(&[], 6);
        frame[22..38].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1]);
        assert_eq!(read(&frame), Err(NotASegment::Unknown));
    }

    #[test]
    fn no_frame_reads_out_of_bounds() {
        // A xorshift generator: the same frames in every run.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let seeds = [
            syn(0, &[]),
            syn(2, &[1; 8]),
            ipv6_syn(&[6, 0, 1, 4, 0, 0, 0, 0], 0),
        ];
        let mut found = 0;
        for round in 0..200_000 {
            let mut frame = seeds[round % seeds.len()].clone();
            for _ in 0..random() % 4 {
                let at = random() as usize % frame.len();
                frame[at] = random() as u8;
            }
            frame.truncate(random() as usize % (frame.len() * 4));
            if Headers::find(&Slice(&frame[..])).is_ok_and(|headers| headers.first_fragment) {
                continue;
            }
            if let Ok((headers, tcp, _)) = read(&frame) {
                found += 1;
                assert!(headers.tcp + tcp.length <= frame.len());
                super::super::options::read_options(&Slice(&frame[..]), &headers, &tcp);
            }
        }
        assert!(found > 10_000, "{found}");
    }
}
