//! Floods of a few thousand SYNs a second, frame by frame through a packet socket.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher as _, Hasher as _},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{
    Flood,
    plan::{self, Plan},
};
use crate::lab::{CLIENT_INTERFACE, Lab, packet_socket::PacketSocket};

/// Time between the bursts.
const PAUSE: Duration = Duration::from_millis(1);

/// Counts frames.
#[derive(Clone, Default)]
pub(super) struct Sent(Arc<AtomicU64>);

impl Sent {
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Starts it on a thread of its own.
pub(super) fn start(
    flood: &Flood,
    rate: u64,
    lab: &Lab,
    stop: Arc<AtomicBool>,
) -> Result<(Sent, JoinHandle<Result<()>>)> {
    let plan = Plan::new(flood)?;
    let socket = PacketSocket::open(lab.client(), CLIENT_INTERFACE, false)?;
    let mut segment = plan::segment(flood);
    let duration = flood.duration;
    let sent = Sent::default();
    let count = sent.clone();
    let thread = thread::spawn(move || {
        let random = RandomState::new();
        let started = Instant::now();
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            let elapsed = started.elapsed().min(duration);
            let due = elapsed.as_nanos() * u128::from(rate) / 1_000_000_000;
            while u128::from(number) < due && !stop.load(Ordering::Relaxed) {
                let numbers = [0, 1, 2, 3].map(|part| {
                    let mut hasher = random.build_hasher();
                    hasher.write_u64(number);
                    hasher.write_u8(part);
                    hasher.finish()
                });
                let source = plan.source(segment.destination.is_ipv6(), [numbers[0], numbers[1]]);
                let port = 1024 + (((numbers[2] & 0xffff) * 64_512) >> 16) as u16;
                segment.source = SocketAddr::new(source, port);
                segment.seq = (numbers[2] >> 32) as u32;
                if segment.flags.ack {
                    segment.ack = numbers[3] as u32;
                }
                socket.send(&plan::frame(&segment)?)?;
                number += 1;
                count.0.store(number, Ordering::Relaxed);
            }
            if elapsed == duration {
                break;
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    });
    Ok((sent, thread))
}
