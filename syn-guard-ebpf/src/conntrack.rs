//! What conntrack remembers of a flow whose connection was just made from a cookie.
//!
//! It saw neither SYN nor SYN-ACK. Where it still has the entry of an earlier connection
//! of the same addresses and ports (for 120 s after its end), the ACK is out of that
//! one's window, and a firewall drops it as invalid. Without the entry it begins a new
//! one with the ACK, and the firewall's rules for new connections decide; where
//! `nf_conntrack_tcp_loose` is 0 it does not, so the entry is made here, in the state
//! that the ACK of a new connection finds.
//!
//! A program of its own, without maps: the functions are in a module of most kernels,
//! so the controller loads it once that is there. [`crate::ack`] goes on with it.

use core::ffi::c_void;
use core::mem::{size_of, transmute};

use aya_ebpf::EbpfContext as _;
use aya_ebpf::programs::TcContext;
use syn_guard_common::abi::settings_flags;
use syn_guard_common::wire::{Frame as _, Headers};

use crate::frame::Packet;
use crate::maps::SETTINGS;
use crate::zero::zero;

/// The numbers that stand for the functions, as in [`crate::kfunc`].
const LOOKUP: usize = 0x5ead_0010;
const CHANGE_TIMEOUT: usize = 0x5ead_0011;
const RELEASE: usize = 0x5ead_0012;
const ALLOCATE: usize = 0x5ead_0013;
const SET_TIMEOUT: usize = 0x5ead_0014;
const INSERT: usize = 0x5ead_0015;

/// The packet's own network namespace (`BPF_F_CURRENT_NETNS`).
const CURRENT_NETNS: i32 = -1;
const TCP: u8 = 6;
/// How long an entry that nobody confirms lasts, ms. The ACK finds it at once, and
/// conntrack then sets its own time.
const NEW_MS: u32 = 60_000;

/// Words of the control buffer that [`crate::ack`] hands over.
const PLACES: usize = 0;
const WISHES: usize = 1;

/// `struct bpf_ct_opts` as it was before Linux 6.10, whose size later ones take too.
#[repr(C)]
struct Options {
    network_namespace: i32,
    error: i32,
    protocol: u8,
    direction: u8,
    reserved: [u8; 2],
}

const OPTIONS: u32 = size_of::<Options>() as u32;

/// Says where the headers of a packet are, for the program that comes after.
#[inline(always)]
pub fn leave(context: &TcContext, headers: &Headers) {
    let wishes = SETTINGS.get(0).map_or(0, |settings| settings.flags);
    let places = (headers.ip as u32 & 0xff)
        | ((headers.tcp as u32 & 0x3ff) << 8)
        | (u32::from(headers.ipv6) << 31);
    // SAFETY: the control buffer of the program's own context.
    unsafe {
        (*context.skb.skb).cb[PLACES] = places;
        (*context.skb.skb).cb[WISHES] = wishes;
    }
}

/// Ends what conntrack remembers of the packet's flow.
#[inline(always)]
pub fn handle(context: &TcContext) -> Option<()> {
    // SAFETY: the control buffer of the program's own context.
    let (places, wishes) =
        unsafe { ((*context.skb.skb).cb[PLACES], (*context.skb.skb).cb[WISHES]) };
    let packet = Packet::of_tc(context);
    let ip = (places & 0xff) as usize;
    let ports = packet
        .chunk::<4>(((places >> 8) & 0x3ff) as usize)?
        .word::<0>();
    // Each a zero of its own: of one that is repeated the compiler makes a `memset`.
    let none = || zero() as u32;
    let mut tuple = [
        none(),
        none(),
        none(),
        none(),
        none(),
        none(),
        none(),
        none(),
        none(),
    ];
    let size = if places >> 31 == 0 {
        let addresses = packet.chunk::<20>(ip)?;
        tuple[0] = addresses.word::<12>();
        tuple[1] = addresses.word::<16>();
        tuple[2] = ports;
        12
    } else {
        let addresses = packet.chunk::<40>(ip)?;
        tuple[0] = addresses.word::<8>();
        tuple[1] = addresses.word::<12>();
        tuple[2] = addresses.word::<16>();
        tuple[3] = addresses.word::<20>();
        tuple[4] = addresses.word::<24>();
        tuple[5] = addresses.word::<28>();
        tuple[6] = addresses.word::<32>();
        tuple[7] = addresses.word::<36>();
        tuple[8] = ports;
        36
    };
    let skb = context.as_ptr();
    // SAFETY: the functions get the program's own context, a tuple of the length that is
    // given, and options of theirs; every reference is given back, on which the verifier
    // insists.
    unsafe {
        let had = lookup(skb, &mut tuple, size);
        if !had.is_null() {
            change_timeout(had);
            release(had);
        }
        if wishes & settings_flags::NO_PICK_UP != 0 {
            // Looking takes the expired one out of the table.
            let left = lookup(skb, &mut tuple, size);
            if left.is_null() {
                insert(skb, &mut tuple, size);
            } else {
                release(left);
            }
        }
    }
    Some(())
}

#[inline(always)]
fn options() -> Options {
    Options {
        network_namespace: CURRENT_NETNS,
        error: zero() as i32,
        protocol: TCP,
        direction: zero() as u8,
        reserved: [zero() as u8, zero() as u8],
    }
}

type Find = unsafe extern "C" fn(*mut c_void, *mut [u32; 9], u32, *mut Options, u32) -> *mut c_void;

/// `bpf_skb_ct_lookup` (Linux 5.19).
#[inline(always)]
unsafe fn lookup(skb: *mut c_void, tuple: &mut [u32; 9], size: u32) -> *mut c_void {
    let mut options = options();
    // SAFETY: by the caller's word; a call that the loader replaces, see `kfunc`.
    unsafe {
        let find: Find = transmute(LOOKUP);
        find(skb, tuple, size, &mut options, OPTIONS)
    }
}

/// `bpf_ct_change_timeout` (Linux 6.0) to nothing: the entry is over.
#[inline(always)]
unsafe fn change_timeout(entry: *mut c_void) {
    // SAFETY: as above.
    unsafe {
        let change: unsafe extern "C" fn(*mut c_void, u32) -> i32 = transmute(CHANGE_TIMEOUT);
        change(entry, 0);
    }
}

/// `bpf_ct_release` (Linux 5.19).
#[inline(always)]
unsafe fn release(entry: *mut c_void) {
    // SAFETY: as above.
    unsafe {
        let give_back: unsafe extern "C" fn(*mut c_void) = transmute(RELEASE);
        give_back(entry);
    }
}

/// `bpf_skb_ct_alloc`, `bpf_ct_set_timeout` and `bpf_ct_insert_entry` (Linux 6.0).
#[inline(always)]
unsafe fn insert(skb: *mut c_void, tuple: &mut [u32; 9], size: u32) {
    let mut options = options();
    // SAFETY: as above.
    unsafe {
        let allocate: Find = transmute(ALLOCATE);
        let set: unsafe extern "C" fn(*mut c_void, u32) = transmute(SET_TIMEOUT);
        let add: unsafe extern "C" fn(*mut c_void) -> *mut c_void = transmute(INSERT);
        let new = allocate(skb, tuple, size, &mut options, OPTIONS);
        if !new.is_null() {
            set(new, NEW_MS);
            let entry = add(new);
            if !entry.is_null() {
                release(entry);
            }
        }
    }
}
