//! The eBPF programs of syn-guard: entry points only.
//!
//! Built for the little-endian BPF target by `cargo xtask build`; the kernel
//! must be 6.9 or later for [`syn_guard_ack`], 5.18 for the others.

#![no_std]
#![no_main]
#![allow(missing_docs, reason = "aya's macros wrap the entry points")]
#![allow(
    internal_features,
    reason = "atomic_xadd: BPF targets have no fetch_add"
)]
#![allow(
    clippy::needless_borrows_for_generic_args,
    reason = "the next aya takes map keys and values by reference only"
)]
#![feature(asm_experimental_arch, core_intrinsics)]

mod accept_queue;
mod ack;
mod answers;
mod clock;
mod conntrack;
mod control;
mod count;
mod engine;
mod filters;
mod fragment;
mod frame;
mod half_open;
mod handed;
mod kernel_cookie;
mod kfunc;
mod level;
mod limits;
mod listeners;
mod maps;
mod observe;
mod prefixes;
mod protect;
mod seed;
mod segment;
mod sent;
mod silent;
mod sockets;
mod sources;
mod standing;
mod state;
mod stray;
mod syn;
mod unusual;
mod validate;
mod zero;

use aya_ebpf::bindings::tcx_action_base::{TCX_DROP, TCX_NEXT};
use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use syn_guard_common::abi::{Action, Reason};

use crate::maps::CONNTRACK_PROGRAM;

/// Sees every frame first: counts SYNs, answers those to a protecting service.
/// Inlined into its entry point: as its call it would take more stack than there is.
#[xdp(frags)]
#[inline(always)]
pub fn syn_guard(context: XdpContext) -> u32 {
    handle(&context)
}

/// The same in the stack (generic mode), which copies every packet for a program that takes
/// several buffers and forgets where the Ethernet header was (`skb_pp_cow_data`, Linux 6.9 to
/// 6.18): TC programs after it would look for all headers 14 bytes too far.
#[xdp]
#[inline(always)]
pub fn syn_guard_generic(context: XdpContext) -> u32 {
    handle(&context)
}

#[inline(always)]
fn handle(context: &XdpContext) -> u32 {
    let reason = syn::handle(context);
    count::verdict(reason);
    match reason.action() {
        Action::Pass => xdp_action::XDP_PASS,
        Action::Cookie => xdp_action::XDP_TX,
        Action::Drop => xdp_action::XDP_DROP,
    }
}

/// Sees what [`syn_guard`] passed: completes handshakes that carry a cookie.
#[classifier]
#[inline(always)]
pub fn syn_guard_ack(context: TcContext) -> i32 {
    match ack::handle(&context) {
        None => TCX_NEXT,
        Some(reason) => {
            count::verdict(reason);
            if reason == Reason::CookieValidated {
                // SAFETY: the map of programs of this kind; where it is empty, this one
                // goes on.
                unsafe { CONNTRACK_PROGRAM.tail_call(&context, 0) }
            }
            match reason.action() {
                Action::Drop => TCX_DROP,
                Action::Pass | Action::Cookie => TCX_NEXT,
            }
        }
    }
}

/// Sees what leaves the host: how the stack answers SYNs, and what it resets.
#[classifier]
#[inline(always)]
pub fn syn_guard_answers(context: TcContext) -> i32 {
    answers::handle(&context);
    TCX_NEXT
}

/// Goes on with a packet of [`syn_guard_ack`] that completes a handshake: has conntrack
/// forget an earlier connection of its flow. Loaded where the kernel has what it calls.
#[classifier]
#[inline(always)]
pub fn syn_guard_conntrack(context: TcContext) -> i32 {
    conntrack::handle(&context);
    TCX_NEXT
}

/// Carries out a command of the controller; never attached.
#[xdp]
pub fn syn_guard_control(context: XdpContext) -> u32 {
    control::handle(&context)
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel lets only GPL programs call the socket look-ups.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
