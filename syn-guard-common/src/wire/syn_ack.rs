//! Turning a SYN into its SYN-ACK, in place.

use super::checksum::Sum;
use super::frame::{Frame, FrameMut};
use super::headers::{Headers, IPV4, IPV6, TCP_HEADER, Tcp, flags};
use crate::abi::{Listener, listener_flags};
use crate::cookie::Terms;
use crate::flow::Flow;

/// Option words of a SYN-ACK at most: MSS, SACK permitted with timestamps
/// (three), window scale.
const MAX_OPTION_WORDS: usize = 5;
/// The bits of a TOS or traffic class that are ECN's (RFC 3168 section 5).
const ECN_FIELD: u8 = 3;

/// A SYN-ACK: what stands in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SynAck {
    sequence: u32,
    window: u16,
    ttl: u8,
    traffic_class: u8,
    flow_label: u32,
    ecn: bool,
    options: [u32; MAX_OPTION_WORDS],
    option_words: usize,
}

impl SynAck {
    /// The answer of a listener under `terms`, with the timestamps `value` and
    /// `echo` (TSval and TSecr) where the terms have any. `frame` is the SYN,
    /// `traffic_class` its TOS or traffic class.
    #[inline(always)]
    #[must_use]
    pub fn new<F: Frame>(
        frame: &F,
        terms: &Terms,
        listener: &Listener,
        traffic_class: u8,
        sequence: u32,
        value: u32,
        echo: u32,
    ) -> Self {
        let has = |flag: u32| listener.flags & flag != 0;
        // What a firewall makes of the stack's own is seen, where there is one.
        let seen = listener.answered_mss != 0;
        let mss = if seen {
            listener.answered_mss
        } else {
            listener.mss
        };
        let (options, option_words) = options(terms, listener, mss, value, echo);
        let traffic_class = if has(listener_flags::REFLECT_TOS) {
            (traffic_class & !ECN_FIELD) | (listener.tos & ECN_FIELD)
        } else if seen {
            (listener.answered_tos & !ECN_FIELD) | (listener.tos & ECN_FIELD)
        } else {
            listener.tos
        };
        // The kernel's is a hash of the flow too (`ip6_make_flowlabel`).
        let flow_label = if has(listener_flags::FLOW_LABEL) {
            sequence >> 12
        } else {
            0
        };
        let forget = |word: u32| frame.forget_word(word);
        Self {
            sequence,
            window: if terms.timestamps() {
                listener.window_with_timestamps
            } else {
                listener.window
            },
            ttl: if seen {
                listener.answered_ttl
            } else {
                listener.ttl
            },
            traffic_class: forget(u32::from(traffic_class)) as u8,
            flow_label: forget(flow_label),
            ecn: terms.ecn(),
            options: options.map(forget),
            option_words: frame.forget(option_words, 7),
        }
    }

    /// Bytes of the TCP header.
    #[inline(always)]
    const fn tcp_length(&self) -> usize {
        TCP_HEADER + self.option_words * 4
    }

    /// Bytes of the frame that holds this SYN-ACK in place of a SYN of `flow`
    /// with these headers. IP options and extension headers are left out.
    #[inline(always)]
    #[must_use]
    pub const fn frame_length(&self, headers: &Headers, flow: &Flow) -> usize {
        let ip = if flow.remote.is_ipv4() { IPV4 } else { IPV6 };
        headers.ip + ip + self.tcp_length()
    }

    /// The same without its MSS where it would be longer than the SYN's frame,
    /// which then has no MSS option and is not filled up: who forges the source
    /// of a SYN must not gain bytes by it. To send the option is a SHOULD (RFC
    /// 9293 section 3.7.1). Everything else in an answer has its like in the SYN.
    #[inline(always)]
    #[must_use]
    pub fn no_longer_than<F: Frame>(
        self,
        frame: &F,
        length: usize,
        headers: &Headers,
        flow: &Flow,
    ) -> Self {
        if self.frame_length(headers, flow) <= length {
            return self;
        }
        let [_, first, second, third, fourth] = self.options;
        let forget = |word: u32| frame.forget_word(word);
        Self {
            options: [first, second, third, fourth, 0].map(forget),
            option_words: frame.forget(self.option_words - 1, 7),
            ..self
        }
    }

    /// Writes the SYN-ACK over the SYN of `flow` and `tcp`. The frame must
    /// have its [`frame_length`](Self::frame_length); none, with a frame that
    /// is of no use, when it is shorter.
    #[inline(always)]
    #[must_use]
    pub fn write<F: FrameMut>(
        &self,
        frame: &mut F,
        headers: &Headers,
        flow: &Flow,
        tcp: &Tcp,
    ) -> Option<()> {
        swap_ethernet(frame)?;
        if flow.remote.is_ipv4() {
            self.write_ipv4(frame, headers.ip, flow)?;
            self.write_tcp(frame, headers.ip + IPV4, flow, tcp)
        } else {
            self.write_ipv6(frame, headers.ip, flow)?;
            self.write_tcp(frame, headers.ip + IPV6, flow, tcp)
        }
    }

    #[inline(always)]
    fn write_tcp<F: FrameMut>(
        &self,
        frame: &mut F,
        offset: usize,
        flow: &Flow,
        tcp: &Tcp,
    ) -> Option<()> {
        let length = self.tcp_length() as u32;
        let ecn = if self.ecn { u32::from(flags::ECE) } else { 0 };
        let offset_and_flags = ((length / 4) << 12) | u32::from(flags::SYN | flags::ACK) | ecn;
        let acknowledgement = tcp.sequence.wrapping_add(1);
        // The ffff of a mapped IPv4 address is no part of its pseudo-header,
        // and is 0 in this arithmetic; so are the words that are not used.
        let mut sum = Sum::default()
            .add_words(&flow.remote.0)
            .add_words(&flow.local.0)
            .add(6)
            .add(length)
            .add(u32::from(tcp.source))
            .add(u32::from(tcp.destination))
            .add(self.sequence)
            .add(acknowledgement)
            .add(offset_and_flags)
            .add(u32::from(self.window));
        for word in self.options {
            sum = sum.add(word);
        }
        let mut header = frame.chunk_mut::<TCP_HEADER>(offset)?;
        header.set_u16::<0>(tcp.destination);
        header.set_u16::<2>(tcp.source);
        header.set_u32::<4>(self.sequence);
        header.set_u32::<8>(acknowledgement);
        header.set_u16::<12>(offset_and_flags as u16);
        header.set_u16::<14>(self.window);
        header.set_u16::<16>(sum.finish());
        header.set_u16::<18>(0);
        write_options(frame, offset + TCP_HEADER, &self.options, self.option_words)
    }

    #[inline(always)]
    fn write_ipv4<F: FrameMut>(&self, frame: &mut F, offset: usize, flow: &Flow) -> Option<()> {
        let total = (IPV4 + self.tcp_length()) as u32;
        let ttl_and_protocol = (u32::from(self.ttl) << 8) | 6;
        let version_and_tos = 0x4500 | u32::from(self.traffic_class);
        let sum = Sum::default()
            .add(version_and_tos)
            .add(total)
            .add(0x4000)
            .add(ttl_and_protocol)
            .add_word(flow.remote.0[3])
            .add_word(flow.local.0[3]);
        let mut header = frame.chunk_mut::<IPV4>(offset)?;
        header.set_u16::<0>(version_and_tos as u16);
        header.set_u16::<2>(total as u16);
        // Identification 0 and "don't fragment": ip_build_and_send_pkt.
        header.set_u32::<4>(0x4000);
        header.set_u16::<8>(ttl_and_protocol as u16);
        header.set_u16::<10>(sum.finish());
        header.set_word::<12>(flow.local.0[3]);
        header.set_word::<16>(flow.remote.0[3]);
        Some(())
    }

    #[inline(always)]
    fn write_ipv6<F: FrameMut>(&self, frame: &mut F, offset: usize, flow: &Flow) -> Option<()> {
        let mut header = frame.chunk_mut::<IPV6>(offset)?;
        let class_and_label = (u32::from(self.traffic_class) << 20) | self.flow_label;
        header.set_u32::<0>(0x6000_0000 | class_and_label);
        header.set_u16::<4>(self.tcp_length() as u16);
        header.set_u8::<6>(6);
        header.set_u8::<7>(self.ttl);
        let local = &flow.local.0;
        header.set_word::<8>(local[0]);
        header.set_word::<12>(local[1]);
        header.set_word::<16>(local[2]);
        header.set_word::<20>(local[3]);
        let remote = &flow.remote.0;
        header.set_word::<24>(remote[0]);
        header.set_word::<28>(remote[1]);
        header.set_word::<32>(remote[2]);
        header.set_word::<36>(remote[3]);
        Some(())
    }
}

/// The options as words and their number, in the kernel's own order
/// (`tcp_options_write`, Linux 6.18). Words that are not used are 0.
#[inline(always)]
fn options(
    terms: &Terms,
    listener: &Listener,
    mss: u16,
    value: u32,
    echo: u32,
) -> ([u32; MAX_OPTION_WORDS], usize) {
    let mut words = [0; MAX_OPTION_WORDS];
    words[0] = 0x0204_0000 | u32::from(mss);
    let mut count = 1;
    if terms.timestamps() {
        words[1] = if terms.sack() {
            0x0402_080a
        } else {
            0x0101_080a
        };
        words[2] = value;
        words[3] = echo;
        count = 4;
    } else if terms.sack() {
        words[1] = 0x0101_0402;
        count = 2;
    }
    if terms.scaling() {
        let word = 0x0103_0300 | u32::from(listener.scale);
        // An index that is not constant would put the words on the stack.
        match count {
            1 => words[1] = word,
            2 => words[2] = word,
            _ => words[4] = word,
        }
        count += 1;
    }
    (words, count)
}

#[inline(always)]
fn swap_ethernet<F: FrameMut>(frame: &mut F) -> Option<()> {
    let mut ethernet = frame.chunk_mut::<12>(0)?;
    let read = ethernet.read();
    let destination = (read.word::<0>(), read.u16::<4>());
    let source = (read.u16::<6>(), read.word::<8>());
    let high = |(low, high): (u16, u32)| {
        // The first four bytes of the source address, as a word.
        (u32::from(low) << 16) | (u32::from_be(high) >> 16)
    };
    ethernet.set_u32::<0>(high(source));
    ethernet.set_u16::<4>(u32::from_be(source.1) as u16);
    ethernet.set_u16::<6>((u32::from_be(destination.0) >> 16) as u16);
    ethernet.set_u32::<8>((u32::from_be(destination.0) << 16) | u32::from(destination.1));
    Some(())
}

#[inline(always)]
fn write_options<F: FrameMut>(
    frame: &mut F,
    start: usize,
    words: &[u32; MAX_OPTION_WORDS],
    count: usize,
) -> Option<()> {
    // One check of the length for each shape a SYN-ACK can have.
    match count {
        0 => {}
        1 => {
            let mut options = frame.chunk_mut::<4>(start)?;
            options.set_u32::<0>(words[0]);
        }
        2 => {
            let mut options = frame.chunk_mut::<8>(start)?;
            options.set_u32::<0>(words[0]);
            options.set_u32::<4>(words[1]);
        }
        3 => {
            let mut options = frame.chunk_mut::<12>(start)?;
            options.set_u32::<0>(words[0]);
            options.set_u32::<4>(words[1]);
            options.set_u32::<8>(words[2]);
        }
        4 => {
            let mut options = frame.chunk_mut::<16>(start)?;
            options.set_u32::<0>(words[0]);
            options.set_u32::<4>(words[1]);
            options.set_u32::<8>(words[2]);
            options.set_u32::<12>(words[3]);
        }
        _ => {
            let mut options = frame.chunk_mut::<20>(start)?;
            options.set_u32::<0>(words[0]);
            options.set_u32::<4>(words[1]);
            options.set_u32::<8>(words[2]);
            options.set_u32::<12>(words[3]);
            options.set_u32::<16>(words[4]);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::frame::Slice;
    use super::super::options::{Options, found, read_options};
    use super::*;
    use crate::abi::listener_flags;
    use etherparse::{
        NetHeaders, PacketBuilder, PacketHeaders, TcpOptionElement as Element, TransportHeader,
    };

    const LISTENER: Listener = Listener {
        probed_at: 0,
        full_until_ns: 0,
        proved_at: 0,
        asked_at: 0,
        back_since: 0,
        answered_mss: 0,
        answered_ttl: 0,
        answered_tos: 0,
        lost: 0,
        flags: listener_flags::TIMESTAMPS
            | listener_flags::SACK
            | listener_flags::WINDOW_SCALING
            | listener_flags::ECN,
        gone: 0,
        mss: 1440,
        window: 64_240,
        window_with_timestamps: 65_160,
        scale: 7,
        ttl: 63,
        most_mss: 0,
        tos: 0,
        stood_back: 0,
    };

    fn syn(ipv6: bool, tags: usize, options: &[Element]) -> Vec<u8> {
        let mut frame = Vec::new();
        let ethernet = PacketBuilder::ethernet2([1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]);
        let ip = if ipv6 {
            ethernet.ipv6([0x20; 16], [0x30; 16], 64)
        } else {
            ethernet.ipv4([10, 1, 2, 3], [198, 18, 0, 1], 64)
        };
        ip.tcp(40_000, 80, u32::MAX, 100)
            .syn()
            .options(options)
            .unwrap()
            .write(&mut frame, &[])
            .unwrap();
        for _ in 0..tags {
            frame.splice(12..12, [0x81, 0, 0, 5]);
        }
        frame
    }

    /// The answer to a SYN, and what it says.
    fn answer(frame: &[u8], ecn: bool) -> (Vec<u8>, Terms) {
        let (headers, tcp, flow, options, syn_ack, terms);
        {
            let frame = Slice(frame);
            headers = Headers::find(&frame).unwrap();
            tcp = headers.read_tcp(&frame).unwrap();
            flow = headers.read_flow(&frame, &tcp).unwrap();
            options = read_options(&frame, &headers, &tcp);
            terms = Terms::grant(&options, ecn, LISTENER.flags).0;
            let length = frame.length();
            syn_ack = SynAck::new(&frame, &terms, &LISTENER, 0, 0xdead_beef, 77, options.value)
                .no_longer_than(&frame, length, &headers, &flow);
        }
        let mut answer = frame.to_vec();
        answer.resize(syn_ack.frame_length(&headers, &flow), 0xaa);
        syn_ack
            .write(&mut Slice(&mut answer[..]), &headers, &flow, &tcp)
            .unwrap();
        (answer, terms)
    }

    #[test]
    fn the_answer_is_well_formed_and_says_what_it_was_told() {
        use Element::{
            MaximumSegmentSize, Noop, SelectiveAcknowledgementPermitted, Timestamp, WindowScale,
        };
        for ipv6 in [false, true] {
            for bits in 0..16_u32 {
                let mut options = Vec::new();
                let mut expected = Vec::new();
                if bits & 1 != 0 {
                    options.push(MaximumSegmentSize(1460));
                }
                let (sack, timestamps, scale) = (bits & 2 != 0, bits & 4 != 0, bits & 8 != 0);
                if sack {
                    options.push(SelectiveAcknowledgementPermitted);
                }
                if timestamps {
                    options.push(Timestamp(1234, 0));
                }
                if scale {
                    options.push(WindowScale(8));
                }
                let frame = syn(ipv6, (bits % 3) as usize, &options);
                let (answer, terms) = answer(&frame, true);
                let granted_less = sack != terms.sack() || scale != terms.scaling();
                if bits & 1 != 0 || granted_less {
                    expected.push(MaximumSegmentSize(1440));
                }
                if timestamps {
                    let first = if sack {
                        vec![SelectiveAcknowledgementPermitted]
                    } else {
                        vec![Noop, Noop]
                    };
                    expected.extend(first);
                    expected.push(Timestamp(77, 1234));
                } else if terms.sack() {
                    expected.extend([Noop, Noop, SelectiveAcknowledgementPermitted]);
                }
                if terms.scaling() {
                    expected.extend([Noop, WindowScale(7)]);
                }

                let packet = PacketHeaders::from_ethernet_slice(&answer).unwrap();
                let link = packet.link.unwrap().ethernet2().unwrap();
                assert_eq!(link.source, [7, 8, 9, 10, 11, 12]);
                assert_eq!(link.destination, [1, 2, 3, 4, 5, 6]);
                let Some(TransportHeader::Tcp(tcp)) = packet.transport else {
                    panic!()
                };
                assert!(packet.payload.slice().is_empty());
                let checksum = match packet.net.unwrap() {
                    NetHeaders::Ipv4(ip, _) => {
                        assert_eq!(
                            (ip.source, ip.destination),
                            ([198, 18, 0, 1], [10, 1, 2, 3])
                        );
                        assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                        assert!(ip.dont_fragment && !ip.more_fragments);
                        assert_eq!((ip.time_to_live, ip.identification), (63, 0));
                        tcp.calc_checksum_ipv4(&ip, &[]).unwrap()
                    }
                    NetHeaders::Ipv6(ip, _) => {
                        assert_eq!((ip.source, ip.destination), ([0x30; 16], [0x20; 16]));
                        assert_eq!(ip.hop_limit, 63);
                        tcp.calc_checksum_ipv6(&ip, &[]).unwrap()
                    }
                    NetHeaders::Arp(_) => panic!(),
                };
                assert_eq!(tcp.checksum, checksum);
                assert_eq!((tcp.source_port, tcp.destination_port), (80, 40_000));
                assert_eq!(tcp.sequence_number, 0xdead_beef);
                assert_eq!(tcp.acknowledgment_number, 0, "wraps");
                assert!(tcp.syn && tcp.ack && !tcp.rst && !tcp.fin && !tcp.psh && !tcp.cwr);
                assert_eq!(tcp.ece, timestamps);
                assert_eq!(tcp.window_size, if timestamps { 65_160 } else { 64_240 });
                let got: Vec<_> = tcp.options_iterator().map(Result::unwrap).collect();
                assert_eq!(got, expected, "{options:?}");
                assert!(answer.len() <= frame.len(), "not longer than the SYN");
            }
        }
    }

    #[test]
    fn a_frame_that_is_filled_up_has_room_for_the_mss() {
        let mut frame = syn(false, 0, &[]);
        assert_eq!(frame.len(), 54);
        assert_eq!(answer(&frame, false).0.len(), 54);
        // What Ethernet makes of it.
        frame.resize(60, 0);
        let (answer, _) = answer(&frame, false);
        assert_eq!(answer[54..], [2, 4, 5, 0xa0]);
    }

    #[test]
    fn a_frame_that_is_too_short_is_refused() {
        let frame = syn(false, 0, &[Element::MaximumSegmentSize(1460)]);
        let slice = Slice(&frame[..]);
        let headers = Headers::find(&slice).unwrap();
        let tcp = headers.read_tcp(&slice).unwrap();
        let flow = headers.read_flow(&slice, &tcp).unwrap();
        let offer = Options {
            found: found::SACK,
            mss: 1460,
            ..Options::default()
        };
        let (terms, _) = Terms::grant(&offer, false, LISTENER.flags);
        let syn_ack = SynAck::new(&slice, &terms, &LISTENER, 0, 1, 0, 0);
        let length = syn_ack.frame_length(&headers, &flow);
        for short in [0, 14, 34, length - 1] {
            let mut answer = vec![0; short];
            let written = syn_ack.write(&mut Slice(&mut answer[..]), &headers, &flow, &tcp);
            assert_eq!(written, None, "{short}");
        }
    }
}
