//! Access to a frame's bytes: the length of a stretch is checked once, the
//! places within it by the compiler.

use core::marker::PhantomData;

/// A frame that can be read.
pub trait Frame {
    /// The `N` bytes at `offset`, if the frame has them.
    fn chunk<const N: usize>(&self, offset: usize) -> Option<Chunk<'_, N>>;

    /// Whether the frame has this many bytes, those that cannot be read
    /// directly among them.
    fn holds(&self, length: usize) -> bool;

    /// Bytes that can be read directly.
    fn length(&self) -> usize;

    /// `value & mask`, of which the kernel's verifier remembers only the mask:
    /// it would follow a loop once for every value it can tell apart.
    #[inline(always)]
    fn forget(&self, value: usize, mask: usize) -> usize {
        value & mask
    }

    /// A word, of which the verifier remembers nothing.
    #[inline(always)]
    fn forget_word(&self, word: u32) -> u32 {
        word
    }
}

/// A frame that can be written.
pub trait FrameMut: Frame {
    /// The `N` bytes at `offset`, if the frame has them.
    fn chunk_mut<const N: usize>(&mut self, offset: usize) -> Option<ChunkMut<'_, N>>;
}

/// `N` bytes of a frame.
#[derive(Clone, Copy)]
pub struct Chunk<'a, const N: usize> {
    start: *const u8,
    frame: PhantomData<&'a u8>,
}

impl<const N: usize> Chunk<'_, N> {
    /// # Safety
    /// The `N` bytes at `start` must be readable for the chunk's life.
    #[inline(always)]
    #[must_use]
    pub const unsafe fn new(start: *const u8) -> Self {
        Self {
            start,
            frame: PhantomData,
        }
    }

    /// Where it starts.
    #[inline(always)]
    #[must_use]
    pub const fn as_ptr(&self) -> *const u8 {
        self.start
    }

    /// The byte at `I`.
    #[inline(always)]
    #[must_use]
    pub fn u8<const I: usize>(&self) -> u8 {
        const { assert!(I < N) }
        // SAFETY: I is within the N readable bytes.
        unsafe { *self.start.add(I) }
    }

    /// The two bytes at `I`, big-endian.
    #[inline(always)]
    #[must_use]
    pub fn u16<const I: usize>(&self) -> u16 {
        const { assert!(I + 2 <= N) }
        // SAFETY: both bytes are within the N readable ones.
        u16::from_be(unsafe { load(self.start.add(I).cast::<u16>()) })
    }

    /// The four bytes at `I`, big-endian.
    #[inline(always)]
    #[must_use]
    pub fn u32<const I: usize>(&self) -> u32 {
        u32::from_be(self.word::<I>())
    }

    /// The four bytes at `I` as they stand.
    #[inline(always)]
    #[must_use]
    pub fn word<const I: usize>(&self) -> u32 {
        const { assert!(I + 4 <= N) }
        // SAFETY: all four bytes are within the N readable ones.
        unsafe { load(self.start.add(I).cast::<u32>()) }
    }
}

/// `N` bytes of a frame, to be written.
pub struct ChunkMut<'a, const N: usize> {
    start: *mut u8,
    frame: PhantomData<&'a mut u8>,
}

impl<const N: usize> ChunkMut<'_, N> {
    /// # Safety
    /// The `N` bytes at `start` must be writable, and nobody else's, for the
    /// chunk's life.
    #[inline(always)]
    #[must_use]
    pub const unsafe fn new(start: *mut u8) -> Self {
        Self {
            start,
            frame: PhantomData,
        }
    }

    /// The same bytes, to be read.
    #[inline(always)]
    #[must_use]
    pub const fn read(&self) -> Chunk<'_, N> {
        // SAFETY: writable bytes are readable.
        unsafe { Chunk::new(self.start) }
    }

    /// Writes the byte at `I`.
    #[inline(always)]
    pub fn set_u8<const I: usize>(&mut self, value: u8) {
        const { assert!(I < N) }
        // SAFETY: I is within the N writable bytes.
        unsafe { *self.start.add(I) = value }
    }

    /// Writes two bytes at `I`, big-endian.
    #[inline(always)]
    pub fn set_u16<const I: usize>(&mut self, value: u16) {
        const { assert!(I + 2 <= N) }
        // SAFETY: both bytes are within the N writable ones.
        unsafe { store(self.start.add(I).cast::<u16>(), value.to_be()) }
    }

    /// Writes four bytes at `I`, big-endian.
    #[inline(always)]
    pub fn set_u32<const I: usize>(&mut self, value: u32) {
        self.set_word::<I>(value.to_be());
    }

    /// Writes four bytes at `I` as they stand.
    #[inline(always)]
    pub fn set_word<const I: usize>(&mut self, value: u32) {
        const { assert!(I + 4 <= N) }
        // SAFETY: all four bytes are within the N writable ones.
        unsafe { store(self.start.add(I).cast::<u32>(), value) }
    }
}

/// Reads a value that may be unaligned.
///
/// # Safety
/// The bytes of a `T` at `from` must be readable.
#[inline(always)]
unsafe fn load<T>(from: *const T) -> T {
    // SAFETY: readable by the caller's word. BPF has no unaligned pointers: on
    // the machines where the verifier lets a packet be read by whole words
    // they may stand anywhere, and `read_unaligned` would become single bytes.
    unsafe {
        if cfg!(target_arch = "bpf") {
            from.read_volatile()
        } else {
            from.read_unaligned()
        }
    }
}

/// Writes a value that may be unaligned.
///
/// # Safety
/// The bytes of a `T` at `to` must be writable.
#[inline(always)]
unsafe fn store<T>(to: *mut T, value: T) {
    // SAFETY: writable by the caller's word; whole words as in `load`.
    unsafe {
        if cfg!(target_arch = "bpf") {
            to.write_volatile(value)
        } else {
            to.write_unaligned(value)
        }
    }
}

/// A frame in memory, for the host.
pub struct Slice<T>(pub T);

impl<T: AsRef<[u8]>> Frame for Slice<T> {
    fn chunk<const N: usize>(&self, offset: usize) -> Option<Chunk<'_, N>> {
        let bytes = self.0.as_ref().get(offset..)?.first_chunk::<N>()?;
        // SAFETY: the N bytes are borrowed for the chunk's life.
        Some(unsafe { Chunk::new(bytes.as_ptr()) })
    }

    fn holds(&self, length: usize) -> bool {
        length <= self.length()
    }

    fn length(&self) -> usize {
        self.0.as_ref().len()
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> FrameMut for Slice<T> {
    fn chunk_mut<const N: usize>(&mut self, offset: usize) -> Option<ChunkMut<'_, N>> {
        let bytes = self.0.as_mut().get_mut(offset..)?.first_chunk_mut::<N>()?;
        // SAFETY: the N bytes are borrowed for the chunk's life.
        Some(unsafe { ChunkMut::new(bytes.as_mut_ptr()) })
    }
}
