//! A fixed piece of work, of what the guard's programs are made of: arithmetic, and words from all
//! over a map as large as its filters. What it takes tells how fast the machine is just now.

use aya_ebpf::{
    macros::map,
    maps::{Array, PerCpuArray},
};

/// Words of the map: 256 KiB.
const WORDS: usize = 1 << 15;
/// Words that are looked at, one after the other.
const LOOKS: usize = 4;

/// One value: all zeroes.
#[map]
static FIELD: Array<[u64; WORDS]> = Array::with_max_entries(1, 0);

/// One value: where the last run ended.
#[map]
static PLACE: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Does the work.
#[inline(always)]
pub fn run() -> Option<()> {
    let place = PLACE.get_ptr_mut(0)?;
    let field = FIELD.get_ptr(0)?.cast::<u64>();
    // SAFETY: this CPU's own value, and words of a map value.
    unsafe {
        let mut random = (*place).wrapping_add(0x9e37_79b9_7f4a_7c15);
        for _ in 0..LOOKS {
            random = mix(mix(random));
            random ^= field.add(random as usize & (WORDS - 1)).read_volatile();
        }
        *place = random;
    }
    Some(())
}

/// The mixing of SplitMix64.
#[inline(always)]
const fn mix(word: u64) -> u64 {
    let z = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
