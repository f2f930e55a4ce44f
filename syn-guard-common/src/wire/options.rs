//! The options of a SYN (RFC 9293 section 3.1, RFC 7323, RFC 2018).

use super::frame::Frame;
use super::headers::{Headers, TCP_HEADER, Tcp};

const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
const SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const TIMESTAMPS: u8 = 8;
const MD5: u8 = 19;
/// `TCPOLEN_MD5SIG`: of another length the kernel takes it for unknown.
const MD5_SIZE: usize = 18;
const AUTHENTICATION: u8 = 29;

/// The first words of the options that Linux sends: MSS, SACK permitted,
/// timestamps in this order.
const LINUX_SACK_TIMESTAMPS: u32 = 0x0402_080a;

/// Bits of [`Options::found`].
pub mod found {
    /// Window scale.
    pub const SCALE: u32 = 1;
    /// SACK permitted.
    pub const SACK: u32 = 2;
    /// Timestamps.
    pub const TIMESTAMPS: u32 = 4;
    /// A TCP-MD5 signature (RFC 2385).
    pub const MD5: u32 = 8;
    /// A TCP-AO signature (RFC 5925).
    pub const AUTHENTICATION: u32 = 16;
}

/// The options of a segment, as far as syn-guard reads them. What was not
/// found is 0: a value that is not there, as in an `Option`, would be one that
/// the compiler may leave undefined, which the verifier does not accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Options {
    /// See [`found`].
    pub found: u32,
    /// Maximum segment size, bytes.
    pub mss: u16,
    /// Window scale, a shift.
    pub scale: u8,
    /// TSval: the sender's timestamp.
    pub value: u32,
    /// TSecr: the receiver's timestamp, echoed.
    pub echo: u32,
}

impl Options {
    /// The same options, of which the verifier remembers nothing ([`Frame::forget`]):
    /// what follows is the same for all of them.
    #[inline(always)]
    fn forget<F: Frame>(self, frame: &F) -> Self {
        Self {
            found: frame.forget(self.found as usize, 31) as u32,
            mss: frame.forget(usize::from(self.mss), 0xffff) as u16,
            scale: frame.forget(usize::from(self.scale), 0xff) as u8,
            value: frame.forget_word(self.value),
            echo: frame.forget_word(self.echo),
        }
    }
}

/// Reads the options of a segment. Reading ends at the first broken option,
/// as in the kernel (`tcp_parse_options`, Linux 6.18).
#[inline(always)]
pub fn read_options<F: Frame>(frame: &F, headers: &Headers, tcp: &Tcp) -> Options {
    let start = headers.tcp + TCP_HEADER;
    if tcp.length == TCP_HEADER + 12 {
        // An established connection's ACK: NOP, NOP, timestamps.
        if let Some(options) = frame.chunk::<12>(start)
            && options.u32::<0>() == 0x0101_080a
        {
            return Options {
                found: found::TIMESTAMPS,
                value: options.u32::<4>(),
                echo: options.u32::<8>(),
                ..Options::default()
            };
        }
    } else if tcp.length == TCP_HEADER + 8 {
        // MSS, NOP, window scale: what simple senders and floods send.
        if let Some(options) = frame.chunk::<8>(start)
            && options.u16::<0>() == 0x0204
            && options.u16::<4>() == 0x0103
            && options.u8::<6>() == 3
        {
            return Options {
                found: found::SCALE,
                mss: options.u16::<2>(),
                scale: options.u8::<7>(),
                ..Options::default()
            }
            .forget(frame);
        }
    } else if tcp.length == TCP_HEADER + 20
        && let Some(options) = frame.chunk::<20>(start)
        && options.u16::<0>() == 0x0204
        && options.u32::<4>() == LINUX_SACK_TIMESTAMPS
        && options.u16::<16>() == 0x0103
        && options.u8::<18>() == 3
    {
        return Options {
            found: found::SCALE | found::SACK | found::TIMESTAMPS,
            mss: options.u16::<2>(),
            scale: options.u8::<19>(),
            value: options.u32::<8>(),
            echo: options.u32::<12>(),
        }
        .forget(frame);
    }
    walk(frame, start, tcp.length - TCP_HEADER)
}

#[inline(always)]
fn walk<F: Frame>(frame: &F, start: usize, length: usize) -> Options {
    let start = frame.forget(start, 0x3fff);
    let (mut at, mut found) = (0, 0);
    // Begun as if they were known to nobody, for the verifier's sake.
    let mut mss = frame.forget(0, 0xffff);
    let mut scale = frame.forget(0, 0xff);
    let mut value = frame.forget(0, 0xffff_ffff);
    let mut echo = frame.forget(0, 0xffff_ffff);
    // Each round takes at least one of at most 40 bytes.
    for _ in 0..40 {
        at = frame.forget(at, 63);
        found = frame.forget(found, 31);
        let length = frame.forget(length, 63);
        if at >= length {
            break;
        }
        let Some(kind) = frame.chunk::<1>(start + at) else {
            break;
        };
        let kind = kind.u8::<0>();
        if kind == NOP {
            at += 1;
            continue;
        }
        let Some(option) = frame.chunk::<2>(start + at) else {
            break;
        };
        let size = usize::from(option.u8::<1>());
        if kind == END || size < 2 || at + size > length {
            break;
        }
        if kind == MSS && size == 4 {
            let Some(option) = frame.chunk::<4>(start + at) else {
                break;
            };
            mss = usize::from(option.u16::<2>());
        } else if kind == SCALE && size == 3 {
            let Some(option) = frame.chunk::<3>(start + at) else {
                break;
            };
            scale = usize::from(option.u8::<2>());
            found |= found::SCALE as usize;
        } else if kind == SACK_PERMITTED && size == 2 {
            found |= found::SACK as usize;
        } else if kind == TIMESTAMPS && size == 10 {
            let Some(option) = frame.chunk::<10>(start + at) else {
                break;
            };
            value = option.u32::<2>() as usize;
            echo = option.u32::<6>() as usize;
            found |= found::TIMESTAMPS as usize;
        } else if kind == MD5 && size == MD5_SIZE {
            found |= found::MD5 as usize;
        } else if kind == AUTHENTICATION {
            found |= found::AUTHENTICATION as usize;
        }
        at += size;
    }
    Options {
        found: found as u32,
        mss: mss as u16,
        scale: scale as u8,
        value: value as u32,
        echo: echo as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::Slice;
    use super::*;

    fn read(options: &[u8]) -> Options {
        let mut frame = [0; 60];
        frame[TCP_HEADER..TCP_HEADER + options.len()].copy_from_slice(options);
        let length = TCP_HEADER + options.len();
        let headers = Headers {
            ip: 0,
            tcp: 0,
            ipv6: false,
            segment_length: length,
            first_fragment: false,
        };
        let tcp = Tcp {
            source: 0,
            destination: 0,
            sequence: 0,
            acknowledgement: 0,
            length,
            flags: 0,
        };
        read_options(&Slice(&frame[..length]), &headers, &tcp)
    }

    const LINUX: [u8; 20] = [
        2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 3, 3, 10,
    ];

    #[test]
    fn linux_and_windows_orders_are_read() {
        let linux = Options {
            found: found::SCALE | found::SACK | found::TIMESTAMPS,
            mss: 1460,
            scale: 10,
            value: 1,
            echo: 2,
        };
        assert_eq!(read(&LINUX), linux);
        assert_eq!(walk(&Slice(&LINUX[..]), 0, 20), linux, "the slow way");
        let windows = [2, 4, 5, 0xb4, 1, 3, 3, 8, 1, 1, 4, 2];
        let expected = Options {
            found: found::SCALE | found::SACK,
            mss: 1460,
            scale: 8,
            ..Options::default()
        };
        assert_eq!(read(&windows), expected);
        let ack = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
        let expected = Options {
            found: found::TIMESTAMPS,
            value: 1,
            echo: 2,
            ..Options::default()
        };
        assert_eq!(read(&ack), expected);
    }

    #[test]
    fn unknown_options_change_nothing() {
        let options = [30, 4, 0, 0, 2, 4, 1, 0, 254, 6, 1, 2, 3, 4, 4, 2];
        let expected = Options {
            found: found::SACK,
            mss: 256,
            ..Options::default()
        };
        assert_eq!(read(&options), expected);
    }

    #[test]
    fn signatures_are_seen() {
        let md5 = [1, 1, 19, 18, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(read(&md5).found, found::MD5);
        let authentication = [29, 4, 1, 1, 2, 4, 1, 0];
        assert_eq!(read(&authentication).found, found::AUTHENTICATION);
        assert_eq!(read(&authentication).mss, 256);
    }

    #[test]
    fn reading_ends_at_the_first_broken_option() {
        let only_mss = Options {
            mss: 256,
            ..Options::default()
        };
        assert_eq!(read(&[2, 4, 1, 0, 3, 0, 4, 2]), only_mss);
        assert_eq!(read(&[2, 4, 1, 0, 3, 9, 4, 2]), only_mss);
        assert_eq!(read(&[2, 4, 1, 0, 0, 4, 2, 4]), only_mss);
        assert_eq!(read(&[1; 40]), Options::default());
    }
}
