//! Reading any bytes as a frame.

use core::net::{IpAddr, SocketAddr};

use syn_guard_common::flow::Flow;
use syn_guard_common::wire::{Frame as _, Headers, Options, Slice, Tcp, read_options};

use super::reference::{self, Reference};

/// A segment as the guard reads it.
#[derive(Debug)]
pub struct Read {
    /// Where its headers stand.
    pub headers: Headers,
    /// Its TCP header.
    pub tcp: Tcp,
    /// Its connection.
    pub flow: Flow,
    /// Its options.
    pub options: Options,
}

/// Reads a frame as the data path does; none when it holds no whole segment.
pub fn read(frame: &[u8]) -> Option<Read> {
    let frame = Slice(frame);
    let headers = Headers::find(&frame).ok()?;
    if headers.first_fragment {
        // As for its ports: its flow is read, whatever it is.
        let tcp = headers.read_tcp(&frame)?;
        let _ = headers.read_flow(&frame, &tcp);
        return None;
    }
    let tcp = headers.read_tcp(&frame)?;
    let flow = headers.read_flow(&frame, &tcp)?;
    let options = read_options(&frame, &headers, &tcp);
    Some(Read {
        headers,
        tcp,
        flow,
        options,
    })
}

/// The guard and etherparse agree on a frame; what the guard reads stands
/// within it.
pub fn check(frame: &[u8]) {
    let ours = read(frame);
    if let Some(ours) = &ours {
        let Read {
            headers,
            tcp,
            options,
            ..
        } = ours;
        let end = headers.tcp + headers.segment_length;
        assert!(Slice(frame).holds(end), "{ours:?}");
        assert!((20..=60).contains(&tcp.length) && tcp.length <= headers.segment_length);
        let bytes = &frame[headers.tcp + 20..headers.tcp + tcp.length];
        assert_eq!(*options, reference::options(bytes), "{bytes:?}");
        if let Some(known) = reference::known_options(bytes) {
            assert_eq!(*options, known, "{bytes:?}");
        }
    }
    match (ours, Reference::of(frame)) {
        (None, Reference::Other | Reference::Strict) => {}
        (None, Reference::Segment(theirs)) => {
            assert!(theirs.beyond.is_some(), "passed over: {theirs:?}");
        }
        (Some(ours), Reference::Other) => panic!("no segment, but read: {ours:?}"),
        (Some(ours), Reference::Strict) => assert!(ours.headers.ipv6, "{ours:?}"),
        (Some(ours), Reference::Segment(theirs)) => {
            assert_eq!(theirs.beyond, None, "{ours:?} {theirs:?}");
            let Read {
                headers, tcp, flow, ..
            } = &ours;
            assert_eq!(
                (headers.tcp, headers.segment_length),
                (theirs.offset, theirs.length)
            );
            assert_eq!(headers.ipv6, theirs.source.is_ipv6());
            assert_eq!(remote(flow), theirs.source);
            assert_eq!(local(flow), theirs.destination);
            assert_eq!(
                (tcp.source, tcp.destination),
                (theirs.source.port(), theirs.destination.port())
            );
            assert_eq!(
                (tcp.sequence, tcp.acknowledgement, tcp.flags),
                (theirs.sequence, theirs.acknowledgement, theirs.flags)
            );
            assert_eq!(tcp.length, 20 + theirs.options.len());
            assert_eq!(
                headers.read_traffic_class(&Slice(frame)),
                theirs.traffic_class
            );
            let right = headers.has_right_checksums(&Slice(frame), flow);
            if theirs.length <= 1536 {
                assert_eq!(right, theirs.right_checksums, "{ours:?}");
            } else {
                assert!(right || !theirs.right_checksums, "{ours:?}");
            }
        }
    }
}

/// The client's end.
pub fn remote(flow: &Flow) -> SocketAddr {
    SocketAddr::new(IpAddr::from(flow.remote), flow.remote_port)
}

/// The service's end.
pub fn local(flow: &Flow) -> SocketAddr {
    SocketAddr::new(IpAddr::from(flow.local), flow.local_port)
}
