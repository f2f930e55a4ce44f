//! Frames of the kernel behind the traits of `syn_guard_common::wire`.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::{bpf_xdp_adjust_tail, bpf_xdp_get_buff_len};
use aya_ebpf::programs::{TcContext, XdpContext};
use syn_guard_common::wire::{Chunk, ChunkMut, Frame, FrameMut};

use crate::clock;

/// The directly readable bytes of a frame.
pub struct Packet<'a> {
    start: usize,
    end: usize,
    context: Context<'a>,
    nothing: usize,
}

enum Context<'a> {
    Xdp(&'a XdpContext),
    Tc(&'a TcContext),
}

impl<'a> Packet<'a> {
    /// The frame of an XDP program.
    #[inline(always)]
    pub fn of_xdp(context: &'a XdpContext) -> Self {
        Self {
            start: context.data(),
            end: context.data_end(),
            context: Context::Xdp(context),
            nothing: nothing(),
        }
    }

    /// The frame of a TC program, as far as it is linear.
    #[inline(always)]
    pub fn of_tc(context: &'a TcContext) -> Self {
        Self {
            start: context.data(),
            end: context.data_end(),
            context: Context::Tc(context),
            nothing: nothing(),
        }
    }
}

/// 0, which the verifier does not know: the jiffies' highest bit is never set.
#[inline(always)]
fn nothing() -> usize {
    0_u64.wrapping_sub(clock::jiffies() >> 63) as usize
}

impl Frame for Packet<'_> {
    #[inline(always)]
    fn chunk<const N: usize>(&self, offset: usize) -> Option<Chunk<'_, N>> {
        let start = self.start + offset;
        if end_of(start, N) > self.end {
            return None;
        }
        // SAFETY: the verifier and the line above have checked the N bytes.
        Some(unsafe { Chunk::new(start as *const u8) })
    }

    #[inline(always)]
    fn holds(&self, length: usize) -> bool {
        // No pointer to the end of `length`: Linux 6.1's verifier knows no
        // bounds of a number that was byte-swapped, and adds no such to a
        // pointer.
        if length <= self.length() {
            return true;
        }
        match self.context {
            // SAFETY: a helper call with the program's own context.
            Context::Xdp(context) => unsafe {
                bpf_xdp_get_buff_len(context.as_ptr().cast()) as usize >= length
            },
            Context::Tc(context) => context.len() as usize >= length,
        }
    }

    #[inline(always)]
    fn length(&self) -> usize {
        self.end - self.start
    }

    #[inline(always)]
    fn forget(&self, value: usize, mask: usize) -> usize {
        let mut value = value;
        // SAFETY: changes nothing but one register. In assembly, because the
        // compiler would do once before a loop what must be done in every
        // round of it.
        unsafe {
            core::arch::asm!("{0} ^= {1}", inout(reg) value, in(reg) self.nothing);
        }
        value & mask
    }

    #[inline(always)]
    fn forget_word(&self, word: u32) -> u32 {
        let mut word = word;
        // SAFETY: as above.
        unsafe {
            core::arch::asm!("{0} ^= {1}", inout(wreg) word, in(wreg) self.nothing as u32);
        }
        word
    }
}

impl FrameMut for Packet<'_> {
    #[inline(always)]
    fn chunk_mut<const N: usize>(&mut self, offset: usize) -> Option<ChunkMut<'_, N>> {
        let start = self.start + offset;
        if end_of(start, N) > self.end {
            return None;
        }
        // SAFETY: as in `chunk`; a program owns the frame while it runs.
        Some(unsafe { ChunkMut::new(start as *mut u8) })
    }
}

/// The end of `length` bytes. Left to itself the compiler turns the check for
/// one byte into `start >= end`, of which the verifier learns nothing.
#[inline(always)]
fn end_of(start: usize, length: usize) -> usize {
    let mut end = start + length;
    if length == 1 {
        // SAFETY: adds nothing; the compiler only loses track of the value.
        unsafe { core::arch::asm!("{0} += 0", inout(reg) end) }
    }
    end
}

/// Bytes of an XDP frame, those beyond its linear part too.
#[inline(always)]
pub fn frame_length(context: &XdpContext) -> usize {
    // SAFETY: a helper call with the program's own context.
    unsafe { bpf_xdp_get_buff_len(context.as_ptr().cast()) as usize }
}

/// Changes the bytes of an XDP frame, those beyond its linear part too.
#[inline(always)]
pub fn change_length(context: &XdpContext, from: usize, to: usize) -> Option<()> {
    let delta = to as i32 - from as i32;
    // SAFETY: a helper call with the program's own context; every pointer into
    // the frame is made anew after it.
    let result = unsafe { bpf_xdp_adjust_tail(context.as_ptr().cast(), delta) };
    (result == 0).then_some(())
}
