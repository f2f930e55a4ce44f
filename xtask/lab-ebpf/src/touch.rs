//! The least that a program does which looks at frames at all.

use aya_ebpf::programs::XdpContext;

use crate::frame::{self, half};

/// Offset of the TCP flags behind an IPv4 header without options.
const FLAGS: usize = frame::IPV4_TCP + 13;

/// Reads the EtherType, and the flags of TCP over IPv4. Where the frame was written by another core,
/// its cache line comes from there.
#[inline(always)]
pub fn touch(ctx: &XdpContext) {
    let Some(start) = frame::start::<{ FLAGS + 1 }>(ctx) else {
        return;
    };
    // SAFETY: both offsets lie within the length just checked. Volatile, as nobody uses what is read.
    unsafe {
        half(start, frame::ETHER_TYPE).read_volatile();
        start.add(FLAGS).read_volatile();
    }
}
