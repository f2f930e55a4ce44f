//! Frames of every kind, from a seed: mostly SYNs that are right but for a
//! twist or two.

mod noise;
mod options;
mod twists;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::build::{Segment, flags};
use crate::reference::Frame;
use crate::setting::{
    AUTO, CONNECTIONS, FULL, GONE, MANY_OBSERVING, MANY_PROTECTING, NO_COOKIES, OBSERVING, OFF,
    PROTECTING, UNGUARDED, connected, own_address, server,
};

/// Segments that are remembered, to be followed by others of their flow.
const REMEMBERED: usize = 64;

/// Makes frames.
pub struct Generator {
    random: StdRng,
    recent: VecDeque<Segment>,
}

impl Generator {
    /// The same frames for the same seed.
    pub fn new(seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            recent: VecDeque::new(),
        }
    }

    /// The next frame.
    pub fn frame(&mut self) -> Frame {
        if self.random.random_bool(0.02) {
            return noise::bytes(&mut self.random);
        }
        let mut segment = match self.recent.len() {
            REMEMBERED if self.random.random_bool(0.15) => self.follow_up(),
            _ => self.syn(),
        };
        let twists = match self.random.random_range(0..100) {
            0..15 => 0,
            15..70 => 1,
            70..90 => 2,
            _ => 3,
        };
        for _ in 0..twists {
            twists::twist(&mut self.random, &mut segment);
        }
        let mut frame = segment.build();
        if self.random.random_bool(0.03) {
            noise::flip(&mut self.random, &mut frame);
        }
        frame
    }

    /// A SYN without a twist.
    fn syn(&mut self) -> Segment {
        let random = &mut self.random;
        let ipv6 = random.random_bool(0.4);
        let port = match random.random_range(0..100) {
            0..33 => PROTECTING,
            33..58 => MANY_PROTECTING,
            58..68 => OBSERVING,
            68..75 => MANY_OBSERVING,
            75..79 => AUTO,
            79..83 => GONE,
            83..87 => FULL,
            87..91 => NO_COOKIES,
            91..95 => OFF,
            _ => UNGUARDED,
        };
        let address = match port {
            MANY_PROTECTING | MANY_OBSERVING => own_address(ipv6, random.random()),
            _ => server(ipv6),
        };
        let source = if port == PROTECTING && random.random_bool(0.03) {
            connected(ipv6, random.random_range(0..CONNECTIONS))
        } else {
            SocketAddr::new(client(random, ipv6), random.random())
        };
        let mut segment = Segment::syn(source, SocketAddr::new(address, port));
        segment.sequence = random.random();
        segment.options = options::usual(random);
        self.recent.push_back(segment.clone());
        if self.recent.len() > REMEMBERED {
            self.recent.pop_front();
        }
        segment
    }

    /// What may come after a SYN.
    fn follow_up(&mut self) -> Segment {
        let random = &mut self.random;
        let index = random.random_range(0..self.recent.len());
        let mut segment = self.recent[index].clone();
        match random.random_range(0..6) {
            0 | 1 => segment.flags = flags::ACK,
            2 => segment.flags = flags::RST,
            3 => segment.flags = flags::RST | flags::ACK,
            4 => {
                // Another SYN of the same flow.
                if random.random_bool(0.3) {
                    segment.sequence = random.random();
                }
                return segment;
            }
            _ => {
                segment.flags = flags::ACK | flags::PSH;
                segment.payload = b"GET / HTTP/1.1\r\n\r\n".to_vec();
            }
        }
        segment.acknowledgement = random.random();
        segment.sequence = segment
            .sequence
            .wrapping_add(match random.random_range(0..8) {
                0 => 0,
                1 => random.random(),
                2 => 65_535,
                3 => 65_536,
                4 => 65_537,
                _ => 1,
            });
        segment
    }
}

/// A client's address: often one that has a route of its own.
fn client(random: &mut StdRng, ipv6: bool) -> IpAddr {
    if ipv6 {
        let third = [0x2000, 0x2001, 0x2003][random.random_range(0..3)];
        let fourth = [7, random.random()][random.random_range(0..2)];
        let [a, b, c, d]: [u16; 4] = random.random();
        Ipv6Addr::new(0x2001, 0xdb8, third, fourth, a, b, c, d).into()
    } else {
        let second = [1, 3, random.random()][random.random_range(0..3)];
        let third = [2, random.random()][random.random_range(0..2)];
        Ipv4Addr::new(10, second, third, random.random()).into()
    }
}
