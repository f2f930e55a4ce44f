//! SYNs of rare clients that the stack answers in a way of its own, or not at all. The stack
//! gets them, as long as they are few: else a flood would go by there.
//!
//! Clients that take smaller segments than any cookie says: cookies carry classes of MSS, and
//! the least is what `bpf_sk_assign_tcp_reqsk` and the kernel's own cookies take. And those
//! with IPv4 options or IPv6 extension headers: the stack drops most source routes, and
//! answers with options of its own.

use syn_guard_common::wire::{Frame as _, Headers, Options};

use crate::frame::Packet;
use crate::maps::UNUSUAL;

/// The least MSS of a cookie's connection (`TCP_MIN_MSS`'s default of RFC 9293, and
/// `IPV6_MIN_MTU` less headers: `bpf_sk_assign_tcp_reqsk`, Linux 6.18).
const LEAST_IPV4: usize = 536;
const LEAST_IPV6: usize = 1220;
/// Bytes of the headers without options and extensions.
const IPV4: usize = 20;
const IPV6: usize = 40;

/// Whether the stack gets a SYN with these headers and options.
#[inline(always)]
pub fn passes(packet: &Packet<'_>, headers: &Headers, options: &Options, now_ns: u64) -> bool {
    // Of copies: what the verifier learned of the values themselves here would have it follow
    // twice what comes.
    let ipv6 = packet.forget(usize::from(headers.ipv6), 1);
    let mss = packet.forget(usize::from(options.mss), 0xffff);
    let length = packet.forget(headers.tcp - headers.ip, 0x3fff);
    // 0 stands for none.
    let is_small = mss != 0 && mss < LEAST_IPV4 + ipv6 * (LEAST_IPV6 - LEAST_IPV4);
    let is_plain = length == IPV4 + ipv6 * (IPV6 - IPV4);
    (is_small || !is_plain) && is_within_rate(now_ns)
}

/// How many pass in a second, on each CPU. Set by the loader.
#[unsafe(no_mangle)]
static UNUSUAL_RATE: u32 = 0;

/// Counts one; whether there were few in this second.
#[inline(always)]
fn is_within_rate(now_ns: u64) -> bool {
    let Some(passed) = UNUSUAL.get_ptr_mut(0) else {
        return false;
    };
    let second = now_ns >> 30 << 32;
    // SAFETY: this CPU's own value: the second above, what passed in it below; a constant
    // of the program, volatile since the loader changes it.
    unsafe {
        let before = if *passed >> 32 << 32 == second {
            *passed
        } else {
            second
        };
        if before as u32 >= core::ptr::addr_of!(UNUSUAL_RATE).read_volatile() {
            return false;
        }
        *passed = before + 1;
    }
    true
}
