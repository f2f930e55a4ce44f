//! What the programs are loaded for: constants that the loader sets.

use syn_guard_common::abi::EngineKind;
use syn_guard_common::wire::found;

use crate::maps::SETTINGS;

/// An [`EngineKind`], set by the loader.
#[unsafe(no_mangle)]
static ENGINE: u32 = EngineKind::Reqsk as u32;

/// Whether only the kernel can make and validate cookies. The verifier knows the
/// answer and leaves the other engine's code out.
#[inline(always)]
pub fn is_kernel_only() -> bool {
    // SAFETY: a constant of the program; volatile, since the loader changes it.
    unsafe { core::ptr::addr_of!(ENGINE).read_volatile() == EngineKind::Kernel as u32 }
}

/// Whether cookies are made by the kernel now. Both kinds are validated all the time.
#[inline(always)]
pub fn makes_kernels() -> bool {
    is_kernel_only()
        || SETTINGS
            .get(0)
            .is_some_and(|settings| settings.engine == EngineKind::Kernel as u32)
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
