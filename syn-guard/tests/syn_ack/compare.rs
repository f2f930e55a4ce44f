//! The guard's answer beside the kernel's.

use crate::frame::SynAck;
use crate::syns::Syn;

/// What a cookie without timestamps has room for: MSS, SACK, window scale.
const CLASSES: [(u16, bool, Option<u8>); 8] = [
    (536, false, None),
    (1300, false, None),
    (1220, true, None),
    (1220, false, Some(0)),
    (1220, true, Some(0)),
    (1440, true, Some(6)),
    (1300, true, Some(8)),
    (1440, true, Some(8)),
];

/// The fields that differ: name, the kernel's, the guard's.
pub fn differences(syn: &Syn, kernel: &SynAck, guard: &SynAck) -> Vec<String> {
    let mut expected = kernel.clone();
    if kernel.options.echo.is_none() {
        // Without timestamps a cookie carries no ECN, and not every pair of
        // SACK and window scale (the kernel's own carries neither).
        if kernel.ece && !guard.ece {
            change(&mut expected, "flags", |flags| {
                let flags = u16::from_str_radix(&flags[2..], 16).unwrap();
                format!("{:#05x}", flags & !0x40)
            });
        }
        let less = (kernel.options.sack || !guard.options.sack)
            && (kernel.options.scale.is_some() || guard.options.scale.is_none());
        if kernel.options != guard.options && less && !has_room(syn, kernel) {
            lay_out(&mut expected, guard.options.sack, guard.options.scale);
        }
    }
    if has_no_room_for_the_mss(syn, &expected) {
        leave_the_mss_out(&mut expected);
    }
    if expected.fields.len() != guard.fields.len() {
        return vec![format!("{:?}\n{:?}", expected.fields, guard.fields)];
    }
    expected
        .fields
        .iter()
        .zip(&guard.fields)
        .filter(|(expected, got)| expected != got)
        .map(|((name, kernel), (_, guard))| format!("{name}: kernel {kernel}, guard {guard}"))
        .collect()
}

/// Whether a cookie has room for what the kernel granted.
fn has_room(syn: &Syn, kernel: &SynAck) -> bool {
    let (mss, scale) = offer(&syn.options);
    let granted = (kernel.options.sack, kernel.options.scale.map(|_| scale));
    CLASSES.iter().any(|(least, sack, floor)| {
        mss >= *least
            && *sack == granted.0
            && floor.is_some() == granted.1.is_some()
            && *floor <= granted.1
    })
}

/// The MSS and the window scale that options offer, as the kernel reads them.
fn offer(options: &[u8]) -> (u16, u8) {
    let (mut mss, mut scale, mut at) = (536, 0, 0);
    while at < options.len() && options[at] != 0 {
        let length = match (options[at], options.get(at + 1)) {
            (1, _) => 1,
            (_, Some(length)) if *length >= 2 => usize::from(*length),
            _ => break,
        };
        let Some(option) = options.get(at..at + length) else {
            break;
        };
        match option {
            [2, 4, high, low] if (*high, *low) != (0, 0) => mss = u16::from_be_bytes([*high, *low]),
            [3, 3, shift] => scale = (*shift).min(14),
            _ => {}
        }
        at += length;
    }
    (mss, scale)
}

/// A named difference: the kernel sends its MSS to whoever asks, the guard only
/// where its answer is no longer than the SYN.
pub fn has_no_room_for_the_mss(syn: &Syn, answer: &SynAck) -> bool {
    syn.payload.is_empty() && option_bytes(answer).len() > syn.options.len()
}

fn leave_the_mss_out(answer: &mut SynAck) {
    let bytes = option_bytes(answer);
    assert_eq!(bytes[..2], [2, 4], "it comes first");
    set_options(answer, &bytes[4..]);
}

/// Options without timestamps as the kernel lays them out.
fn lay_out(answer: &mut SynAck, sack: bool, scale: Option<u8>) {
    let mut bytes = option_bytes(answer)[..4].to_vec();
    if sack {
        bytes.extend([1, 1, 4, 2]);
    }
    if let Some(scale) = scale {
        bytes.extend([1, 3, 3, scale]);
    }
    set_options(answer, &bytes);
}

fn option_bytes(answer: &SynAck) -> Vec<u8> {
    let (_, options) = answer
        .fields
        .iter()
        .find(|(name, _)| *name == "options")
        .unwrap();
    options
        .trim_matches(['[', ']'])
        .split(", ")
        .filter(|byte| !byte.is_empty())
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

fn set_options(answer: &mut SynAck, bytes: &[u8]) {
    change(answer, "options", |_| format!("{bytes:02x?}"));
    let segment = 20 + bytes.len();
    let ipv4 = answer.fields.iter().any(|(name, _)| *name == "TTL");
    change(answer, "data offset", |_| (segment / 4).to_string());
    if ipv4 {
        change(answer, "total length", |_| (20 + segment).to_string());
        change(answer, "frame length", |_| (34 + segment).to_string());
    } else {
        change(answer, "payload length", |_| segment.to_string());
        change(answer, "frame length", |_| (54 + segment).to_string());
    }
}

fn change(answer: &mut SynAck, field: &str, new: impl FnOnce(&str) -> String) {
    let (_, value) = answer
        .fields
        .iter_mut()
        .find(|(name, _)| *name == field)
        .unwrap();
    *value = new(value);
}
