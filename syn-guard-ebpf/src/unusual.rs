//! SYNs of rare clients that the stack answers in a way of its own, or not at all. The stack
//! gets them, as long as they are few: else a flood would go by there.
//!
//! Clients that take smaller segments than any cookie says: cookies carry classes of MSS, and
//! the least is what `bpf_sk_assign_tcp_reqsk` and the kernel's own cookies take. And those
//! with IPv4 options or IPv6 extension headers: the stack drops most source routes, and
//! answers with options of its own.

use syn_guard_common::wire::{Headers, Options};

use crate::maps::UNUSUAL;

/// The least MSS of a cookie's connection (`TCP_MIN_MSS`'s default of RFC 9293, and
/// `IPV6_MIN_MTU` less headers: `bpf_sk_assign_tcp_reqsk`, Linux 6.18).
const LEAST_IPV4: u16 = 536;
const LEAST_IPV6: u16 = 1220;

/// Whether the stack gets a SYN with this MSS.
#[inline(always)]
pub fn mss_passes(options: &Options, ipv6: bool, now_ns: u64) -> bool {
    let least = if ipv6 { LEAST_IPV6 } else { LEAST_IPV4 };
    // 0 stands for none.
    options.mss != 0 && options.mss < least && is_within_rate(now_ns)
}

/// Whether the stack gets a SYN with these headers.
#[inline(always)]
pub fn headers_pass(headers: &Headers, now_ns: u64) -> bool {
    !headers.is_plain() && is_within_rate(now_ns)
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
