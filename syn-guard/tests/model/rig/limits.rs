//! Sources and prefixes that are over a limit.

use syn_guard_common::abi::{Reason, Settings};
use syn_guard_common::address::Address;

use super::Rig;
use super::compare::now_ns;
use crate::build::Segment;

/// SYNs after which a limit of 1 is reached, and one more.
const MANY: u8 = 5;

/// What the data path is told where no source and no prefix has a limit.
pub fn no_limits() -> Settings {
    Settings {
        source_half_open: 0,
        source_rate: 0,
        reply_rate: 0,
        stray_rate: 0,
        ipv4_mask: Address::mask(128),
        ipv6_mask: Address::mask(64),
        heavy: 25,
        engine: 0,
        flags: 0,
        reserved: 0,
    }
}

impl Rig {
    /// Has the sources of these SYNs, to a service that protects, exceed a limit
    /// of one a second. It holds until the second is over.
    pub fn exceed(&mut self, limit: Reason, syns: &[Segment]) {
        let settings = match limit {
            Reason::SourceLimit => Settings {
                source_rate: 1,
                heavy: 1,
                ..no_limits()
            },
            Reason::ReplyLimit => Settings {
                reply_rate: 1,
                ..no_limits()
            },
            other => panic!("{} is no limit", other.name()),
        };
        self.datapath.maps.set_settings(settings).unwrap();
        // Sketches are of a CPU and of a second (2^30 ns), of which half is left.
        stay_on_this_cpu();
        while now_ns() & ((1 << 30) - 1) > 1 << 29 {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        for syn in syns {
            let frame = self.fit(syn.build());
            for _ in 0..MANY {
                let (bytes, linear) = (&frame.bytes, frame.linear);
                self.datapath
                    .test_run(bytes, linear, &mut self.output)
                    .unwrap();
            }
        }
        self.reasons();
        self.world.over = Some(limit);
    }

    /// Nobody has a limit any more.
    pub fn forget_limits(&mut self) {
        self.datapath.maps.set_settings(no_limits()).unwrap();
        self.world.over = None;
    }
}

fn stay_on_this_cpu() {
    use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
    let mut cpus = CpuSet::new();
    cpus.set(sched_getcpu().unwrap()).unwrap();
    sched_setaffinity(nix::unistd::Pid::from_raw(0), &cpus).unwrap();
}
