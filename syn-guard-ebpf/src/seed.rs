//! The seed of the hashes by which sources are counted.

/// Random, set by the loader: who collides with whom is nobody's choice.
#[unsafe(no_mangle)]
static HASH_SEED: u64 = 0;

/// The seed.
#[inline(always)]
pub fn seed() -> u64 {
    // SAFETY: a constant of the program; volatile, since the loader changes it.
    unsafe { core::ptr::addr_of!(HASH_SEED).read_volatile() }
}
