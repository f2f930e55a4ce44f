//! The options of a SYN.

use super::parse::{Frame, Located, Tcp};

/// What a SYN offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// 0 where none is offered.
    pub mss: u16,
    pub scale: Option<u8>,
    pub sack: bool,
    /// TSval.
    pub timestamp: Option<u32>,
    /// A TCP-MD5 signature.
    pub md5: bool,
    /// A TCP-AO signature.
    pub ao: bool,
}

/// Reads the options, up to the first one that is broken or that the first
/// buffer does not have whole.
pub fn read(frame: &Frame, located: &Located, tcp: &Tcp) -> Offer {
    let readable = frame.readable();
    let end = (located.tcp_at + tcp.length).min(readable.len());
    let mut rest = readable.get(located.tcp_at + 20..end).unwrap_or_default();
    let mut offer = Offer::default();
    loop {
        match rest {
            // No operation.
            [1, others @ ..] => rest = others,
            // The end, an option without length, or none.
            [] | [0, ..] | [_] => return offer,
            [kind, length, ..] => {
                let length = usize::from(*length);
                if length < 2 || length > rest.len() {
                    return offer;
                }
                let (option, others) = rest.split_at(length);
                match (kind, &option[2..]) {
                    (2, [high, low]) => offer.mss = u16::from_be_bytes([*high, *low]),
                    (3, [scale]) => offer.scale = Some(*scale),
                    (4, []) => offer.sack = true,
                    (8, [a, b, c, d, _, _, _, _]) => {
                        offer.timestamp = Some(u32::from_be_bytes([*a, *b, *c, *d]));
                    }
                    (19, signature) if signature.len() == 16 => offer.md5 = true,
                    (29, _) => offer.ao = true,
                    _ => {}
                }
                rest = others;
            }
        }
    }
}
