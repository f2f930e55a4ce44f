//! What the programs are loaded for: constants that the loader sets.

use syn_guard_common::abi::EngineKind;
use syn_guard_common::wire::found;

/// An [`EngineKind`], set by the loader.
#[unsafe(no_mangle)]
static ENGINE: u32 = EngineKind::Reqsk as u32;

/// Whether the kernel makes and validates the cookies. The verifier knows the
/// answer and leaves the other engine's code out.
#[inline(always)]
pub fn is_kernel() -> bool {
    // SAFETY: a constant of the program; volatile, since the loader changes it.
    unsafe { core::ptr::addr_of!(ENGINE).read_volatile() == EngineKind::Kernel as u32 }
}

/// The signatures that the kernel knows: bits of `wire::found`. It drops a SYN
/// whose signature it does not expect; one that it does not know it takes like
/// any other.
#[unsafe(no_mangle)]
static SIGNATURES: u32 = found::MD5 | found::AUTHENTICATION;

/// See [`SIGNATURES`].
#[inline(always)]
pub fn known_signatures() -> u32 {
    // SAFETY: as above.
    unsafe { core::ptr::addr_of!(SIGNATURES).read_volatile() }
}
