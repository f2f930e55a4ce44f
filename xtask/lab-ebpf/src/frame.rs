//! Checked pointers into a frame, and the offsets the lab's programs need.
//!
//! Frames start at an address that 8 divides, so all halfwords at even offsets are aligned.

use aya_ebpf::programs::XdpContext;

/// EtherType of IPv4, as a halfword read from the frame.
pub const IPV4: u16 = 0x0800_u16.to_be();
/// EtherType of IPv6, as a halfword read from the frame.
pub const IPV6: u16 = 0x86dd_u16.to_be();
/// IP protocol number of TCP.
pub const TCP: u8 = 6;

/// Offset of the EtherType.
pub const ETHER_TYPE: usize = 12;
/// Offset of the IPv4 header's version and length.
pub const IPV4_VERSION: usize = 14;
/// Offset of the IPv4 header's protocol.
pub const IPV4_PROTOCOL: usize = 23;
/// Offset of the IPv4 header's checksum.
pub const IPV4_CHECKSUM: usize = 24;
/// Offset of the IPv4 source address.
pub const IPV4_SOURCE: usize = 26;
/// Offset of the IPv4 destination address.
pub const IPV4_DESTINATION: usize = 30;
/// Offset of TCP behind an IPv4 header without options.
pub const IPV4_TCP: usize = 34;
/// Offset of the IPv6 header's next header.
pub const IPV6_NEXT: usize = 20;
/// Offset of the IPv6 source address.
pub const IPV6_SOURCE: usize = 22;
/// Offset of the IPv6 destination address.
pub const IPV6_DESTINATION: usize = 38;
/// Offset of TCP behind an IPv6 header without extension headers.
pub const IPV6_TCP: usize = 54;

/// The frame's start, if it has at least `LENGTH` bytes.
#[inline(always)]
pub fn start<const LENGTH: usize>(ctx: &XdpContext) -> Option<*mut u8> {
    let data = ctx.data();
    (data + LENGTH <= ctx.data_end()).then_some(data as *mut u8)
}

/// A halfword of the frame.
///
/// # Safety
///
/// `offset + 2` bytes lie within the length that [`start`] checked; `offset` is even.
#[inline(always)]
pub unsafe fn half(frame: *mut u8, offset: usize) -> *mut u16 {
    // SAFETY: the caller's promise.
    unsafe { frame.add(offset).cast() }
}

/// A byte of the frame.
///
/// # Safety
///
/// `offset` lies within the length that [`start`] checked.
#[inline(always)]
pub unsafe fn byte(frame: *mut u8, offset: usize) -> u8 {
    // SAFETY: the caller's promise.
    unsafe { *frame.add(offset) }
}

/// Swaps `HALVES` halfwords at two offsets.
///
/// # Safety
///
/// As for [`half`], for both ranges.
#[inline(always)]
pub unsafe fn swap<const HALVES: usize>(frame: *mut u8, one: usize, other: usize) {
    for i in 0..HALVES {
        // SAFETY: the caller's promise.
        unsafe {
            core::ptr::swap(half(frame, one + 2 * i), half(frame, other + 2 * i));
        }
    }
}

/// Whether an IPv6 address at `offset` lies in 2001:db8:2000::/36, where spoofed sources are.
///
/// # Safety
///
/// As for [`half`], for 6 bytes.
#[inline(always)]
pub unsafe fn is_spoofed_ipv6(frame: *mut u8, offset: usize) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        *half(frame, offset) == 0x2001_u16.to_be()
            && *half(frame, offset + 2) == 0x0db8_u16.to_be()
            && byte(frame, offset + 4) >> 4 == 2
    }
}
