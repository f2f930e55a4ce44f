//! What may be odd about a segment.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _};

use super::options;
use crate::build::{Checksum, Fragment, PROVIDER_VLAN, Segment, VLAN, flags};
use crate::setting::{OTHER_OWN_MAC, SERVICES};

/// Makes one thing odd.
pub fn twist(random: &mut StdRng, segment: &mut Segment) {
    const TWISTS: [fn(&mut StdRng, &mut Segment); 20] = [
        tags,
        tags,
        ip_options_or_extensions,
        ip_options_or_extensions,
        ip_options_or_extensions,
        fragment,
        fragment,
        any_flags,
        payload,
        tcp_options,
        tcp_options,
        signature,
        congestion,
        source,
        destination,
        macs,
        lengths,
        checksums,
        protocol,
        buffers,
    ];
    TWISTS[random.random_range(0..TWISTS.len())](random, segment);
}

fn tags(random: &mut StdRng, segment: &mut Segment) {
    let count = [1, 1, 1, 2, 2, 3, 4][random.random_range(0..7)];
    segment.tags = (0..count)
        .map(|_| {
            let kind = [VLAN, PROVIDER_VLAN, VLAN, 0x9100][random.random_range(0..4)];
            (kind, random.random())
        })
        .collect();
}

fn ip_options_or_extensions(random: &mut StdRng, segment: &mut Segment) {
    if segment.destination.is_ipv4() {
        let words = random.random_range(1..=10);
        segment.ip_options = match random.random_range(0..4) {
            // Router alert.
            0 => vec![0x94, 4, 0, 0],
            // Loose source route.
            1 => vec![0x83, 7, 4, 10, 0, 0, 1, 0],
            2 => vec![1; 4 * words],
            _ => bytes(random, 4 * words),
        };
        return;
    }
    let count = match random.random_range(0..10) {
        0..5 => 1,
        5..8 => random.random_range(2..=5),
        8 => 6,
        _ => random.random_range(7..=9),
    };
    segment.extensions = (0..count).map(|_| extension(random)).collect();
    if random.random_bool(0.03) {
        // A length that leads out of the packet.
        let (_, bytes) = segment.extensions.last_mut().unwrap();
        bytes[1] = random.random();
    }
}

fn extension(random: &mut StdRng) -> (u8, Vec<u8>) {
    let units = random.random_range(0..3_usize);
    match random.random_range(0..9) {
        // An atomic fragment.
        0 => (44, vec![0, 0, 0, 0, 1, 2, 3, 4]),
        // Authentication, in words of 4 bytes less 2.
        1 => {
            let mut header = bytes(random, 12 + 4 * units);
            header[1] = 1 + units as u8;
            (51, header)
        }
        // One that is not known: mobility, or nothing.
        2 if random.random_bool(0.2) => (
            [135, 59, 50][random.random_range(0..3)],
            vec![0, 0, 0, 0, 0, 0, 0, 0],
        ),
        // Hop-by-hop, routing, destination options, in units of 8 bytes.
        _ => {
            let mut header = bytes(random, 8 + 8 * units);
            header[1] = units as u8;
            ([0, 43, 60][random.random_range(0..3)], header)
        }
    }
}

fn fragment(random: &mut StdRng, segment: &mut Segment) {
    let offset = match random.random_range(0..3) {
        0 => random.random_range(1..0x1fff),
        _ => 0,
    };
    segment.fragment = Some(Fragment {
        offset,
        more: offset == 0 || random.random(),
    });
    if random.random_bool(0.6) {
        segment.cut_segment =
            Some([0, 1, 3, 4, 8, 12, 13, 14, 16, 20, 24][random.random_range(0..11)]);
    }
    if random.random_bool(0.3) {
        segment.flags = random.random();
    }
}

fn any_flags(random: &mut StdRng, segment: &mut Segment) {
    segment.flags = random.random();
    segment.reserved = random.random_range(0..16);
}

fn payload(random: &mut StdRng, segment: &mut Segment) {
    let length = match random.random_range(0..10) {
        0..6 => random.random_range(1..200),
        6..8 => random.random_range(200..1461),
        8 => random.random_range(1440..1600),
        // Jumbo frames, some in more than one buffer.
        _ => random.random_range(1600..9000),
    };
    segment.payload = bytes(random, length);
    match random.random_range(0..4) {
        // Fast Open: a cookie, as RFC 7413 wants it before data.
        0 => segment.options = [&[34, 10, 1, 2, 3, 4, 5, 6, 7, 8], &segment.options[..]].concat(),
        1 => segment.flags |= flags::PSH,
        _ => {}
    }
}

fn tcp_options(random: &mut StdRng, segment: &mut Segment) {
    segment.options = options::any(random);
}

fn signature(random: &mut StdRng, segment: &mut Segment) {
    options::sign(random, &mut segment.options);
}

fn congestion(random: &mut StdRng, segment: &mut Segment) {
    segment.flags |= [
        flags::ECE,
        flags::CWR,
        flags::ECE | flags::CWR,
        flags::ECE | flags::CWR,
    ][random.random_range(0..4)];
    segment.traffic_class = random.random();
    if random.random_bool(0.4) {
        segment.reserved = random.random_range(0..16);
    }
}

fn source(random: &mut StdRng, segment: &mut Segment) {
    match random.random_range(0..6) {
        // LAND.
        0 => segment.source = segment.destination,
        1 => segment.source.set_ip(segment.destination.ip()),
        2 => segment.source.set_port(0),
        _ => {
            let ipv6 = segment.source.is_ipv6();
            segment.source.set_ip(odd_address(random, ipv6));
        }
    }
}

fn destination(random: &mut StdRng, segment: &mut Segment) {
    match random.random_range(0..4) {
        0 => {
            let ipv6 = segment.source.is_ipv6();
            segment.destination.set_ip(odd_address(random, ipv6));
        }
        1 => segment.destination.set_port(random.random_range(0..2)),
        2 => segment.destination.set_port(random.random()),
        _ => {
            let index = random.random_range(0..SERVICES.len());
            segment.destination.set_port(SERVICES[index]);
        }
    }
}

fn odd_address(random: &mut StdRng, ipv6: bool) -> IpAddr {
    const IPV4: [[u8; 4]; 14] = [
        [0, 0, 0, 0],
        [0, 1, 2, 3],
        [127, 0, 0, 1],
        [126, 255, 255, 255],
        [128, 0, 0, 1],
        [224, 0, 0, 1],
        [239, 255, 255, 255],
        [223, 255, 255, 255],
        [240, 0, 0, 1],
        [255, 255, 255, 255],
        [255, 255, 255, 254],
        [169, 254, 1, 1],
        [198, 18, 0, 255],
        [198, 18, 0, 200],
    ];
    const IPV6: [&str; 14] = [
        "::",
        "::1",
        "::2",
        "::1:0:0:0",
        "ff02::1",
        "ff0e::1",
        "fe80::1",
        "fd00::1",
        "::ffff:198.18.0.1",
        "::ffff:10.1.2.3",
        "::ffff:0:10.1.2.3",
        "64:ff9b::10.1.2.3",
        "2001:db8:0:1::200",
        "2001:db8:0:1::",
    ];
    if ipv6 {
        let address: Ipv6Addr = IPV6[random.random_range(0..IPV6.len())].parse().unwrap();
        address.into()
    } else {
        Ipv4Addr::from(IPV4[random.random_range(0..IPV4.len())]).into()
    }
}

fn macs(random: &mut StdRng, segment: &mut Segment) {
    match random.random_range(0..8) {
        0 => segment.destination_mac = [0xff; 6],
        1 => segment.destination_mac = [0x01, 0, 0x5e, 0, 0, 1],
        2 => segment.destination_mac = [0; 6],
        3 => segment.destination_mac[random.random_range(0..6)] ^= 1 << random.random_range(0..8),
        4 => random.fill_bytes(&mut segment.destination_mac),
        5 => segment.destination_mac = OTHER_OWN_MAC,
        6 => segment.source_mac[0] |= 1,
        _ => random.fill_bytes(&mut segment.source_mac),
    }
}

fn lengths(random: &mut StdRng, segment: &mut Segment) {
    match random.random_range(0..9) {
        0 => segment.version = Some(random.random_range(0..16)),
        1 => segment.ihl = Some(random.random_range(0..16)),
        2 => segment.data_offset = Some(random.random_range(0..16)),
        3 => segment.length_off = random.random_range(-60..60),
        4 => segment.length_off = random.random_range(-2..3),
        5 => segment.cut_frame = Some(random.random_range(14..100)),
        6 => segment.cut_segment = Some(random.random_range(0..40)),
        7 => {
            // Behind the end of the packet, as short frames are filled up.
            let length = random.random_range(1..64);
            segment.trailer = bytes(random, length);
        }
        _ => {
            segment.trailer = vec![0; 6];
            segment.options.clear();
        }
    }
}

fn checksums(random: &mut StdRng, segment: &mut Segment) {
    let bits = match random.random_range(0..2) {
        0 => 1 << random.random_range(0..16),
        _ => random.random_range(1..=0xffff),
    };
    match random.random_range(0..6) {
        0 => segment.ip_checksum = Checksum::Wrong(bits),
        1 => segment.ip_checksum = Checksum::Unfinished,
        2 | 3 => segment.tcp_checksum = Checksum::Wrong(bits),
        _ => segment.tcp_checksum = Checksum::Unfinished,
    }
    if random.random_bool(0.3) {
        // Sums of every length.
        let length = random.random_range(0..64);
        segment.payload = bytes(random, length);
    }
}

fn protocol(random: &mut StdRng, segment: &mut Segment) {
    match random.random_range(0..4) {
        0 => segment.kind = Some([0x0806, 0x88cc, 0x8864, 0x0000][random.random_range(0..4)]),
        // The other version's.
        1 => segment.kind = Some([0x0800, 0x86dd][random.random_range(0..2)]),
        2 => segment.protocol = Some([1, 17, 58, 41, 132, 4][random.random_range(0..6)]),
        _ => segment.protocol = Some(random.random()),
    }
}

fn buffers(random: &mut StdRng, segment: &mut Segment) {
    let length = random.random_range(0..3000);
    match random.random_range(0..3) {
        0 => segment.payload = bytes(random, length),
        1 => segment.trailer = bytes(random, length),
        _ => {}
    }
    segment.linear = Some(match random.random_range(0..3) {
        0 => random.random_range(14..100),
        1 => random.random_range(14..300),
        _ => random.random_range(14..3000),
    });
}

fn bytes(random: &mut StdRng, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    random.fill_bytes(&mut bytes);
    bytes
}
