//! The lab's XDP programs: `flood_*` makes spoofed SYNs or ACKs, `bounce` is the floor that guards are
//! compared with, `answers` counts what comes back to spoofed sources, `pass` and `pass_frags` pass,
//! `touch` passes what it has looked at, `measure_*` run another program.
#![no_std]
#![expect(missing_docs, reason = "the xdp macro drops the docs of its functions")]
#![no_main]

mod answers;
mod bounce;
mod flood;
mod frame;
mod measure;
mod touch;
mod yardstick;

use aya_ebpf::{
    bindings::{tcx_action_base::TCX_NEXT, xdp_action},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};

/// IPv4 SYNs with MSS and window scale.
#[xdp]
pub fn flood_ipv4(ctx: XdpContext) -> u32 {
    flood::send::<false, false, 62>(&ctx).unwrap_or(xdp_action::XDP_DROP)
}

/// IPv4 SYNs with MSS, SACK, timestamps and window scale.
#[xdp]
pub fn flood_ipv4_full(ctx: XdpContext) -> u32 {
    flood::send::<false, false, 74>(&ctx).unwrap_or(xdp_action::XDP_DROP)
}

/// IPv6 SYNs with MSS and window scale.
#[xdp]
pub fn flood_ipv6(ctx: XdpContext) -> u32 {
    flood::send::<true, false, 82>(&ctx).unwrap_or(xdp_action::XDP_DROP)
}

/// IPv6 SYNs with MSS, SACK, timestamps and window scale.
#[xdp]
pub fn flood_ipv6_full(ctx: XdpContext) -> u32 {
    flood::send::<true, false, 94>(&ctx).unwrap_or(xdp_action::XDP_DROP)
}

/// IPv4 ACKs without options or data.
#[xdp]
pub fn flood_ipv4_acks(ctx: XdpContext) -> u32 {
    flood::send::<false, true, 54>(&ctx).unwrap_or(xdp_action::XDP_DROP)
}

/// IPv6 ACKs without options or data.
#[xdp]
pub fn flood_ipv6_acks(ctx: XdpContext) -> u32 {
    flood::send::<true, true, 74>(&ctx).unwrap_or(xdp_action::XDP_DROP)
}

/// Measures over IPv4 SYNs with MSS and window scale.
#[xdp(frags)]
pub fn measure_ipv4(ctx: XdpContext) -> u32 {
    measure::flood::<false, false, 62>(&ctx)
}

/// Measures over IPv6 SYNs with MSS and window scale.
#[xdp(frags)]
pub fn measure_ipv6(ctx: XdpContext) -> u32 {
    measure::flood::<true, false, 82>(&ctx)
}

/// Measures over IPv4 ACKs without options or data.
#[xdp(frags)]
pub fn measure_acks(ctx: XdpContext) -> u32 {
    measure::flood::<false, true, 54>(&ctx)
}

/// Measures over one frame.
#[xdp(frags)]
pub fn measure_same(ctx: XdpContext) -> u32 {
    measure::same(&ctx)
}

/// Measures over one packet.
#[classifier]
pub fn measure_tc(ctx: TcContext) -> i32 {
    measure::same_tc(&ctx)
}

/// Passes all after a fixed piece of work.
#[xdp(frags)]
pub fn yardstick(_ctx: XdpContext) -> u32 {
    match yardstick::run() {
        Some(()) => xdp_action::XDP_PASS,
        None => xdp_action::XDP_ABORTED,
    }
}

/// Passes all, in the place of a guard's TC program.
#[classifier]
pub fn pass_tc(_ctx: TcContext) -> i32 {
    TCX_NEXT
}

/// [`bounce`] for frames of any size.
#[xdp(frags)]
pub fn bounce_frags(ctx: XdpContext) -> u32 {
    bounce::bounce(&ctx).unwrap_or(xdp_action::XDP_PASS)
}

/// Sends frames of spoofed sources back with addresses and ports swapped.
#[xdp]
pub fn bounce(ctx: XdpContext) -> u32 {
    bounce::bounce(&ctx).unwrap_or(xdp_action::XDP_PASS)
}

/// Passes all, in a guard's place: of any size, as a guard.
#[xdp(frags)]
pub fn pass_frags(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Passes all, in a guard's place, after a look at the frame.
#[xdp(frags)]
pub fn touch(ctx: XdpContext) -> u32 {
    touch::touch(&ctx);
    xdp_action::XDP_PASS
}

/// Counts and drops what is addressed to spoofed sources.
#[xdp(frags)]
pub fn answers(ctx: XdpContext) -> u32 {
    answers::count(&ctx).unwrap_or(xdp_action::XDP_PASS)
}

/// Passes all: what a veth's other end sends back by XDP arrives only where such a program is.
#[xdp]
pub fn pass(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
