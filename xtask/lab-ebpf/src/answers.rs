//! The client's side: what the server answers to spoofed sources ends here.

use aya_ebpf::{
    bindings::xdp_action,
    macros::map,
    maps::{Array, PerCpuArray},
    programs::XdpContext,
};

use crate::frame::{self, byte, half};

/// Index 0: frames addressed to spoofed sources; 1: the SYN-ACKs among them.
#[map]
static ANSWERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(2, 0);

/// Not 0: hand them to the stack and its packet sockets instead of dropping them.
#[map]
static PASS_ANSWERS: Array<u32> = Array::with_max_entries(1, 0);

const SYN_ACK: u8 = 0x12;

/// Counts a TCP frame to a spoofed source, then drops it or lets it pass.
#[inline(always)]
pub fn count(ctx: &XdpContext) -> Option<u32> {
    let start = frame::start::<{ frame::IPV4_TCP + 20 }>(ctx)?;
    // SAFETY: all offsets lie within the length checked just above, or below for IPv6.
    let flags = unsafe {
        match *half(start, frame::ETHER_TYPE) {
            frame::IPV4 => {
                if byte(start, frame::IPV4_PROTOCOL) != frame::TCP
                    || byte(start, frame::IPV4_DESTINATION) != 10
                {
                    return None;
                }
                byte(start, frame::IPV4_TCP + 13)
            }
            frame::IPV6 => {
                let start = frame::start::<{ frame::IPV6_TCP + 20 }>(ctx)?;
                if byte(start, frame::IPV6_NEXT) != frame::TCP
                    || !frame::is_spoofed_ipv6(start, frame::IPV6_DESTINATION)
                {
                    return None;
                }
                byte(start, frame::IPV6_TCP + 13)
            }
            _ => return None,
        }
    };
    add(0);
    if flags & SYN_ACK == SYN_ACK {
        add(1);
    }
    match PASS_ANSWERS.get(0) {
        Some(0) | None => Some(xdp_action::XDP_DROP),
        Some(_) => None,
    }
}

#[inline(always)]
fn add(index: u32) {
    if let Some(count) = ANSWERS.get_ptr_mut(index) {
        // SAFETY: the value is this CPU's own.
        unsafe { *count += 1 };
    }
}
