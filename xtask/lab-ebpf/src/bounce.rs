//! The floor: the least an XDP program can do to answer a frame.

use aya_ebpf::{bindings::xdp_action, macros::map, maps::PerCpuArray, programs::XdpContext};

use crate::frame::{self, byte, half, swap};

/// Frames sent back.
#[map]
static BOUNCED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Swaps MACs, addresses and ports of a TCP frame from a spoofed source and sends it back.
#[inline(always)]
pub fn bounce(ctx: &XdpContext) -> Option<u32> {
    let start = frame::start::<{ frame::IPV4_TCP + 20 }>(ctx)?;
    // SAFETY: all offsets lie within the length checked just above, or below for IPv6.
    unsafe {
        match *half(start, frame::ETHER_TYPE) {
            frame::IPV4 => {
                if byte(start, frame::IPV4_VERSION) != 0x45
                    || byte(start, frame::IPV4_PROTOCOL) != frame::TCP
                    || byte(start, frame::IPV4_SOURCE) != 10
                {
                    return None;
                }
                swap::<2>(start, frame::IPV4_SOURCE, frame::IPV4_DESTINATION);
                swap::<1>(start, frame::IPV4_TCP, frame::IPV4_TCP + 2);
            }
            frame::IPV6 => {
                let start = frame::start::<{ frame::IPV6_TCP + 20 }>(ctx)?;
                if byte(start, frame::IPV6_NEXT) != frame::TCP
                    || !frame::is_spoofed_ipv6(start, frame::IPV6_SOURCE)
                {
                    return None;
                }
                swap::<8>(start, frame::IPV6_SOURCE, frame::IPV6_DESTINATION);
                swap::<1>(start, frame::IPV6_TCP, frame::IPV6_TCP + 2);
            }
            _ => return None,
        }
        swap::<3>(start, 0, 6);
        if let Some(count) = BOUNCED.get_ptr_mut(0) {
            *count += 1;
        }
    }
    Some(xdp_action::XDP_TX)
}
