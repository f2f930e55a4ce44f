//! Reading many entries of a map in one call: `BPF_MAP_LOOKUP_BATCH` (Linux 5.6,
//! per-CPU arrays 5.13), which aya 0.14 does not wrap.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd as _};

use aya::Pod;
use aya_obj::generated::bpf_cmd;

use super::bpf;

/// Entries of a hash map in one call. A bucket never has as many: the kernel
/// would refuse it (`ENOSPC`).
const HASH_BATCH: usize = 2048;
/// Bytes of an array's values in one call, about.
const ARRAY_BYTES: usize = 256 * 1024;

/// Where a walk has got to: a bucket of a hash map, or an array's index
/// (`generic_map_lookup_batch`, `__htab_map_lookup_and_delete_batch`, Linux 6.18).
type Position = u32;

/// Calls `each` with every entry of a hash map. One that comes or goes meanwhile
/// may be missing; none is told twice.
pub(super) fn each_entry<K: Pod, V: Pod>(
    map: impl AsFd,
    mut each: impl FnMut(&K, &V),
) -> io::Result<()> {
    let mut keys: Vec<K> = Vec::with_capacity(HASH_BATCH);
    let mut values: Vec<V> = Vec::with_capacity(HASH_BATCH);
    let mut position = None;
    loop {
        let request = Request {
            position,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            room: HASH_BATCH as u32,
        };
        // SAFETY: both have room for as many, and K and V are the map's types by
        // the word of who called, as with aya's own typed maps.
        let (count, next) = unsafe { lookup(&map, &request)? };
        // SAFETY: the kernel wrote so many, and any bytes are a value (`Pod`).
        unsafe {
            keys.set_len(count);
            values.set_len(count);
        }
        for (key, value) in keys.iter().zip(&values) {
            each(key, value);
        }
        match next {
            Some(next) => position = Some(next),
            None => return Ok(()),
        }
    }
}

/// Calls `each` with the index and the values of the first `entries` entries of
/// an array: `per_entry` values each, as many as there are possible CPUs where
/// each has its own.
pub(super) fn each_index<V: Pod>(
    map: impl AsFd,
    entries: u32,
    per_entry: usize,
    mut each: impl FnMut(u32, &[V]),
) -> io::Result<()> {
    // Per-CPU values are padded to 8 bytes; so are all of ours.
    debug_assert!(per_entry == 1 || size_of::<V>().is_multiple_of(8));
    let bytes = (size_of::<V>() * per_entry).max(1);
    let batch = (ARRAY_BYTES / bytes).clamp(1, entries.max(1) as usize);
    let mut keys: Vec<u32> = Vec::with_capacity(batch);
    let mut values: Vec<V> = Vec::with_capacity(batch * per_entry);
    let (mut position, mut done) = (None, 0);
    while done < entries {
        let request = Request {
            position,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            room: u32::try_from(batch).unwrap_or(u32::MAX).min(entries - done),
        };
        // SAFETY: both have room for as many, and V is the map's type by the word
        // of who called.
        let (count, next) = unsafe { lookup(&map, &request)? };
        // SAFETY: the kernel wrote so many, and any bytes are a value (`Pod`).
        unsafe {
            keys.set_len(count);
            values.set_len(count * per_entry);
        }
        for (key, values) in keys.iter().zip(values.chunks_exact(per_entry)) {
            each(*key, values);
        }
        done += u32::try_from(count).unwrap_or(u32::MAX);
        match next {
            Some(next) if count != 0 => position = Some(next),
            _ => break,
        }
    }
    Ok(())
}

/// A part of a walk.
struct Request {
    /// Where to go on; none: at the start.
    position: Option<Position>,
    /// Where keys go.
    keys: u64,
    /// Where values go.
    values: u64,
    /// How many fit there.
    room: u32,
}

/// Entries that were written, and where to go on; none: it is at the end.
///
/// # Safety
/// `keys` and `values` must have room for `room` keys and values of the map.
unsafe fn lookup(map: &impl AsFd, request: &Request) -> io::Result<(usize, Option<Position>)> {
    let mut next: Position = 0;
    let mut attributes = bpf::attributes();
    {
        // SAFETY: this command's part of the union, plain integers.
        let batch = unsafe { &mut attributes.batch };
        batch.in_batch = request
            .position
            .as_ref()
            .map_or(0, |position| std::ptr::from_ref(position) as u64);
        batch.out_batch = &raw mut next as u64;
        batch.keys = request.keys;
        batch.values = request.values;
        batch.count = request.room;
        batch.map_fd = map.as_fd().as_raw_fd().cast_unsigned();
    }
    // SAFETY: the kernel writes the count into the union; the pointers are valid for
    // this call.
    let result = unsafe { bpf::bpf(bpf_cmd::BPF_MAP_LOOKUP_BATCH, &mut attributes) };
    // SAFETY: as above.
    let count = unsafe { attributes.batch.count } as usize;
    match result {
        Ok(_) => Ok((count, Some(next))),
        // The end; what was before it is written.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok((count, None)),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aya::maps::{Array, HashMap, IterableMap as _, PerCpuArray, PerCpuValues};
    use std::collections::BTreeMap;

    /// Maps need root.
    fn may_make_maps() -> bool {
        let root = nix::unistd::geteuid().is_root();
        if !root {
            eprintln!("skipped: maps need root");
        }
        root
    }

    #[test]
    fn every_entry_is_told_once() {
        if !may_make_maps() {
            return;
        }
        for entries in [0, 1, HASH_BATCH as u32, 3 * HASH_BATCH as u32 + 1] {
            let mut map = HashMap::<_, u32, u64>::create(entries.max(1), 0).unwrap();
            let expected: BTreeMap<u32, u64> = (0..entries)
                .map(|key| (key * 7, u64::from(key) << 32))
                .collect();
            for (key, value) in &expected {
                map.insert(key, value, 0).unwrap();
            }
            let (mut found, mut told) = (BTreeMap::new(), 0);
            each_entry(map.map().fd(), |key: &u32, value: &u64| {
                found.insert(*key, *value);
                told += 1;
            })
            .unwrap();
            assert_eq!(told, entries);
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn the_first_entries_of_an_array_are_told_in_their_order() {
        if !may_make_maps() {
            return;
        }
        const ENTRIES: u32 = 2 * (ARRAY_BYTES / 64) as u32 + 5;
        let mut map = Array::<_, [u64; 8]>::create(ENTRIES, 0).unwrap();
        for index in 0..ENTRIES {
            map.set(index, [u64::from(index); 8], 0).unwrap();
        }
        for wanted in [0, 1, 100, ENTRIES - 1, ENTRIES] {
            let mut found = Vec::new();
            each_index(map.map().fd(), wanted, 1, |index, values: &[[u64; 8]]| {
                assert_eq!(values, [[u64::from(index); 8]]);
                found.push(index);
            })
            .unwrap();
            assert_eq!(found, (0..wanted).collect::<Vec<_>>(), "{wanted}");
        }
    }

    #[test]
    fn an_entry_has_the_values_of_all_cpus() {
        if !may_make_maps() {
            return;
        }
        const ENTRIES: u32 = 20_000;
        let cpus = aya::util::nr_cpus().unwrap();
        let mut map = PerCpuArray::<_, [u64; 2]>::create(ENTRIES, 0).unwrap();
        let values = |index: u32| -> Vec<[u64; 2]> {
            (0..cpus as u64)
                .map(|cpu| [u64::from(index), cpu])
                .collect()
        };
        for index in (0..ENTRIES).step_by(999) {
            let values = PerCpuValues::try_from(values(index)).unwrap();
            map.set(index, values, 0).unwrap();
        }
        let mut told = 0;
        each_index(
            map.map().fd(),
            ENTRIES,
            cpus,
            |index, found: &[[u64; 2]]| {
                assert_eq!(index, told);
                told += 1;
                if index % 999 == 0 {
                    assert_eq!(found, values(index));
                } else {
                    assert_eq!(found, vec![[0; 2]; cpus]);
                }
            },
        )
        .unwrap();
        assert_eq!(told, ENTRIES);
    }
}
