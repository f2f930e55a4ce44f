//! Bytes without a meaning.

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _};

use crate::build::Segment;
use crate::reference::Frame;
use crate::setting::PROTECTING;

/// Random bytes, some behind headers that are right.
pub fn bytes(random: &mut StdRng) -> Frame {
    let mut bytes = vec![0; random.random_range(14..200)];
    random.fill_bytes(&mut bytes);
    let right = Segment::to_port(PROTECTING).build().bytes;
    let keep = [0, 14, 24, 34][random.random_range(0..4)].min(bytes.len());
    bytes[..keep].copy_from_slice(&right[..keep]);
    Frame {
        linear: bytes.len(),
        bytes,
    }
}

/// Changes a few bytes among the first hundred.
pub fn flip(random: &mut StdRng, frame: &mut Frame) {
    for _ in 0..random.random_range(1..4) {
        let at = random.random_range(0..frame.bytes.len().min(100));
        let bit = 1 << random.random_range(0..8);
        match random.random_range(0..2) {
            0 => frame.bytes[at] ^= bit,
            _ => frame.bytes[at] = random.random(),
        }
    }
}
