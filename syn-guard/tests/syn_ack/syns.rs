//! SYNs of many kinds of clients.

/// Bits of the TCP header's twelve flags and reserved bits.
pub const SYN: u16 = 0x002;
const PSH: u16 = 0x008;
const URG: u16 = 0x020;
const ECE: u16 = 0x040;
const CWR: u16 = 0x080;
/// AE, and the bit above it (reserved).
const AE: u16 = 0x100;
const RESERVED: u16 = 0x200;

/// A client's SYN, for either family.
#[derive(Clone, Debug)]
pub struct Syn {
    /// Whose, or what is odd about it.
    pub name: String,
    /// The option bytes, a multiple of four.
    pub options: Vec<u8>,
    /// Reserved bits and flags.
    pub flags: u16,
    /// TOS or traffic class.
    pub tos: u8,
    /// IPv6 flow label.
    pub label: u32,
    /// The announced window.
    pub window: u16,
    /// TCP Fast Open may put data into a SYN.
    pub payload: Vec<u8>,
}

const NOP: &[u8] = &[1];
const END: &[u8] = &[0];
const SACK: &[u8] = &[4, 2];

fn mss(value: u16) -> Vec<u8> {
    let [high, low] = value.to_be_bytes();
    vec![2, 4, high, low]
}

fn scale(shift: u8) -> Vec<u8> {
    vec![3, 3, shift]
}

fn timestamps(value: u32, echo: u32) -> Vec<u8> {
    let mut option = vec![8, 10];
    option.extend_from_slice(&value.to_be_bytes());
    option.extend_from_slice(&echo.to_be_bytes());
    option
}

/// A SYN with these options one behind another, padded with zeros.
fn syn(name: impl Into<String>, parts: &[&[u8]]) -> Syn {
    let mut options = parts.concat();
    options.resize(options.len().next_multiple_of(4), 0);
    assert!(options.len() <= 40, "{parts:?}");
    Syn {
        name: name.into(),
        options,
        flags: SYN,
        tos: 0,
        label: 0,
        window: 64_240,
        payload: Vec::new(),
    }
}

/// The options that systems send, in their order.
pub fn systems() -> Vec<Syn> {
    let ts = timestamps(0x1234_5678, 0);
    let ts = ts.as_slice();
    let all: &[(&str, u16, &[&[u8]])] = &[
        ("Linux", 64_240, &[&mss(1460), SACK, ts, NOP, &scale(7)]),
        (
            "Linux, wscale 10",
            64_240,
            &[&mss(1460), SACK, ts, NOP, &scale(10)],
        ),
        (
            "Linux on lo or jumbo",
            62_720,
            &[&mss(8960), SACK, ts, NOP, &scale(7)],
        ),
        (
            "Linux over IPv6",
            64_800,
            &[&mss(1440), SACK, ts, NOP, &scale(7)],
        ),
        (
            "Linux, tunnel",
            64_860,
            &[&mss(1380), SACK, ts, NOP, &scale(7)],
        ),
        ("Linux 2.4", 5840, &[&mss(1460), SACK, ts, NOP, &scale(0)]),
        (
            "Linux, no timestamps",
            64_240,
            &[&mss(1460), NOP, NOP, SACK, NOP, &scale(7)],
        ),
        (
            "Linux, no SACK",
            64_240,
            &[&mss(1460), NOP, NOP, ts, NOP, &scale(7)],
        ),
        ("Linux, no scale", 64_240, &[&mss(1460), SACK, ts]),
        (
            "Windows 10",
            64_240,
            &[&mss(1460), NOP, &scale(8), NOP, NOP, SACK],
        ),
        (
            "Windows 10 over IPv6",
            64_800,
            &[&mss(1440), NOP, &scale(8), NOP, NOP, SACK],
        ),
        (
            "Windows 7",
            8192,
            &[&mss(1460), NOP, &scale(2), NOP, NOP, SACK],
        ),
        (
            "Windows Server, timestamps",
            8192,
            &[&mss(1460), NOP, &scale(8), SACK, ts],
        ),
        ("Windows XP", 65_535, &[&mss(1460), NOP, NOP, SACK]),
        ("Windows 98", 8192, &[&mss(1460), NOP, NOP, SACK]),
        (
            "macOS",
            65_535,
            &[&mss(1460), NOP, &scale(6), NOP, NOP, ts, SACK, END],
        ),
        (
            "macOS over IPv6",
            65_535,
            &[&mss(1440), NOP, &scale(6), NOP, NOP, ts, SACK, END],
        ),
        (
            "iOS",
            65_535,
            &[&mss(1460), NOP, &scale(7), NOP, NOP, ts, SACK, END, END],
        ),
        (
            "iOS, LTE",
            65_535,
            &[&mss(1410), NOP, &scale(7), NOP, NOP, ts, SACK, END, END],
        ),
        ("Android", 65_535, &[&mss(1460), SACK, ts, NOP, &scale(8)]),
        (
            "Android, mobile",
            65_535,
            &[&mss(1370), SACK, ts, NOP, &scale(9)],
        ),
        ("FreeBSD", 65_535, &[&mss(1460), NOP, &scale(6), SACK, ts]),
        (
            "FreeBSD 4",
            57_344,
            &[&mss(1460), NOP, &scale(0), NOP, NOP, ts],
        ),
        (
            "OpenBSD",
            16_384,
            &[&mss(1460), NOP, NOP, SACK, NOP, &scale(6), NOP, NOP, ts],
        ),
        (
            "NetBSD",
            32_768,
            &[&mss(1460), NOP, &scale(3), SACK, NOP, NOP, NOP, NOP, ts],
        ),
        (
            "Solaris 10",
            49_640,
            &[&mss(1460), NOP, &scale(0), NOP, NOP, SACK],
        ),
        (
            "Solaris 11",
            64_240,
            &[SACK, ts, &mss(1460), NOP, &scale(2)],
        ),
        (
            "Solaris 8",
            24_820,
            &[NOP, NOP, ts, NOP, &scale(0), NOP, NOP, SACK, &mss(1460)],
        ),
        ("AIX", 65_535, &[&mss(1460), NOP, &scale(3), NOP, NOP, ts]),
        ("HP-UX", 32_768, &[&mss(1460), NOP, &scale(0), NOP]),
        ("z/OS", 65_535, &[&mss(1460), NOP, &scale(2), NOP, NOP, ts]),
        ("Cisco IOS", 4128, &[&mss(1460)]),
        ("Cisco IOS over a tunnel", 4128, &[&mss(536)]),
        ("lwIP", 5840, &[&mss(1460)]),
        ("lwIP, small", 2144, &[&mss(536)]),
        (
            "lwIP, scale and SACK",
            65_535,
            &[&mss(1460), NOP, &scale(2), NOP, NOP, SACK],
        ),
        ("uIP", 1280, &[&mss(1240)]),
        ("FreeRTOS+TCP", 5840, &[&mss(1460), &scale(0), NOP]),
        ("smoltcp", 65_535, &[&mss(1460), &scale(7), SACK]),
        ("gVisor", 29_200, &[&mss(1460), ts, SACK, NOP, &scale(7)]),
        ("nmap -sS", 1024, &[&mss(1460)]),
        (
            "nmap -O 1",
            1,
            &[&scale(10), NOP, &mss(1460), &timestamps(u32::MAX, 0), SACK],
        ),
        (
            "nmap -O 2",
            63,
            &[&mss(1400), &scale(0), SACK, &timestamps(u32::MAX, 0), END],
        ),
        (
            "nmap -O 3",
            4,
            &[
                &timestamps(u32::MAX, 0),
                NOP,
                NOP,
                &scale(5),
                NOP,
                &mss(640),
            ],
        ),
        (
            "nmap -O 4",
            4,
            &[SACK, &timestamps(u32::MAX, 0), &scale(10), END],
        ),
        (
            "nmap -O 5",
            16,
            &[&mss(536), SACK, &timestamps(u32::MAX, 0), &scale(10), END],
        ),
        (
            "nmap -O 6",
            512,
            &[&mss(265), SACK, &timestamps(u32::MAX, 0)],
        ),
        ("masscan", 1024, &[&mss(1460)]),
        ("masscan, bare", 1024, &[]),
        ("ZMap", 65_535, &[&mss(1460)]),
        ("ZMap, bare", 65_535, &[]),
        (
            "ZMap, as Linux",
            65_535,
            &[&mss(1460), SACK, ts, NOP, &scale(7)],
        ),
        (
            "ZMap, as Windows",
            65_535,
            &[&mss(1460), NOP, &scale(8), NOP, NOP, SACK],
        ),
        ("hping3", 512, &[]),
        (
            "T/TCP (RFC 1644)",
            16_384,
            &[&mss(1460), NOP, NOP, &[11, 6, 0, 0, 0, 1]],
        ),
    ];
    all.iter()
        .map(|(name, window, parts)| Syn {
            window: *window,
            ..syn(*name, parts)
        })
        .collect()
}

/// Values, orders, paddings and flags one by one.
pub fn odd_ones() -> Vec<Syn> {
    let ts = timestamps(77, 0);
    let ts = ts.as_slice();
    let mut all = Vec::new();
    for value in [
        0, 1, 64, 88, 256, 512, 535, 536, 537, 1000, 1024, 1200, 1220, 1240, 1280, 1299, 1300,
        1360, 1400, 1439, 1452, 1459, 1461, 1500, 4312, 8940, 8960, 9000, 32_767, 65_495, 65_535,
    ] {
        let value_option = mss(value);
        all.push(syn(
            format!("MSS {value}"),
            &[&value_option, SACK, ts, NOP, &scale(7)],
        ));
        if value % 4 == 0 {
            all.push(syn(format!("MSS {value} only"), &[&value_option]));
            let parts: &[&[u8]] = &[&value_option, NOP, &scale(8), NOP, NOP, SACK];
            all.push(syn(format!("MSS {value} as Windows"), parts));
        }
    }
    for shift in (0..=15).chain([16, 200, 255]) {
        let option = scale(shift);
        all.push(syn(
            format!("scale {shift}"),
            &[&mss(1460), SACK, ts, NOP, &option],
        ));
        let bare: &[&[u8]] = &[&mss(1460), NOP, NOP, SACK, NOP, &option];
        all.push(syn(format!("scale {shift}, no timestamps"), bare));
    }
    // Every choice of the four, the usual order and its reverse.
    let four: [Vec<u8>; 4] = [mss(1460), SACK.to_vec(), ts.to_vec(), scale(7)];
    for choice in 0..16_u32 {
        let mut chosen: Vec<&[u8]> = (0..4)
            .filter(|bit| choice & (1 << bit) != 0)
            .map(|bit| four[bit].as_slice())
            .collect();
        all.push(syn(format!("options {choice:04b}"), &chosen));
        chosen.reverse();
        all.push(syn(format!("options {choice:04b} reversed"), &chosen));
        chosen.insert(0, &[1, 1, 1]);
        all.push(syn(
            format!("options {choice:04b} reversed behind NOPs"),
            &chosen,
        ));
    }
    let layouts: [(&str, &[&[u8]]); 27] = [
        ("only NOPs", &[&[1; 40]]),
        ("only zeros", &[&[0; 40]]),
        ("END first", &[END, &mss(1460), SACK, ts]),
        (
            "END behind MSS",
            &[&mss(1460), END, SACK, ts, NOP, &scale(7)],
        ),
        ("END behind SACK", &[&mss(1460), SACK, END, END, ts]),
        (
            "NOPs between",
            &[NOP, &mss(1460), NOP, SACK, NOP, ts, NOP, &scale(7)],
        ),
        ("NOPs last", &[&mss(1460), SACK, ts, &scale(7), NOP]),
        (
            "all in 40 bytes",
            &[&[1; 21], &mss(1460), SACK, ts, &scale(7)],
        ),
        (
            "an unknown option",
            &[&mss(1460), &[253, 4, 1, 2], SACK, ts, NOP, &scale(7)],
        ),
        ("unknown, length 2", &[&[200, 2], &mss(1460), SACK, ts]),
        ("unknown, length 1", &[&mss(1460), &[200, 1], SACK, ts]),
        ("unknown, length 0", &[&mss(1460), &[200, 0], SACK, ts]),
        ("unknown, too long", &[&mss(1460), &[200, 40], SACK, ts]),
        ("MSS cut", &[SACK, ts, &[2, 4]]),
        ("MSS of 3 bytes", &[&[2, 3, 5], SACK, ts]),
        ("MSS of 5 bytes", &[&[2, 5, 5, 5, 5], SACK, ts]),
        ("scale of 2 bytes", &[&mss(1460), &[3, 2], SACK, ts]),
        ("scale of 4 bytes", &[&mss(1460), &[3, 4, 7, 7], SACK, ts]),
        ("SACK of 3 bytes", &[&mss(1460), &[4, 3, 0], ts]),
        (
            "timestamps of 9 bytes",
            &[&mss(1460), SACK, &[8, 9, 0, 0, 0, 1, 0, 0, 0]],
        ),
        (
            "timestamps of 12 bytes",
            &[&mss(1460), SACK, &[8, 12, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1]],
        ),
        ("two MSS", &[&mss(1460), &mss(1200), SACK, ts]),
        ("two scales", &[&mss(1460), &scale(2), &scale(9), SACK, ts]),
        (
            "two timestamps",
            &[&mss(1460), ts, &timestamps(99, 5), SACK],
        ),
        (
            "SACK blocks",
            &[&mss(1460), SACK, &[5, 10, 0, 0, 0, 1, 0, 0, 0, 2], ts],
        ),
        ("MSS last, at the end", &[&[1; 36], &mss(1460)]),
        (
            "a kind in the last byte",
            &[&mss(1460), SACK, ts, NOP, NOP, NOP, &[3]],
        ),
    ];
    all.extend(layouts.iter().map(|(name, parts)| syn(*name, parts)));
    for (value, echo) in [
        (0, 0),
        (0, 7),
        (1, u32::MAX),
        (u32::MAX, 0),
        (0x8000_0000, 1),
    ] {
        let parts: &[&[u8]] = &[&mss(1460), SACK, &timestamps(value, echo), NOP, &scale(7)];
        all.push(syn(format!("timestamps {value} {echo}"), parts));
    }
    all.extend(fast_open_and_multipath());
    all.extend(flags_and_headers());
    all
}

fn fast_open_and_multipath() -> Vec<Syn> {
    let ts = timestamps(77, 0);
    let head = |last: &[u8]| [mss(1460), SACK.to_vec(), ts.clone(), last.to_vec()].concat();
    let data = |syn: Syn| Syn {
        payload: b"GET / HTTP/1.0\r\n\r\n".to_vec(),
        ..syn
    };
    let cookie = [34, 10, 1, 2, 3, 4, 5, 6, 7, 8];
    let capable = [30, 12, 0, 0x81, 1, 2, 3, 4, 5, 6, 7, 8];
    vec![
        syn("Fast Open request", &[&head(&[34, 2, 1, 3, 3, 7])]),
        syn("Fast Open cookie", &[&head(&cookie)]),
        data(syn("Fast Open cookie and data", &[&head(&cookie)])),
        data(syn("data without Fast Open", &[&head(&[1, 3, 3, 7])])),
        data(syn("data and no options", &[])),
        syn("Fast Open, experimental", &[&head(&[254, 4, 0xf9, 0x89])]),
        syn(
            "MPTCP capable, version 1",
            &[&head(&[1, 3, 3, 7, 30, 4, 1, 0x81])],
        ),
        syn("MPTCP capable, version 0", &[&head(&capable)]),
        syn(
            "MPTCP join",
            &[&head(&[30, 12, 0x10, 0, 1, 2, 3, 4, 5, 6, 7, 8])],
        ),
        syn(
            "SMC",
            &[&head(&[1, 3, 3, 7, 254, 6, 0xe2, 0xd4, 0xc3, 0xd9])],
        ),
        syn("user time-out", &[&head(&[28, 4, 0x80, 5])]),
        syn("TCP-ENO", &[&head(&[69, 2, 3, 3, 7])]),
    ]
}

fn flags_and_headers() -> Vec<Syn> {
    let linux = || syn("", &[&mss(1460), SACK, &timestamps(77, 0), NOP, &scale(7)]);
    let windows = || syn("", &[&mss(1460), NOP, &scale(8), NOP, NOP, SACK]);
    let mut all = Vec::new();
    for (name, flags) in [
        ("ECN", ECE | CWR),
        ("ECE only", ECE),
        ("CWR only", CWR),
        ("accurate ECN", AE | ECE | CWR),
        ("AE only", AE),
        ("reserved bit", RESERVED),
        ("reserved bits and ECN", 0xe00 | ECE | CWR),
        ("PSH", PSH),
        ("URG", URG),
    ] {
        for ecn in 0..4_u8 {
            if flags & (ECE | CWR) == 0 && ecn > 1 {
                continue;
            }
            all.push(Syn {
                name: format!("{name}, IP {ecn:02b}"),
                flags: SYN | flags,
                tos: ecn,
                ..linux()
            });
        }
        all.push(Syn {
            name: format!("{name}, no timestamps"),
            flags: SYN | flags,
            ..windows()
        });
    }
    for dscp in [0x20, 0x28, 0xb8, 0xe0, 0xfc, 0x01, 0xbb] {
        all.push(Syn {
            name: format!("TOS {dscp:#04x}"),
            tos: dscp,
            ..linux()
        });
    }
    for (label, window) in [
        (1, 0),
        (0xf_ffff, 1),
        (0xa_bcde, 65_535),
        (0x8_0000, 32_768),
    ] {
        all.push(Syn {
            name: format!("flow label {label:#x}, window {window}"),
            label,
            window,
            ..linux()
        });
    }
    all
}
