//! Answering any bytes as a SYN.

use core::net::IpAddr;

use arbitrary::Arbitrary;
use etherparse::{LinkSlice, NetSlice, SlicedPacket, TcpOptionElement, TransportSlice};
use syn_guard_common::abi::{Listener, listener_flags};
use syn_guard_common::cookie::{self, Key, Terms};
use syn_guard_common::wire::{Options, Slice, SynAck, Tcp, flags, found};

use super::parse::{self, Read};

/// A listener and a moment.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Setup {
    /// [`listener_flags`].
    pub flags: u32,
    /// What it advertises.
    pub mss: u16,
    /// Its first window without timestamps.
    pub window: u16,
    /// Its first window with timestamps.
    pub window_with_timestamps: u16,
    /// Its window scale, a shift.
    pub scale: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// TOS or traffic class.
    pub tos: u8,
    /// The key.
    pub key: [u64; 2],
    /// `CLOCK_MONOTONIC`.
    pub now_ns: u64,
}

impl Setup {
    fn listener(&self) -> Listener {
        Listener {
            flags: self.flags,
            mss: self.mss,
            window: self.window,
            window_with_timestamps: self.window_with_timestamps,
            scale: self.scale % 15,
            ttl: self.ttl,
            tos: self.tos,
            ..Listener::default()
        }
    }

    fn key(&self) -> Key {
        Key {
            k0: self.key[0],
            k1: self.key[1],
        }
    }
}

/// Whether the data path would answer with a cookie.
fn is_answerable(read: &Read) -> bool {
    let kind = flags::SYN | flags::ACK | flags::RST | flags::FIN;
    read.tcp.flags & kind == flags::SYN
        && read.headers.is_answerable()
        && read.options.found & (found::MD5 | found::AUTHENTICATION) == 0
}

/// An answer, and what it was made of.
struct Answer {
    frame: Vec<u8>,
    cookie: u32,
    class: u32,
    terms: Terms,
    value: u32,
}

/// Answers a SYN as the data path does.
fn answer(frame: &[u8], read: &Read, setup: &Setup) -> Answer {
    let Read {
        headers,
        tcp,
        flow,
        options,
    } = read;
    let listener = setup.listener();
    let syn = Slice(frame);
    let traffic_class = headers.read_traffic_class(&syn);
    let ecn = headers.asks_for_ecn(&syn, tcp, traffic_class);
    let (terms, class) = Terms::grant(options, ecn, listener.flags);
    let epoch = cookie::epoch(setup.now_ns);
    let sequence = tcp.sequence;
    let cookie = cookie::make(
        &setup.key(),
        flow,
        sequence,
        epoch,
        class,
        terms.timestamps(),
    );
    let value = cookie::timestamp(&terms, setup.now_ns);
    let syn_ack = SynAck::new(
        &syn,
        &terms,
        &listener,
        traffic_class,
        cookie,
        value,
        options.value,
    )
    .no_longer_than(&syn, frame.len(), headers, flow);
    let mut answer = frame.to_vec();
    // What a longer frame brings with it is not zero.
    answer.resize(syn_ack.frame_length(headers, flow), 0xaa);
    let written = syn_ack.write(&mut Slice(&mut answer[..]), headers, flow, tcp);
    assert_eq!(written, Some(()), "a frame of its own length is enough");
    Answer {
        frame: answer,
        cookie,
        class,
        terms,
        value,
    }
}

const fn asks_for_ecn(tcp: &Tcp) -> bool {
    tcp.flags & (flags::ECE | flags::CWR) == flags::ECE | flags::CWR
}

/// A SYN's answer is well-formed, offers no more than was offered, and its
/// cookie comes back; true when there is one.
pub fn check(frame: &[u8], setup: &Setup) -> bool {
    let Some(read) = parse::read(frame).filter(is_answerable) else {
        return false;
    };
    let answer = answer(frame, &read, setup);
    let offered = check_frame(frame, &read, setup, &answer);
    check_terms(&read, setup, &answer, &offered);
    true
}

/// Checks Ethernet, IP and TCP headers; returns the options.
fn check_frame(syn: &[u8], read: &Read, setup: &Setup, answer: &Answer) -> Vec<TcpOptionElement> {
    let Answer { frame, .. } = answer;
    let packet = match SlicedPacket::from_ethernet(frame) {
        Ok(packet) => packet,
        Err(error) => panic!("{error}: {frame:02x?}"),
    };
    let Some(LinkSlice::Ethernet2(ethernet)) = &packet.link else {
        panic!("{packet:?}")
    };
    assert_eq!(ethernet.destination()[..], syn[6..12]);
    assert_eq!(ethernet.source()[..], syn[..6]);
    assert_eq!(
        frame[12..read.headers.ip],
        syn[12..read.headers.ip],
        "kind and tag"
    );
    let Some(TransportSlice::Tcp(tcp)) = &packet.transport else {
        panic!("{packet:?}")
    };
    let (source, destination) = (parse::local(&read.flow), parse::remote(&read.flow));
    let (ends, class, ttl, end, checksum): ((IpAddr, IpAddr), _, _, _, _) = match &packet.net {
        Some(NetSlice::Ipv4(ip)) => {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            assert_eq!(header.options.len(), 0);
            (
                (header.source.into(), header.destination.into()),
                ip.header().slice()[1],
                header.time_to_live,
                usize::from(header.total_len),
                tcp.calc_checksum_ipv4(header.source, header.destination),
            )
        }
        Some(NetSlice::Ipv6(ip)) => {
            let header = ip.header().to_header();
            assert!(ip.extensions().is_empty());
            let labelled = setup.flags & listener_flags::FLOW_LABEL != 0;
            assert!(labelled || header.flow_label.value() == 0);
            (
                (header.source.into(), header.destination.into()),
                header.traffic_class,
                header.hop_limit,
                usize::from(header.payload_length) + 40,
                tcp.calc_checksum_ipv6(header.source, header.destination),
            )
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(ends, (source.ip(), destination.ip()));
    assert_eq!(ttl, setup.ttl);
    let reflected = read.headers.read_traffic_class(&Slice(syn)) & !3;
    let expected = if setup.flags & listener_flags::REFLECT_TOS != 0 {
        reflected | (setup.tos & 3)
    } else {
        setup.tos
    };
    assert_eq!(class, expected);
    assert_eq!(end, frame.len() - read.headers.ip, "nothing behind it");
    assert_eq!(Ok(tcp.checksum()), checksum);
    assert_eq!(
        (tcp.source_port(), tcp.destination_port()),
        (source.port(), destination.port())
    );
    assert_eq!(tcp.sequence_number(), answer.cookie);
    assert_eq!(
        tcp.acknowledgment_number(),
        read.tcp.sequence.wrapping_add(1)
    );
    assert!(tcp.syn() && tcp.ack());
    assert!(!(tcp.fin() || tcp.rst() || tcp.psh() || tcp.urg() || tcp.cwr() || tcp.ns()));
    assert_eq!(tcp.ece(), answer.terms.ecn());
    assert_eq!(tcp.urgent_pointer(), 0);
    assert!(tcp.payload().is_empty());
    let window = if answer.terms.timestamps() {
        setup.window_with_timestamps
    } else {
        setup.window
    };
    assert_eq!(tcp.window_size(), window);
    // Who forges a source gains nothing by it.
    assert!(frame.len() <= syn.len(), "longer than the SYN");
    // The MSS is left out for that only.
    let room = syn.len() - frame.len();
    assert!(room < 4 || tcp.options().starts_with(&[2, 4]), "{room}");
    tcp.options_iterator()
        .map(|option| match option {
            Ok(option) => option,
            Err(error) => panic!("{error}: {:02x?}", tcp.options()),
        })
        .collect()
}

/// Checks the SYN-ACK's options against those of the SYN, and that its cookie
/// brings back what it offered.
fn check_terms(read: &Read, setup: &Setup, answer: &Answer, elements: &[TcpOptionElement]) {
    let Answer {
        cookie,
        class,
        terms,
        value,
        ..
    } = answer;
    let offered: &Options = &read.options;
    let may = |option, flag| offered.found & option != 0 && setup.flags & flag != 0;
    let (mut mss, mut scale, mut sack, mut timestamps) = (None, None, false, None);
    for element in elements {
        match element {
            TcpOptionElement::MaximumSegmentSize(it) => assert_eq!(mss.replace(*it), None),
            TcpOptionElement::WindowScale(it) => assert_eq!(scale.replace(*it), None),
            TcpOptionElement::SelectiveAcknowledgementPermitted => {
                assert!(!sack);
                sack = true;
            }
            TcpOptionElement::Timestamp(value, echo) => {
                assert_eq!(timestamps.replace((*value, *echo)), None);
            }
            TcpOptionElement::Noop => {}
            TcpOptionElement::SelectiveAcknowledgement(..) => panic!("{elements:?}"),
        }
    }
    assert!(mss.is_none_or(|mss| mss == setup.mss));
    assert!(scale.is_none_or(
        |scale| may(found::SCALE, listener_flags::WINDOW_SCALING) && scale == setup.scale % 15
    ));
    assert!(!sack || may(found::SACK, listener_flags::SACK));
    assert!(!terms.ecn() || (asks_for_ecn(&read.tcp) && setup.flags & listener_flags::ECN != 0));
    let both = may(found::TIMESTAMPS, listener_flags::TIMESTAMPS);
    assert_eq!(timestamps, both.then_some((*value, offered.value)));
    let now_ms = (setup.now_ns / 1_000_000) as u32;
    assert!(now_ms.wrapping_sub(*value) < 128, "{value} at {now_ms} ms");

    let kept = cookie::check(
        &setup.key(),
        &read.flow,
        read.tcp.sequence,
        *cookie,
        cookie::epoch(setup.now_ns),
        timestamps.is_some(),
        timestamps.map_or(0, |(value, _)| value),
    );
    assert_eq!(kept, Some(*terms), "class {class}");
    assert_eq!(terms.sack(), sack);
    assert_eq!(terms.scaling(), scale.is_some());
    assert_eq!(terms.timestamps(), timestamps.is_some());
    assert!(!terms.scaling() || terms.scale() <= offered.scale.min(14));
    // With timestamps there is room for all of it.
    assert!(!both || !terms.scaling() || terms.scale() == offered.scale.min(14));
    assert!(terms.mss() <= offered.mss.max(536), "{terms:?}");
}
