//! Whether a listener's accept queue is full, as the kernel itself sees it.

use core::ffi::c_void;
use core::ptr::addr_of;

use crate::filters;

/// Offset of `sk_ack_backlog` in a socket, set by the loader; 0: not known.
#[unsafe(no_mangle)]
static SK_ACK_BACKLOG: u32 = 0;
/// Offset of `sk_max_ack_backlog`, likewise.
#[unsafe(no_mangle)]
static SK_MAX_ACK_BACKLOG: u32 = 0;

/// Connections that wait to be accepted, and how many may; none when the
/// kernel's fields are not known.
///
/// # Safety
/// `listener` must be what `bpf_skc_to_tcp_sock` made of a listener that is not
/// yet given back.
#[inline(always)]
unsafe fn lengths(listener: *const c_void) -> Option<(u32, u32)> {
    // SAFETY: constants of the program, volatile since the loader changes them;
    // fields of a kernel structure, whose type the verifier knows.
    unsafe {
        let queued_at = addr_of!(SK_ACK_BACKLOG).read_volatile() as usize;
        let most_at = addr_of!(SK_MAX_ACK_BACKLOG).read_volatile() as usize;
        if queued_at == 0 || most_at == 0 {
            return None;
        }
        Some((
            listener.byte_add(queued_at).cast::<u32>().read_volatile(),
            listener.byte_add(most_at).cast::<u32>().read_volatile(),
        ))
    }
}

/// Whether the queue is full: `sk_acceptq_is_full`, Linux 6.18. Where that is
/// not known, it is not.
///
/// # Safety
/// As of [`lengths`].
#[inline(always)]
pub unsafe fn is_full(listener: *const c_void) -> bool {
    // SAFETY: by the caller's word.
    unsafe { lengths(listener) }.is_some_and(|(queued, most)| queued > most)
}

/// Whether a connection that was handed over just now may have found no room:
/// others of this moment, which the stack may not have seen yet, count as
/// queued. None when that is not known.
///
/// # Safety
/// As of [`lengths`].
#[inline(always)]
pub unsafe fn may_be_full(listener: *const c_void) -> Option<bool> {
    // SAFETY: by the caller's word.
    let (queued, most) = unsafe { lengths(listener) }?;
    Some(u64::from(queued) + u64::from(filters::completed_lately()) > u64::from(most))
}
