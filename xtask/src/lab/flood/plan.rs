//! What a flood's frames have in common, and which sources they come from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Result, bail, ensure};

use super::Flood;
use crate::lab::{CLIENT_MAC, Flags, SERVER_MAC, Segment};

/// Upper half of 2001:db8:2000::/36.
const IPV6_PREFIX: u64 = 0x2001_0db8_2000_0000;
/// The bits of an address's upper half that are not of that prefix.
const IPV6_SPREAD: u64 = (1 << 28) - 1;

/// See the type of the same name in `xtask/lab-ebpf/src/flood.rs`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::lab) struct Plan {
    pub(super) frame: [u64; 12],
    pub(super) interval: u64,
    pub(super) duration: u64,
    pub(super) sources: u64,
    pub(super) base_high: u64,
    pub(super) base_low: u64,
    pub(super) spread_high: u64,
    pub(super) interface: u32,
    pub(super) ip_sum: u32,
    pub(super) tcp_sum: u32,
    pub(super) stop: u32,
    pub(super) ports: u32,
    pub(super) first_port: u32,
}

// SAFETY: plain integers without padding.
unsafe impl aya::Pod for Plan {}

impl Plan {
    /// A plan with the flood's sources and duration, but no frame.
    pub(super) fn new(flood: &Flood) -> Result<Self> {
        let mut plan = Self {
            duration: u64::try_from(flood.duration.as_nanos())?,
            ports: flood.ports.unwrap_or(0).into(),
            first_port: flood.target.port().into(),
            ..Self::default()
        };
        match (flood.target, flood.sources) {
            (SocketAddr::V4(_), None) => {
                plan.base_low = Ipv4Addr::new(10, 0, 0, 0).to_bits().into();
                plan.sources = 1 << 24;
            }
            (SocketAddr::V4(_), Some((IpAddr::V4(first), count))) => {
                let room = (1 << 24) - u64::from(first.to_bits() & 0xff_ffff);
                ensure!(
                    first.octets()[0] == 10 && count <= room,
                    "spoofed sources are of 10.0.0.0/8"
                );
                plan.base_low = first.to_bits().into();
                plan.sources = count.max(1);
            }
            (SocketAddr::V6(_), None) => {
                plan.base_high = IPV6_PREFIX;
                plan.spread_high = IPV6_SPREAD;
            }
            (SocketAddr::V6(_), Some((IpAddr::V6(first), count))) => {
                let bits = first.to_bits();
                (plan.base_high, plan.base_low) = ((bits >> 64) as u64, bits as u64);
                ensure!(
                    plan.base_high & !IPV6_SPREAD == IPV6_PREFIX,
                    "spoofed sources are of 2001:db8:2000::/36"
                );
                plan.sources = count.max(1);
            }
            (target, Some((first, _))) => bail!("{first} is of another family than {target}"),
        }
        Ok(plan)
    }

    /// Puts in a frame whose source address, source port, sequence number and checksums are 0.
    pub(super) fn set_frame(&mut self, frame: &[u8]) -> Result<()> {
        let (tcp, addresses) = match frame[12..14] {
            [0x08, 0x00] => (34, 26..34),
            _ => (54, 22..54),
        };
        if tcp == 34 {
            self.ip_sum = sum(&frame[14..34]);
        }
        self.tcp_sum = sum(&frame[addresses])
            + sum(&frame[tcp..])
            + sum(&[0, 6])
            + sum(&u16::try_from(frame.len() - tcp)?.to_be_bytes());
        for (word, bytes) in self.frame.iter_mut().zip(frame.chunks(8)) {
            let mut whole = [0; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_ne_bytes(whole);
        }
        Ok(())
    }

    /// The source that random numbers choose; the XDP program does the same.
    pub(super) fn source(&self, ipv6: bool, random: [u64; 2]) -> IpAddr {
        let index = ((random[0] >> 32) * self.sources) >> 32;
        if !ipv6 {
            return Ipv4Addr::from_bits((self.base_low + index) as u32).into();
        }
        let high = self.base_high | (random[1] & self.spread_high);
        let low = match self.sources {
            0 => random[0],
            _ => self.base_low.wrapping_add(index),
        };
        Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)).into()
    }
}

/// A flood's segment without a source.
pub(super) fn segment(flood: &Flood) -> Segment {
    let unspecified: IpAddr = match flood.target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    Segment {
        source: SocketAddr::new(unspecified, 0),
        destination: match flood.ports {
            // It changes with every frame.
            Some(_) => SocketAddr::new(flood.target.ip(), 0),
            None => flood.target,
        },
        seq: 0,
        ack: 0,
        flags: Flags {
            syn: !flood.acks,
            ack: flood.acks,
            ..Flags::default()
        },
        window: 64_240,
        options: flood.options,
        ttl: 57,
        payload: Vec::new(),
    }
}

/// The frame of a segment, as the client sends it.
pub(super) fn frame(segment: &Segment) -> Result<Vec<u8>> {
    segment.frame(CLIENT_MAC, SERVER_MAC)
}

/// Sum of halfwords as they lie in memory.
fn sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_ne_bytes([pair[0], pair[1]])))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_stay_in_their_range() {
        let ipv4 = "198.18.0.1:80".parse().unwrap();
        let ipv6 = "[2001:db8:0:1::1]:80".parse().unwrap();
        let extremes = [[0, 0], [u64::MAX, u64::MAX]];
        for (flood, first, last) in [
            (Flood::new(ipv4), "10.0.0.0", "10.255.255.255"),
            (Flood::new(ipv4).few_sources(3), "10.0.0.1", "10.0.0.3"),
            (
                Flood::new(ipv6),
                "2001:db8:2000::",
                "2001:db8:2fff:ffff:ffff:ffff:ffff:ffff",
            ),
            (
                Flood::new(ipv6).few_sources(3),
                "2001:db8:2000::1",
                "2001:db8:2000::3",
            ),
        ] {
            let plan = Plan::new(&flood).unwrap();
            let found = extremes.map(|random| plan.source(flood.target.is_ipv6(), random));
            assert_eq!(
                found,
                [first.parse().unwrap(), last.parse::<IpAddr>().unwrap()]
            );
        }
        for outside in ["198.18.0.9", "11.0.0.1", "2001:db8:2000::1"] {
            let flood = Flood::new(ipv4).sources(outside.parse().unwrap(), 1);
            Plan::new(&flood).unwrap_err();
        }
        let flood = Flood::new(ipv4).sources("10.255.255.255".parse().unwrap(), 2);
        Plan::new(&flood).unwrap_err();
    }
}
