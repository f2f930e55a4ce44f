//! Programs that are measured alone, without a network (`BPF_PROG_TEST_RUN`): a frame is written anew
//! where the program before changed it, then the program runs in the place of this one.

use aya_ebpf::{
    bindings::{TC_ACT_SHOT, xdp_action},
    macros::map,
    maps::ProgramArray,
    programs::{TcContext, XdpContext},
};

use crate::flood;

/// The XDP program that is measured, at index 0.
#[map]
static MEASURED_XDP: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// The TC program that is measured, at index 0.
#[map]
static MEASURED_TC: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Runs the XDP program over another frame of the flood.
#[inline(always)]
pub fn flood<const IPV6: bool, const ACK: bool, const LENGTH: usize>(ctx: &XdpContext) -> u32 {
    match flood::replace::<IPV6, ACK, LENGTH>(ctx) {
        Some(()) => same(ctx),
        None => xdp_action::XDP_ABORTED,
    }
}

/// Runs the XDP program over the frame as it is.
#[inline(always)]
pub fn same(ctx: &XdpContext) -> u32 {
    // SAFETY: the map holds programs of this one's type only.
    unsafe { MEASURED_XDP.tail_call(ctx, 0) };
    xdp_action::XDP_ABORTED
}

/// Runs the TC program over the packet as it is.
#[inline(always)]
pub fn same_tc(ctx: &TcContext) -> i32 {
    // SAFETY: as above.
    unsafe { MEASURED_TC.tail_call(ctx, 0) };
    TC_ACT_SHOT
}
