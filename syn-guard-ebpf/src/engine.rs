//! Which engine the programs are loaded for.

use syn_guard_common::abi::EngineKind;

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
