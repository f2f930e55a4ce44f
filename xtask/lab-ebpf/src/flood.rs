//! The spoofed flood, run through `BPF_PROG_TEST_RUN` with live frames: each run writes one whole
//! frame and redirects it to an interface, or drops it while it is not due.

use aya_ebpf::{
    helpers::generated::{
        bpf_ktime_get_ns, bpf_redirect, bpf_xdp_adjust_head, bpf_xdp_adjust_tail,
    },
    macros::map,
    maps::{Array, PerCpuArray},
    programs::XdpContext,
};

use crate::frame::{self, half};

/// What to send. `xtask/src/lab/flood.rs` has the same type.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Plan {
    /// The frame with source address, source port, sequence number, acknowledgement number and
    /// checksums left 0.
    pub frame: [u64; 12],
    /// Nanoseconds between frames, times 1024; 0: as fast as it goes.
    pub interval: u64,
    /// Nanoseconds after which nothing is sent any more.
    pub duration: u64,
    /// How many source addresses, counted from the base; 0: all of an IPv6 interface part.
    pub sources: u64,
    /// The first source address; IPv4 has it in the lower 32 bits of `base_low`.
    pub base_high: u64,
    /// See `base_high`.
    pub base_low: u64,
    /// Random bits of the upper half of IPv6 source addresses.
    pub spread_high: u64,
    /// Interface that the frames leave through.
    pub interface: u32,
    /// Sum of the IPv4 header's halfwords.
    pub ip_sum: u32,
    /// Sum of the TCP header's and pseudo header's halfwords.
    pub tcp_sum: u32,
    /// Not 0: send nothing more.
    pub stop: u32,
    /// How many destination ports; 0: the one that the frame has.
    pub ports: u32,
    /// The first of them.
    pub first_port: u32,
}

/// Where this CPU's flood has got to.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Progress {
    /// Frames sent.
    pub sent: u64,
    /// State of the pseudo-random numbers.
    pub random: u64,
    /// Monotonic nanoseconds at the first run; 0 before it.
    pub start: u64,
    /// When the next frame is due: nanoseconds since the start, times 1024.
    pub due: u64,
    /// Before then no frame is sent, due or not, so that catching up is no burst; as `due`.
    pub earliest: u64,
}

/// The plan, at index 0.
#[map]
static PLAN: Array<Plan> = Array::with_max_entries(1, 0);

/// The progress, at index 0.
#[map]
static PROGRESS: PerCpuArray<Progress> = PerCpuArray::with_max_entries(1, 0);

/// A frame that is later than this (in ns, times 1024) is not made up for.
const MOST_LATE: u64 = 100_000_000 << 10;

/// How many times the rate a flood may have while it catches up.
const CATCH_UP: u64 = 8;

/// Bytes before a frame as it comes: the kernel's frame pages hold frames 48 bytes into a line of 64
/// (`struct xdp_page_head`, Linux 6.18). `xtask/src/lab/flood/fast.rs` has the same number.
const BEFORE: i32 = 16;

/// Writes and redirects one frame of `LENGTH` bytes.
#[inline(always)]
pub fn send<const IPV6: bool, const ACK: bool, const LENGTH: usize>(
    ctx: &XdpContext,
) -> Option<u32> {
    let plan = PLAN.get(0)?;
    // SAFETY: the value is this CPU's own.
    let progress = unsafe { &mut *PROGRESS.get_ptr_mut(0)? };
    if plan.stop != 0 || !due(plan, progress) {
        return None;
    }
    // The frame comes with bytes before it. Cutting them off makes the kernel reset the length of a
    // frame page that the receiver has shortened, and puts the frame at the start of a cache line,
    // where network cards put it.
    // SAFETY: the context is the program's own.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, BEFORE) } != 0 {
        return None;
    }
    write::<IPV6, ACK, LENGTH>(ctx, plan, progress)?;
    progress.sent += 1;
    // SAFETY: the helper has no preconditions.
    Some(unsafe { bpf_redirect(plan.interface, 0) } as u32)
}

/// Writes one frame over what is there; a frame of other bytes gets its length first.
#[inline(always)]
pub fn replace<const IPV6: bool, const ACK: bool, const LENGTH: usize>(
    ctx: &XdpContext,
) -> Option<()> {
    let plan = PLAN.get(0)?;
    // SAFETY: the value is this CPU's own.
    let progress = unsafe { &mut *PROGRESS.get_ptr_mut(0)? };
    let length = ctx.data_end() - ctx.data();
    if length != LENGTH {
        let more = LENGTH as i32 - length as i32;
        // SAFETY: the context is the program's own.
        if unsafe { bpf_xdp_adjust_tail(ctx.ctx, more) } != 0 {
            return None;
        }
    }
    write::<IPV6, ACK, LENGTH>(ctx, plan, progress)
}

/// Writes one frame of `LENGTH` bytes.
#[inline(always)]
fn write<const IPV6: bool, const ACK: bool, const LENGTH: usize>(
    ctx: &XdpContext,
    plan: &Plan,
    progress: &mut Progress,
) -> Option<()> {
    let start = frame::start::<LENGTH>(ctx)?;
    // SAFETY: all offsets lie within the length just checked.
    unsafe {
        for i in 0..LENGTH / 8 {
            *start.add(8 * i).cast::<u64>() = plan.frame[i];
        }
        let rest = plan.frame[LENGTH / 8];
        for i in 0..LENGTH % 8 / 2 {
            *half(start, LENGTH / 8 * 8 + 2 * i) = (rest >> (16 * i)) as u16;
        }

        let (tcp, source_sum) = if IPV6 {
            (frame::IPV6_TCP, write_ipv6_source(start, plan, progress))
        } else {
            (frame::IPV4_TCP, write_ipv4_source(start, plan, progress))
        };
        let random = next(progress);
        let port = ((((random & 0xffff) * 64_512) >> 16) as u16 + 1024).to_be();
        let (seq_high, seq_low) = ((random >> 32) as u16, (random >> 48) as u16);
        *half(start, tcp) = port;
        *half(start, tcp + 4) = seq_high;
        *half(start, tcp + 6) = seq_low;
        let mut sum =
            plan.tcp_sum + source_sum + u32::from(port) + u32::from(seq_high) + u32::from(seq_low);
        if plan.ports != 0 {
            let index = (((random >> 16) & 0xffff) * u64::from(plan.ports)) >> 16;
            let port = (plan.first_port as u16).wrapping_add(index as u16).to_be();
            *half(start, tcp + 2) = port;
            sum += u32::from(port);
        }
        if ACK {
            let acknowledged = next(progress);
            sum += write_halves::<2>(start, tcp + 8, acknowledged);
        }
        *half(start, tcp + 16) = checksum(sum);
    }
    Some(())
}

/// Whether a frame is due now; counts it as sent then.
#[inline(always)]
fn due(plan: &Plan, progress: &mut Progress) -> bool {
    if plan.interval == 0 && progress.start != 0 {
        return true;
    }
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    if progress.start == 0 {
        progress.start = now;
        progress.random = now;
    }
    let elapsed = now - progress.start;
    if elapsed > plan.duration {
        return false;
    }
    let elapsed = elapsed << 10;
    if elapsed < progress.due || elapsed < progress.earliest {
        return false;
    }
    progress.earliest = elapsed + plan.interval / CATCH_UP;
    let earliest = elapsed.saturating_sub(MOST_LATE);
    if progress.due < earliest {
        progress.due = earliest;
    }
    progress.due += plan.interval;
    true
}

/// Writes source address and header checksum, returns the sum of the address's halfwords.
#[inline(always)]
unsafe fn write_ipv4_source(start: *mut u8, plan: &Plan, progress: &mut Progress) -> u32 {
    let index = ((next(progress) >> 32) * plan.sources) >> 32;
    let source = (plan.base_low as u32).wrapping_add(index as u32).to_be();
    // SAFETY: the caller checked the length.
    let sum = unsafe { write_halves::<2>(start, frame::IPV4_SOURCE, u64::from(source)) };
    // SAFETY: likewise.
    unsafe { *half(start, frame::IPV4_CHECKSUM) = checksum(plan.ip_sum + sum) };
    sum
}

/// Writes the source address, returns the sum of its halfwords.
#[inline(always)]
unsafe fn write_ipv6_source(start: *mut u8, plan: &Plan, progress: &mut Progress) -> u32 {
    let high = plan.base_high | (next(progress) & plan.spread_high);
    let random = next(progress);
    let low = match plan.sources {
        0 => random,
        sources => plan.base_low.wrapping_add(((random >> 32) * sources) >> 32),
    };
    // SAFETY: the caller checked the length.
    unsafe {
        write_halves::<4>(start, frame::IPV6_SOURCE, high.to_be())
            + write_halves::<4>(start, frame::IPV6_SOURCE + 8, low.to_be())
    }
}

#[inline(always)]
unsafe fn write_halves<const HALVES: usize>(start: *mut u8, offset: usize, value: u64) -> u32 {
    let mut sum = 0;
    for i in 0..HALVES {
        let part = (value >> (16 * i)) as u16;
        // SAFETY: the caller checked the length.
        unsafe { *half(start, offset + 2 * i) = part };
        sum += u32::from(part);
    }
    sum
}

/// SplitMix64.
#[inline(always)]
fn next(progress: &mut Progress) -> u64 {
    progress.random = progress.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = progress.random;
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[inline(always)]
fn checksum(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}
