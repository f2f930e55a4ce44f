//! What fuzzing begins with, `fuzz/corpus`: it is what is written here, and
//! every input in it, those found by fuzzing among them, passes its check.
//!
//! `SEEDS=write cargo test -p syn-guard-common --test seeds` writes it.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

mod checks;
mod frames;

use std::fs;
use std::path::{Path, PathBuf};

use arbitrary::{Arbitrary as _, Unstructured};
use checks::{answer, cookie, parse};
use frames::{Extension, Ip, MACOS, Shape, WINDOWS};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

fn v4() -> Ip {
    Ip::V4([[10, 1, 2, 3], [198, 18, 0, 1]], Vec::new())
}

fn v6(extensions: &[Extension]) -> Ip {
    let end = |last| {
        let mut address = [0; 16];
        address[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        address[15] = last;
        address
    };
    Ip::V6([end(7), end(1)], extensions.to_vec())
}

/// SYNs that are to be answered, by their names.
fn syns() -> Vec<(&'static str, Shape)> {
    use Extension::{Atomic, Authentication, Destination, HopByHop, Routing};
    let with = |ip: Ip, options: &[u8]| Shape {
        options: options.to_vec(),
        ..Shape::syn(ip)
    };
    let tagged = |kind| Shape {
        tags: vec![kind],
        ..Shape::syn(v4())
    };
    vec![
        ("ipv4-linux", Shape::syn(v4())),
        ("ipv4-windows", with(v4(), &WINDOWS)),
        ("ipv4-macos", with(v4(), &MACOS)),
        ("ipv4-no-options", with(v4(), &[])),
        (
            "ipv4-ecn-data",
            Shape {
                flags: 0xc2,
                payload: 9,
                ..Shape::syn(v4())
            },
        ),
        (
            "ipv4-ip-options",
            Shape::syn(Ip::V4([[10, 0, 0, 1], [198, 18, 0, 1]], vec![1; 8])),
        ),
        ("ipv4-8021q", tagged(0x8100)),
        ("ipv4-8021ad", tagged(0x88a8)),
        ("ipv6-linux", Shape::syn(v6(&[]))),
        ("ipv6-windows", with(v6(&[]), &WINDOWS)),
        (
            "ipv6-extensions",
            Shape::syn(v6(&[
                HopByHop(0),
                Destination(1),
                Routing(0),
                Atomic,
                Authentication(1),
            ])),
        ),
    ]
}

/// Other frames, by their names.
fn others() -> Vec<(&'static str, Vec<u8>)> {
    let shape = |tags: &[u16], flags, options: &[u8]| Shape {
        tags: tags.to_vec(),
        flags,
        options: options.to_vec(),
        ..Shape::syn(v4())
    };
    let ack = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
    let md5 = [19, 18, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1];
    let fragment = |field: [u8; 2]| {
        let (mut v4, mut v6) = (
            Shape::syn(v4()).build().0,
            Shape::syn(v6(&[Extension::Atomic])).build().0,
        );
        // Flags and offset are the other way round.
        v4[20..22].copy_from_slice(&(u16::from_be_bytes(field) >> 3).to_be_bytes());
        v4[20] |= (field[1] & 1) << 5;
        v6[14 + 40 + 2..14 + 40 + 4].copy_from_slice(&field);
        (v4, v6)
    };
    let (first, later) = (fragment([0, 1]), fragment([0, 8]));
    vec![
        ("ack", shape(&[], 0x10, &ack).build().0),
        ("md5", shape(&[], 0x02, &md5).build().0),
        ("qinq", shape(&[0x88a8, 0x8100], 0x02, &[]).build().0),
        ("first-fragment-ipv4", first.0),
        ("first-fragment-ipv6", first.1),
        ("later-fragment-ipv4", later.0),
        ("later-fragment-ipv6", later.1),
    ]
}

/// A listener that grants everything, as the fuzzer lays it out.
fn setup() -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(15_u32.to_le_bytes());
    bytes.extend(1460_u16.to_le_bytes());
    bytes.extend(64_240_u16.to_le_bytes());
    bytes.extend(65_160_u16.to_le_bytes());
    bytes.extend([7, 64, 0x28]);
    bytes.extend(0x0706_0504_0302_0100_u64.to_le_bytes());
    bytes.extend(0x0f0e_0d0c_0b0a_0908_u64.to_le_bytes());
    bytes.extend(123_456_789_012_345_u64.to_le_bytes());
    bytes
}

/// A handshake, as the fuzzer lays it out.
fn handshake(ipv6: bool, found: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    // The family is the highest bit.
    bytes.extend((u32::from(ipv6) << 31).to_le_bytes());
    bytes.resize(4 + if ipv6 { 32 } else { 8 }, 0x1d);
    bytes.extend(40_000_u16.to_le_bytes());
    bytes.extend(80_u16.to_le_bytes());
    bytes.extend(1_000_000_u32.to_le_bytes());
    bytes.extend(123_456_789_012_345_u64.to_le_bytes());
    bytes.push(found);
    bytes.extend(1460_u16.to_le_bytes());
    bytes.extend([8, 1]);
    bytes.extend(15_u32.to_le_bytes());
    bytes.extend(0..32);
    bytes
}

fn seeds() -> Vec<(PathBuf, Vec<u8>)> {
    let mut seeds = Vec::new();
    for (name, shape) in syns() {
        let frame = shape.build().0;
        seeds.push((format!("answer/{name}"), [setup(), frame.clone()].concat()));
        seeds.push((format!("parse/{name}"), frame));
    }
    for (name, frame) in others() {
        seeds.push((format!("parse/{name}"), frame));
    }
    for (name, ipv6, found) in [
        ("ipv4-all", false, 7),
        ("ipv4-bare", false, 3),
        ("ipv6-all", true, 7),
        ("ipv6-none", true, 0),
    ] {
        seeds.push((format!("cookie/{name}"), handshake(ipv6, found)));
    }
    seeds
        .into_iter()
        .map(|(name, bytes)| (corpus().join(name), bytes))
        .collect()
}

fn inputs(target: &str) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(corpus().join(target)).unwrap();
    let inputs: Vec<_> = entries
        .map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .collect();
    assert!(!inputs.is_empty());
    inputs
}

fn read_setup(input: &[u8]) -> (answer::Setup, &[u8]) {
    <(answer::Setup, &[u8])>::arbitrary_take_rest(Unstructured::new(input)).unwrap()
}

#[test]
fn the_seeds_are_what_they_say() {
    let write = std::env::var_os("SEEDS").is_some_and(|value| value == "write");
    for (path, bytes) in seeds() {
        if write {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        let found = fs::read(&path).unwrap_or_default();
        assert_eq!(found, bytes, "{}", path.display());
    }
}

#[test]
fn every_seed_reaches_what_it_is_for() {
    for (name, shape) in syns() {
        let input = [setup(), shape.build().0].concat();
        let (setup, frame) = read_setup(&input);
        assert!(answer::check(frame, &setup), "{name} gets no answer");
        assert_eq!((setup.flags, setup.mss, setup.ttl), (15, 1460, 64));
    }
    for ipv6 in [false, true] {
        let bytes = handshake(ipv6, 7);
        let handshake = cookie::Handshake::arbitrary_take_rest(Unstructured::new(&bytes)).unwrap();
        assert_eq!(handshake.ports, [40_000, 80]);
        assert_eq!(matches!(handshake.ends, cookie::Ends::V6(..)), ipv6);
        assert_eq!((handshake.mss, handshake.listener), (1460, 15));
    }
}

#[test]
fn every_input_passes_its_check() {
    for input in inputs("parse") {
        parse::check(&input);
    }
    for input in inputs("answer") {
        let (setup, frame) = read_setup(&input);
        answer::check(frame, &setup);
    }
    for input in inputs("cookie") {
        if let Ok(handshake) = cookie::Handshake::arbitrary_take_rest(Unstructured::new(&input)) {
            cookie::check(&handshake);
        }
    }
}
