//! Cookies of any flow.

use core::net::{Ipv4Addr, Ipv6Addr};

use arbitrary::Arbitrary;
use syn_guard_common::address::Address;
use syn_guard_common::cookie::{self, Key, Terms};
use syn_guard_common::flow::Flow;
use syn_guard_common::wire::{Options, found};

/// A SYN, a listener's flags, a moment and two keys.
#[derive(Arbitrary, Clone, Debug)]
pub struct Handshake {
    /// The ends: client, then service.
    pub ends: Ends,
    /// Their ports, in the same order.
    pub ports: [u16; 2],
    /// The client's sequence number.
    pub sequence: u32,
    /// `CLOCK_MONOTONIC`.
    pub now_ns: u64,
    /// [`found`].
    pub found: u8,
    /// The offered MSS.
    pub mss: u16,
    /// The offered window scale.
    pub scale: u8,
    /// Whether the SYN asks for ECN.
    pub ecn: bool,
    /// The listener's flags.
    pub listener: u32,
    /// Two keys, each of two halves.
    pub keys: [[u64; 2]; 2],
}

/// Addresses of a family.
#[derive(Arbitrary, Clone, Debug)]
pub enum Ends {
    /// IPv4.
    V4([u8; 4], [u8; 4]),
    /// IPv6.
    V6([u8; 16], [u8; 16]),
}

/// The flow of these ends; none when they do not belong on the wire.
fn flow(ends: &Ends, ports: [u16; 2]) -> Option<Flow> {
    let (remote, local): (Address, Address) = match ends {
        Ends::V4(remote, local) => (
            Ipv4Addr::from(*remote).into(),
            Ipv4Addr::from(*local).into(),
        ),
        Ends::V6(remote, local) => {
            let ends: [Address; 2] = [
                Ipv6Addr::from(*remote).into(),
                Ipv6Addr::from(*local).into(),
            ];
            if ends.iter().any(Address::is_ipv4) {
                return None;
            }
            (ends[0], ends[1])
        }
    };
    Some(Flow {
        remote,
        local,
        remote_port: ports[0],
        local_port: ports[1],
    })
}

/// What an ACK brings: everything that [`cookie::check`] is told.
#[derive(Clone, Copy)]
struct Ack {
    flow: Flow,
    sequence: u32,
    cookie: u32,
    epoch: u64,
    timestamps: bool,
    echo: u32,
}

impl Ack {
    fn check(&self, key: &Key) -> Option<Terms> {
        cookie::check(
            key,
            &self.flow,
            self.sequence,
            self.cookie,
            self.epoch,
            self.timestamps,
            self.echo,
        )
    }
}

/// A handshake's ACK brings its terms back in the cookie's epoch and the next
/// one; with anything else changed it does not.
pub fn check(handshake: &Handshake) {
    let Some(flow) = flow(&handshake.ends, handshake.ports) else {
        return;
    };
    let keys = handshake.keys.map(|[k0, k1]| Key { k0, k1 });
    let offer = Options {
        found: u32::from(handshake.found) & (found::SCALE | found::SACK | found::TIMESTAMPS),
        mss: handshake.mss,
        scale: handshake.scale,
        ..Options::default()
    };
    let (terms, class) = Terms::grant(&offer, handshake.ecn, handshake.listener);
    let epoch = cookie::epoch(handshake.now_ns);
    let echo = cookie::timestamp(&terms, handshake.now_ns);
    let acks = keys.map(|key| Ack {
        flow,
        sequence: handshake.sequence,
        cookie: cookie::make(
            &key,
            &flow,
            handshake.sequence,
            epoch,
            class,
            terms.timestamps(),
        ),
        epoch,
        timestamps: terms.timestamps(),
        echo,
    });
    for (ack, key) in acks.iter().zip(&keys) {
        assert_eq!(cookie::epoch_of(ack.cookie, epoch), epoch);
        assert_eq!(cookie::epoch_of(ack.cookie, epoch + 1), epoch);
        assert_eq!(ack.check(key), Some(terms));
        let next = Ack {
            epoch: epoch + 1,
            ..*ack
        };
        assert_eq!(next.check(key), Some(terms));
    }
    if handshake.keys[0] == handshake.keys[1] {
        return;
    }
    // One change in 2^28 is taken by chance, with one key: with a second one
    // none ever is in the life of a fuzzer.
    let refused = |what: &str, change: &dyn Fn(&mut Ack)| {
        let taken = acks.iter().zip(&keys).all(|(ack, key)| {
            let mut forged = *ack;
            change(&mut forged);
            forged.check(key).is_some()
        });
        assert!(!taken, "{what}: {handshake:?}");
    };
    let words = if flow.remote.is_ipv4() { 3..4 } else { 0..4 };
    for word in words {
        for bit in 0..32 {
            let change = |address: &mut Address| {
                let mut changed = *address;
                changed.0[word] ^= 1 << bit;
                // It must not become an address of the other family.
                if changed.is_ipv4() == address.is_ipv4() {
                    *address = changed;
                } else {
                    address.0[word] ^= 1 << ((bit + 1) % 32);
                }
            };
            refused("remote address", &|ack| change(&mut ack.flow.remote));
            refused("local address", &|ack| change(&mut ack.flow.local));
        }
    }
    for bit in 0..16 {
        refused("remote port", &|ack| ack.flow.remote_port ^= 1 << bit);
        refused("local port", &|ack| ack.flow.local_port ^= 1 << bit);
    }
    for bit in 0..32 {
        refused("sequence number", &|ack| ack.sequence ^= 1 << bit);
        refused("cookie", &|ack| ack.cookie ^= 1 << bit);
    }
    refused("two epochs later", &|ack| ack.epoch += 2);
    refused("three epochs later", &|ack| ack.epoch += 3);
    refused("before its time", &|ack| {
        ack.epoch = ack.epoch.wrapping_sub(1)
    });
    if terms.timestamps() {
        // A box on the way may take them away: the MSS is left.
        for (ack, key) in acks.iter().zip(&keys) {
            let stripped = Ack {
                timestamps: false,
                ..*ack
            };
            let is_left = stripped.check(key).is_some_and(|left| {
                let options = left.timestamps() || left.scaling() || left.sack() || left.ecn();
                left.mss() == terms.mss() && !options
            });
            assert!(is_left, "without timestamps: {handshake:?}");
        }
    } else {
        refused("timestamps", &|ack| ack.timestamps = true);
    }
    let exchanged = acks
        .iter()
        .zip(keys.iter().rev())
        .all(|(ack, key)| ack.check(key).is_some());
    assert!(!exchanged, "the other key: {handshake:?}");
}
