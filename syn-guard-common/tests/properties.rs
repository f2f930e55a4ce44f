//! Properties of the parser, the SYN-ACK builder and the cookies that hold
//! for every input, tried on generated ones.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

mod checks;
mod frames;

use core::net::SocketAddr;

use arbitrary::{Arbitrary as _, Unstructured};
use checks::{answer, cookie, parse};
use frames::{Extension, Ip, LINUX, MACOS, Shape, WINDOWS};
use proptest::collection::vec;
use proptest::prelude::*;
use syn_guard_common::wire::{Slice, found};

/// Options one after the other, of every kind the guard knows and of others,
/// some of them broken.
fn options() -> impl Strategy<Value = Vec<u8>> {
    let one = prop_oneof![
        4 => Just(vec![1]),
        1 => Just(vec![0]),
        4 => any::<u16>().prop_map(|mss| [&[2, 4][..], &mss.to_be_bytes()].concat()),
        4 => (0..=20_u8).prop_map(|scale| vec![3, 3, scale]),
        4 => Just(vec![4, 2]),
        4 => any::<[u8; 8]>().prop_map(|times| [&[8, 10][..], &times].concat()),
        1 => any::<[u8; 16]>().prop_map(|hash| [&[19, 18][..], &hash].concat()),
        2 => (any::<u8>(), 0..8_u8).prop_map(|(kind, size)| {
            let mut option = vec![kind, size];
            option.resize(usize::from(size.max(2)), 0x5a);
            option
        }),
    ];
    let mixed = vec(one, 0..8).prop_map(|options| {
        let mut bytes = options.concat();
        bytes.truncate(40);
        while bytes.len() % 4 != 0 {
            bytes.push(1);
        }
        bytes
    });
    prop_oneof![
        1 => Just(LINUX.to_vec()),
        1 => Just(WINDOWS.to_vec()),
        1 => Just(MACOS.to_vec()),
        6 => mixed,
    ]
}

fn extension() -> impl Strategy<Value = Extension> {
    prop_oneof![
        (0..4_u8).prop_map(Extension::Routing),
        (0..=255_u8).prop_map(Extension::Destination),
        Just(Extension::Atomic),
        (0..8_u8).prop_map(Extension::Authentication),
    ]
}

fn ip() -> impl Strategy<Value = Ip> {
    let v4 = (any::<[[u8; 4]; 2]>(), 0..=10_usize)
        .prop_map(|(ends, words)| Ip::V4(ends, vec![1; words * 4]));
    let extensions = (proptest::option::of(0..4_u8), vec(extension(), 0..6)).prop_map(
        |(hop_by_hop, mut extensions)| {
            if let Some(more) = hop_by_hop {
                extensions.insert(0, Extension::HopByHop(more));
            }
            extensions
        },
    );
    let v6 = (any::<[[u8; 16]; 2]>(), extensions).prop_map(|(ends, it)| Ip::V6(ends, it));
    prop_oneof![v4, v6]
}

/// A frame that the guard must be able to read.
fn shape() -> impl Strategy<Value = Shape> {
    let flags = prop_oneof![Just(0x02), Just(0xc2), any::<u8>()];
    (
        vec(prop_oneof![Just(0x8100), Just(0x88a8)], 0..=2),
        ip(),
        (any::<[u16; 2]>(), any::<[u32; 2]>(), flags),
        options(),
        (0..64_usize, 0..8_usize),
    )
        .prop_map(
            |(tags, ip, (ports, numbers, flags), options, sizes)| Shape {
                tags,
                ip,
                ports,
                numbers,
                flags,
                options,
                payload: sizes.0,
                padding: sizes.1,
            },
        )
}

/// A frame with some bytes changed, cut anywhere or with more behind it.
fn broken() -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let cut = proptest::option::of(any::<prop::sample::Index>());
    (shape(), changes, cut).prop_map(|(shape, changes, cut)| {
        let (mut frame, places) = shape.build();
        for (index, value) in changes {
            // Most headers are near the start.
            let at = index.index(places.end.min(places.tcp + 60));
            frame[at] = value;
        }
        if let Some(cut) = cut {
            frame.truncate(cut.index(frame.len() + 1));
        }
        frame
    })
}

fn setup() -> impl Strategy<Value = answer::Setup> {
    (any::<[u8; 64]>(), prop_oneof![Just(15), any::<u32>()]).prop_map(|(bytes, flags)| {
        let setup = answer::Setup::arbitrary(&mut Unstructured::new(&bytes)).unwrap();
        answer::Setup { flags, ..setup }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn what_was_built_is_read(shape in shape()) {
        let (frame, places) = shape.build();
        let read = parse::read(&frame).unwrap();
        let (source, destination): (SocketAddr, SocketAddr) = match &shape.ip {
            Ip::V4(ends, _) => (
                (ends[0], shape.ports[0]).into(),
                (ends[1], shape.ports[1]).into(),
            ),
            Ip::V6(ends, _) => (
                (ends[0], shape.ports[0]).into(),
                (ends[1], shape.ports[1]).into(),
            ),
        };
        prop_assert_eq!(parse::remote(&read.flow), source);
        prop_assert_eq!(parse::local(&read.flow), destination);
        prop_assert_eq!((read.headers.ip, read.headers.tcp), (places.ip, places.tcp));
        prop_assert_eq!(read.headers.tcp + read.headers.segment_length, places.end);
        prop_assert_eq!(
            [read.tcp.sequence, read.tcp.acknowledgement],
            shape.numbers
        );
        prop_assert_eq!(read.tcp.flags, shape.flags);
        prop_assert_eq!(read.tcp.length, 20 + shape.options.len());
        prop_assert!(read.headers.has_right_checksums(&Slice(&frame[..]), &read.flow));
        parse::check(&frame);
    }

    #[test]
    fn a_broken_frame_is_read_as_etherparse_reads_it(frame in broken()) {
        parse::check(&frame);
    }

    #[test]
    fn any_bytes_are_read_as_etherparse_reads_them(
        frame in vec(any::<u8>(), 0..128),
        kind in prop_oneof![Just(0x0800_u16), Just(0x86dd), Just(0x8100), any::<u16>()],
    ) {
        let mut frame = frame;
        if let Some(place) = frame.get_mut(12..14) {
            place.copy_from_slice(&kind.to_be_bytes());
        }
        parse::check(&frame);
    }

    #[test]
    fn a_syn_gets_a_good_answer(shape in shape(), syn in any::<bool>(), setup in setup()) {
        let mut shape = shape;
        if syn {
            shape.flags = 0x02 | (shape.flags & 0xc0);
            shape.tags.truncate(1);
        }
        let (frame, _) = shape.build();
        let answered = answer::check(&frame, &setup);
        let signatures = found::MD5 | found::AUTHENTICATION;
        let signed = parse::read(&frame).unwrap().options.found & signatures != 0;
        prop_assert!(!syn || answered || signed);
    }

    #[test]
    fn a_broken_syn_gets_a_good_answer_or_none(frame in broken(), setup in setup()) {
        answer::check(&frame, &setup);
    }

    #[test]
    fn a_cookie_proves_its_own_handshake_only(bytes in vec(any::<u8>(), 128)) {
        let handshake = cookie::Handshake::arbitrary(&mut Unstructured::new(&bytes)).unwrap();
        cookie::check(&handshake);
    }
}
