//! The options of a SYN (RFC 9293 section 3.1, RFC 7323, RFC 2018).

use super::frame::Frame;
use super::headers::{Headers, TCP_HEADER, Tcp};

const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
const SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const TIMESTAMPS: u8 = 8;

/// The first words of the options that Linux sends: MSS, SACK permitted,
/// timestamps in this order.
const LINUX_SACK_TIMESTAMPS: u32 = 0x0402_080a;

/// What a client offers in its SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Offer {
    /// The largest segment it takes, bytes; 0 when not said.
    pub mss: u16,
    /// Its window scale.
    pub scale: Option<u8>,
    /// It understands selective acknowledgements.
    pub sack: bool,
    /// Its timestamp.
    pub timestamp: Option<u32>,
    /// It asks for ECN (RFC 3168 section 6.1.1). A flag, not an option.
    pub ecn: bool,
}

/// The options of any segment that syn-guard reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Options {
    /// Maximum segment size, bytes; 0 when not there.
    pub mss: u16,
    /// Window scale.
    pub scale: Option<u8>,
    /// SACK permitted.
    pub sack: bool,
    /// TSval and TSecr.
    pub timestamps: Option<(u32, u32)>,
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
                timestamps: Some((options.u32::<4>(), options.u32::<8>())),
                ..Options::default()
            };
        }
    } else if tcp.length == TCP_HEADER + 20
        && let Some(options) = frame.chunk::<20>(start)
        && options.u16::<0>() == 0x0204
        && options.u32::<4>() == LINUX_SACK_TIMESTAMPS
        && options.u16::<16>() == 0x0103
        && options.u8::<18>() == 3
    {
        return Options {
            mss: options.u16::<2>(),
            scale: Some(options.u8::<19>()),
            sack: true,
            timestamps: Some((options.u32::<8>(), options.u32::<12>())),
        };
    }
    walk(frame, start, tcp.length - TCP_HEADER)
}

#[inline(always)]
fn walk<F: Frame>(frame: &F, start: usize, length: usize) -> Options {
    let mut options = Options::default();
    let mut at = 0;
    // Each round takes at least one of at most 40 bytes.
    for _ in 0..40 {
        if at >= length {
            break;
        }
        let Some(kind) = frame.chunk::<1>(start + at) else { break };
        match kind.u8::<0>() {
            END => break,
            NOP => at += 1,
            kind => {
                let Some(option) = frame.chunk::<2>(start + at) else { break };
                let size = usize::from(option.u8::<1>());
                if size < 2 || at + size > length {
                    break;
                }
                match (kind, size) {
                    (MSS, 4) => {
                        if let Some(option) = frame.chunk::<4>(start + at) {
                            options.mss = option.u16::<2>();
                        }
                    }
                    (SCALE, 3) => {
                        if let Some(option) = frame.chunk::<3>(start + at) {
                            options.scale = Some(option.u8::<2>());
                        }
                    }
                    (SACK_PERMITTED, 2) => options.sack = true,
                    (TIMESTAMPS, 10) => {
                        if let Some(option) = frame.chunk::<10>(start + at) {
                            options.timestamps = Some((option.u32::<2>(), option.u32::<6>()));
                        }
                    }
                    _ => {}
                }
                at += size;
            }
        }
    }
    options
}

impl Offer {
    /// What a SYN offers.
    #[inline(always)]
    #[must_use]
    pub fn new(options: &Options, ecn: bool) -> Self {
        Self {
            mss: options.mss,
            scale: options.scale,
            sack: options.sack,
            timestamp: match options.timestamps {
                Some((value, _)) => Some(value),
                None => None,
            },
            ecn,
        }
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
        let headers = Headers { ip: 0, tcp: 0, ipv6: false, segment_length: length };
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

    const LINUX: [u8; 20] =
        [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 3, 3, 10];

    #[test]
    fn linux_and_windows_orders_are_read() {
        let linux = Options {
            mss: 1460,
            scale: Some(10),
            sack: true,
            timestamps: Some((1, 2)),
        };
        assert_eq!(read(&LINUX), linux);
        assert_eq!(walk(&Slice(&LINUX[..]), 0, 20), linux, "the slow way");
        let windows = [2, 4, 5, 0xb4, 1, 3, 3, 8, 1, 1, 4, 2];
        assert_eq!(read(&windows), Options { scale: Some(8), timestamps: None, ..linux });
        let ack = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
        assert_eq!(
            read(&ack),
            Options { timestamps: Some((1, 2)), ..Options::default() }
        );
    }

    #[test]
    fn unknown_options_change_nothing() {
        let options = [30, 4, 0, 0, 2, 4, 1, 0, 254, 6, 1, 2, 3, 4, 4, 2];
        assert_eq!(read(&options), Options { mss: 256, sack: true, ..Options::default() });
    }

    #[test]
    fn reading_ends_at_the_first_broken_option() {
        assert_eq!(read(&[2, 4, 1, 0, 3, 0, 4, 2]), Options { mss: 256, ..Options::default() });
        assert_eq!(read(&[2, 4, 1, 0, 3, 9, 4, 2]), Options { mss: 256, ..Options::default() });
        assert_eq!(read(&[2, 4, 1, 0, 0, 4, 2, 4]), Options { mss: 256, ..Options::default() });
        assert_eq!(read(&[1; 40]), Options::default());
    }
}
