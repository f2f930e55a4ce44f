//! A connection's four-tuple, seen from the guarded host.

use crate::address::Address;
use crate::wire::Frame;

/// The four-tuple of a connection to a guarded service.
///
/// | offset | size | what |
/// | --- | --- | --- |
/// | 0 | 16 | remote address |
/// | 16 | 16 | local address |
/// | 32 | 2 | remote port, host byte order |
/// | 34 | 2 | local port, host byte order |
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Flow {
    /// The client's address.
    pub remote: Address,
    /// The service's address.
    pub local: Address,
    /// The client's port.
    pub remote_port: u16,
    /// The service's port.
    pub local_port: u16,
}

const _: () = assert!(size_of::<Flow>() == 36);

impl Flow {
    /// The flow of a packet that goes the other way.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(&self) -> Self {
        Self {
            remote: self.local,
            local: self.remote,
            remote_port: self.local_port,
            local_port: self.remote_port,
        }
    }

    /// The same flow, of which the verifier remembers nothing
    /// ([`Frame::forget`]), not even whether it is of IPv4.
    #[inline(always)]
    #[must_use]
    pub fn forget<F: Frame>(&self, frame: &F) -> Self {
        let forget = |address: &Address| {
            let [a, b, c, d] = address.0;
            let word = |word| frame.forget_word(word);
            Address([word(a), word(b), word(c), word(d)])
        };
        Self {
            remote: forget(&self.remote),
            local: forget(&self.local),
            ..*self
        }
    }

    /// A fast hash for the filters. Not keyed: who collides two flows on
    /// purpose costs the guard a look-up, never a wrong answer.
    #[inline(always)]
    #[must_use]
    pub fn hash(&self) -> u32 {
        // Odd 64-bit constants of xxHash64 (its PRIME64_1 and PRIME64_2).
        const A: u64 = 0x9e37_79b1_85eb_ca87;
        const B: u64 = 0xc2b2_ae3d_27d4_eb4f;
        let pair = |a: u32, b: u32| (u64::from(a) << 32) | u64::from(b);
        let remote = &self.remote.0;
        let local = &self.local.0;
        let mut hash = pair(remote[3], pair_of_ports(self)).wrapping_mul(A);
        hash ^= hash >> 29;
        hash = (hash ^ pair(local[3], local[2])).wrapping_mul(B);
        hash ^= hash >> 32;
        if !self.remote.is_ipv4() {
            hash = (hash ^ pair(remote[2], remote[1])).wrapping_mul(A);
            hash ^= hash >> 29;
            hash = (hash ^ pair(remote[0] ^ local[0].rotate_left(16), local[1])).wrapping_mul(B);
            hash ^= hash >> 32;
        }
        hash = hash.wrapping_mul(A);
        (hash >> 32) as u32
    }
}

#[inline(always)]
const fn pair_of_ports(flow: &Flow) -> u32 {
    ((flow.remote_port as u32) << 16) | flow.local_port as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::IpAddr;
    use std::collections::HashSet;

    fn flow(remote: IpAddr, port: u16) -> Flow {
        Flow {
            remote: remote.into(),
            local: IpAddr::from([198, 18, 0, 1]).into(),
            remote_port: port,
            local_port: 80,
        }
    }

    #[test]
    fn flows_of_one_client_spread_over_the_cells() {
        let cells: HashSet<u32> = (1024..=u16::MAX)
            .map(|port| flow(IpAddr::from([10, 0, 0, 1]), port).hash() & 0xf_ffff)
            .collect();
        // 64,512 balls into 1,048,576 bins leave about 62,600 distinct bins.
        assert!(cells.len() > 60_000, "{}", cells.len());
    }

    #[test]
    fn every_part_of_a_flow_counts() {
        let base = flow("2001:db8::1".parse().unwrap(), 5000);
        let mut hashes = HashSet::from([base.hash()]);
        for word in 0..4 {
            let mut other = base;
            other.remote.0[word] ^= 1;
            assert!(hashes.insert(other.hash()), "remote word {word}");
            let mut other = base;
            other.local.0[word] ^= 1;
            assert!(hashes.insert(other.hash()), "local word {word}");
        }
        assert!(
            hashes.insert(
                Flow {
                    local_port: 81,
                    ..base
                }
                .hash()
            )
        );
        assert!(
            hashes.insert(
                Flow {
                    remote_port: 5001,
                    ..base
                }
                .hash()
            )
        );
    }
}
