//! Options of TCP: those of known stacks, and those of none.

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _};

/// The options of a stack that somebody runs.
pub fn usual(random: &mut StdRng) -> Vec<u8> {
    let [high, low] = mss(random).to_be_bytes();
    let [a, b, c, d]: [u8; 4] = random.random();
    let scale = random.random_range(0..=14);
    match random.random_range(0..8) {
        // Linux.
        0..3 => vec![
            2, 4, high, low, 4, 2, 8, 10, a, b, c, d, 0, 0, 0, 0, 1, 3, 3, scale,
        ],
        // Windows.
        3 | 4 => vec![2, 4, high, low, 1, 3, 3, 8, 1, 1, 4, 2],
        // macOS and iOS.
        5 => vec![
            2, 4, high, low, 1, 3, 3, 6, 1, 1, 8, 10, a, b, c, d, 0, 0, 0, 0, 4, 2, 0, 0,
        ],
        // FreeBSD.
        6 => vec![
            2, 4, high, low, 1, 3, 3, 6, 4, 2, 8, 10, a, b, c, d, 0, 0, 0, 0,
        ],
        // Those that say nothing, or only a size.
        _ => match random.random_range(0..2) {
            0 => vec![],
            _ => vec![2, 4, high, low],
        },
    }
}

/// Sizes at and beside the classes.
fn mss(random: &mut StdRng) -> u16 {
    const SIZES: [u16; 16] = [
        0, 1, 64, 536, 1200, 1220, 1240, 1300, 1360, 1380, 1400, 1440, 1452, 1460, 8960, 65_495,
    ];
    let size = SIZES[random.random_range(0..SIZES.len())];
    match random.random_range(0..6) {
        0 => size.wrapping_sub(1),
        1 => size.wrapping_add(1),
        2 => random.random(),
        _ => size,
    }
}

/// Any options: right ones of all kinds in any order, more than once, cut
/// anywhere, or bytes that are no options at all.
pub fn any(random: &mut StdRng) -> Vec<u8> {
    let mut options = Vec::new();
    for _ in 0..random.random_range(1..8) {
        option(random, &mut options);
    }
    match random.random_range(0..8) {
        0 => options.truncate(random.random_range(0..=options.len())),
        1 => {
            let at = random.random_range(0..options.len());
            options[at] = random.random();
        }
        2 => {
            options = vec![0; random.random_range(0..=40)];
            random.fill_bytes(&mut options);
        }
        _ => {}
    }
    options
}

fn option(random: &mut StdRng, options: &mut Vec<u8>) {
    let (kind, length) = match random.random_range(0..16) {
        0 | 1 => (1, 1),
        2 => (0, 1),
        3 | 4 => (2, 4),
        5 | 6 => (3, 3),
        7 | 8 => (4, 2),
        9 | 10 => (8, 10),
        // SACK blocks, which belong in no SYN.
        11 => (5, 10),
        // MPTCP's MP_CAPABLE.
        12 => (30, 12),
        // Fast Open, a request and a cookie.
        13 => (34, 2),
        14 => (34, 10),
        // Experiments.
        _ => (254, 6),
    };
    let mut right = vec![0; length];
    random.fill_bytes(&mut right);
    right[0] = kind;
    if let Some(second) = right.get_mut(1) {
        *second = length as u8;
    }
    options.extend(right);
    // A length that is wrong.
    if random.random_bool(0.05)
        && let Some(length) = options.len().checked_sub(1)
    {
        options[length] = random.random_range(0..12);
    }
}

/// A signature, behind or before the other options.
pub fn sign(random: &mut StdRng, options: &mut Vec<u8>) {
    let (kind, length) = match random.random_range(0..3) {
        0 | 1 => (19, 18),
        _ => (29, 16),
    };
    let mut signature = vec![0; length];
    random.fill_bytes(&mut signature);
    signature[0] = kind;
    signature[1] = length as u8;
    if random.random_bool(0.5) {
        options.extend(signature);
    } else {
        options.splice(0..0, signature);
    }
}
