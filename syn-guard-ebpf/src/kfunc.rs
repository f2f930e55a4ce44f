//! The kernel function that hands a connection to the stack.
//!
//! aya 0.14 cannot link kernel functions. The call below is compiled as one
//! of a helper with a number that no helper has; the loader finds it and puts
//! the function's BTF id in its place (`datapath::kfunc` in the controller).

use core::ffi::c_void;

use syn_guard_common::cookie::Terms;
use syn_guard_common::wire::Options;

use crate::zero::zero;

/// The number that stands for `bpf_sk_assign_tcp_reqsk` (Linux 6.9).
const ASSIGN_REQUEST: usize = 0x5ead_0001;

/// `struct bpf_tcp_req_attrs` (Linux 6.9).
///
/// | offset | size | what |
/// | --- | --- | --- |
/// | 0 | 4 | TSval of the ACK |
/// | 4 | 4 | TSecr of the ACK |
/// | 8 | 2 | MSS |
/// | 10 | 1 | our window scale |
/// | 11 | 1 | the client's window scale |
/// | 12 | 5 x 1 | ECN, window scaling, SACK, timestamps, microseconds |
/// | 17 | 3 | zero |
#[repr(C)]
pub struct Request {
    received_timestamp: u32,
    echoed_timestamp: u32,
    mss: u16,
    our_scale: u8,
    client_scale: u8,
    ecn: u8,
    scaling: u8,
    sack: u8,
    timestamps: u8,
    microseconds: u8,
    reserved: [u8; 3],
}

const _: () = assert!(size_of::<Request>() == 20);

impl Request {
    /// The request that a validated cookie stands for. `our_scale` is what
    /// the SYN-ACK carried, `most_mss` (0: none) the listener's bound of what it
    /// sends, `options` are the ACK's.
    #[inline(always)]
    pub fn new(terms: &Terms, ipv6: bool, our_scale: u8, most_mss: u16, options: &Options) -> Self {
        let mss = if most_mss != 0 && most_mss < terms.mss() {
            most_mss
        } else {
            terms.mss()
        };
        // The kernel function refuses less for IPv6: the kernel's own cookies
        // carry no less either.
        let least = if ipv6 { 1220 } else { 536 };
        Self {
            received_timestamp: options.value,
            echoed_timestamp: options.echo,
            mss: if mss < least { least } else { mss },
            our_scale: if terms.scaling() { our_scale } else { 0 },
            client_scale: terms.scale(),
            ecn: u8::from(terms.ecn()),
            scaling: u8::from(terms.scaling()),
            sack: u8::from(terms.sack()),
            timestamps: u8::from(terms.timestamps()),
            microseconds: 0,
            // Three of them: of one that is repeated the compiler makes a `memset`, too.
            reserved: [zero() as u8, zero() as u8, zero() as u8],
        }
    }
}

/// Makes the stack take the packet `skb` as the last one of a handshake with
/// `listener`, which stays the caller's.
///
/// # Safety
/// `skb` must be the context of a TC program and `listener` a full socket.
#[inline(always)]
pub unsafe fn assign_request(
    skb: *mut c_void,
    listener: *mut c_void,
    request: &mut Request,
) -> i32 {
    // SAFETY: not a pointer that is followed: the compiler turns a call of a
    // constant address into a call instruction with that number, which the
    // loader replaces. The signature is the kernel function's.
    unsafe {
        let assign: unsafe extern "C" fn(*mut c_void, *mut c_void, *mut Request, i32) -> i32 =
            core::mem::transmute(ASSIGN_REQUEST);
        assign(skb, listener, request, size_of::<Request>() as i32)
    }
}
