//! Memory that is free is given back to the system.

/// Gives back what the allocator keeps of what was freed: after the start, which
/// reads the kernel's types, that is most of it.
///
/// glibc raises the size from which it maps memory apart with what it sees freed
/// (`M_MMAP_THRESHOLD`), so that large buffers end in the heap, below something
/// small that stays. Takes some microseconds where there is nothing to give.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointer and may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}
