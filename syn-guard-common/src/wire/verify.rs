//! Whether a SYN's checksums are right: the stack drops it when they are not.

use super::checksum::Sum;
use super::frame::{Chunk, Frame};
use super::headers::{Headers, IPV4, TCP_HEADER};
use crate::flow::Flow;

/// Segments up to this many bytes are summed: a SYN with as much data as an
/// Ethernet frame takes.
const LONGEST: usize = 1536;
/// Bytes summed in a long round and in a short one.
const LONG_ROUND: usize = 64;
const ROUND: usize = 16;

impl Headers {
    /// Whether the checksums of the IPv4 header and of the segment are right.
    /// That of a segment is also when it is just the sum of the
    /// pseudo-header: a sender on this machine (veth, virtio) leaves the rest
    /// to the network card. A segment that is not wholly in the frame's
    /// directly readable part, or longer than 1,536 bytes, is not looked at.
    #[inline(always)]
    pub fn has_right_checksums<F: Frame>(&self, frame: &F, flow: &Flow) -> bool {
        if !self.ipv6 && !self.has_right_ipv4_checksum(frame) {
            return false;
        }
        let length = self.segment_length;
        if length > LONGEST || self.tcp + length > frame.length() {
            return true;
        }
        let Some(header) = frame.chunk::<TCP_HEADER>(self.tcp) else {
            return true;
        };
        let pseudo = Sum::default()
            .add_words(&flow.remote.0)
            .add_words(&flow.local.0)
            .add(6)
            .add(length as u32);
        if header.u16::<16>() == !pseudo.finish() {
            return true;
        }
        let sum = add(pseudo, &header).add_word(header.word::<16>());
        let start = self.tcp + TCP_HEADER;
        sum_rest(frame, start, length.wrapping_sub(TCP_HEADER), sum).finish() == 0
    }

    #[inline(always)]
    fn has_right_ipv4_checksum<F: Frame>(&self, frame: &F) -> bool {
        let Some(header) = frame.chunk::<IPV4>(self.ip) else {
            return false;
        };
        let mut sum = add(Sum::default(), &header).add_word(header.word::<16>());
        let mut at = self.ip + IPV4;
        // Options take ten words at most.
        for _ in 0..10 {
            at = frame.forget(at, 0x7f);
            if at >= self.tcp {
                break;
            }
            let Some(word) = frame.chunk::<4>(at) else {
                return false;
            };
            sum = sum.add_word(word.word::<0>());
            at += 4;
        }
        sum.finish() == 0
    }
}

/// Adds the first sixteen bytes.
#[inline(always)]
fn add<const N: usize>(sum: Sum, chunk: &Chunk<'_, N>) -> Sum {
    sum.add_word(chunk.word::<0>())
        .add_word(chunk.word::<4>())
        .add_word(chunk.word::<8>())
        .add_word(chunk.word::<12>())
}

/// Adds 64 bytes.
#[inline(always)]
fn add_long(sum: Sum, chunk: &Chunk<'_, LONG_ROUND>) -> Sum {
    add(sum, chunk)
        .add_word(chunk.word::<16>())
        .add_word(chunk.word::<20>())
        .add_word(chunk.word::<24>())
        .add_word(chunk.word::<28>())
        .add_word(chunk.word::<32>())
        .add_word(chunk.word::<36>())
        .add_word(chunk.word::<40>())
        .add_word(chunk.word::<44>())
        .add_word(chunk.word::<48>())
        .add_word(chunk.word::<52>())
        .add_word(chunk.word::<56>())
        .add_word(chunk.word::<60>())
}

/// Adds `length` bytes from `start` on.
#[inline(always)]
fn sum_rest<F: Frame>(frame: &F, start: usize, length: usize, sum: Sum) -> Sum {
    let mut sum = sum;
    let mut at = 0;
    // Few long rounds: the verifier follows each of them.
    for _ in 0..LONGEST / LONG_ROUND {
        at = frame.forget(at, 0x7ff);
        if at + LONG_ROUND > length {
            break;
        }
        let Some(chunk) = frame.chunk::<LONG_ROUND>(start + at) else {
            return sum;
        };
        sum = add_long(sum, &chunk);
        at += LONG_ROUND;
    }
    for _ in 0..LONG_ROUND / ROUND - 1 {
        at = frame.forget(at, 0x7ff);
        if at + ROUND > length {
            break;
        }
        let Some(chunk) = frame.chunk::<ROUND>(start + at) else {
            return sum;
        };
        sum = add(sum, &chunk);
        at += ROUND;
    }
    at = frame.forget(at, 0x7ff);
    if at + 8 <= length {
        let Some(chunk) = frame.chunk::<8>(start + at) else {
            return sum;
        };
        sum = sum.add_word(chunk.word::<0>()).add_word(chunk.word::<4>());
        at += 8;
    }
    at = frame.forget(at, 0x7ff);
    if at + 4 <= length {
        let Some(chunk) = frame.chunk::<4>(start + at) else {
            return sum;
        };
        sum = sum.add_word(chunk.word::<0>());
        at += 4;
    }
    at = frame.forget(at, 0x7ff);
    if at + 2 <= length {
        let Some(chunk) = frame.chunk::<2>(start + at) else {
            return sum;
        };
        sum = sum.add(u32::from(chunk.u16::<0>()));
        at += 2;
    }
    at = frame.forget(at, 0x7ff);
    if at < length {
        let Some(chunk) = frame.chunk::<1>(start + at) else {
            return sum;
        };
        // The last byte stands in the high half of a 16-bit value.
        sum = sum.add(u32::from(chunk.u8::<0>()) << 8);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::super::frame::Slice;
    use super::*;
    use etherparse::{IpNumber, Ipv4Header, PacketBuilder};

    fn syn(ipv6: bool, ip_options: usize, options: usize, data: usize) -> Vec<u8> {
        let mut frame = Vec::new();
        let ethernet = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let ip = if ipv6 {
            ethernet.ipv6([0x20; 16], [0x30; 16], 64)
        } else {
            let mut header =
                Ipv4Header::new(0, 64, IpNumber::TCP, [10, 1, 2, 3], [198, 18, 0, 1]).unwrap();
            header.options = (&vec![1; ip_options][..]).try_into().unwrap();
            ethernet.ip(etherparse::IpHeaders::Ipv4(header, Default::default()))
        };
        let data: Vec<u8> = (0..data).map(|byte| byte as u8 ^ 0xa5).collect();
        ip.tcp(40_000, 80, 7, 100)
            .syn()
            .options_raw(&vec![1; options])
            .unwrap()
            .write(&mut frame, &data)
            .unwrap();
        frame
    }

    fn is_right(frame: &[u8]) -> bool {
        let slice = Slice(frame);
        let headers = Headers::find(&slice).unwrap();
        let tcp = headers.read_tcp(&slice).unwrap();
        let flow = headers.read_flow(&slice, &tcp).unwrap();
        headers.has_right_checksums(&slice, &flow)
    }

    #[test]
    fn right_sums_are_right_whatever_the_length() {
        for ipv6 in [false, true] {
            for ip_options in [0, 4, 40] {
                for options in [0, 4, 20, 40] {
                    for data in [0, 1, 2, 3, 4, 5, 15, 16, 17, 31, 536, 1459, 1460, 1476] {
                        let frame = syn(ipv6, ip_options, options, data);
                        assert!(is_right(&frame), "{ipv6} {ip_options} {options} {data}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_changed_byte_anywhere_is_noticed() {
        for (ipv6, data) in [
            (false, 0),
            (true, 0),
            (false, 33),
            (true, 34),
            (false, 1400),
        ] {
            let good = syn(ipv6, if ipv6 { 0 } else { 8 }, 20, data);
            let first = if ipv6 { 22 } else { 24 };
            for at in first..good.len() {
                let mut bad = good.clone();
                bad[at] ^= 0x40;
                let slice = Slice(&bad[..]);
                let Ok(headers) = Headers::find(&slice) else {
                    continue;
                };
                let Some(tcp) = headers.read_tcp(&slice) else {
                    continue;
                };
                let Some(flow) = headers.read_flow(&slice, &tcp) else {
                    continue;
                };
                assert!(
                    !headers.has_right_checksums(&slice, &flow),
                    "{ipv6} byte {at}"
                );
            }
        }
    }

    #[test]
    fn a_sum_left_to_the_card_is_right() {
        for ipv6 in [false, true] {
            let mut frame = syn(ipv6, 0, 12, 0);
            let slice = Slice(&frame[..]);
            let headers = Headers::find(&slice).unwrap();
            let tcp = headers.read_tcp(&slice).unwrap();
            let flow = headers.read_flow(&slice, &tcp).unwrap();
            let pseudo = Sum::default()
                .add_words(&flow.remote.0)
                .add_words(&flow.local.0)
                .add(6)
                .add(headers.segment_length as u32);
            let field = headers.tcp + 16;
            frame[field..field + 2].copy_from_slice(&(!pseudo.finish()).to_be_bytes());
            assert!(is_right(&frame));
            frame[field] ^= 1;
            assert!(!is_right(&frame));
        }
    }

    #[test]
    fn what_is_too_long_is_not_looked_at() {
        let mut frame = syn(false, 0, 0, 1517);
        frame[60] ^= 1;
        assert!(is_right(&frame));
    }
}
