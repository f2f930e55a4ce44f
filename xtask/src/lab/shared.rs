//! The memory that all CPUs share in a guard's maps: what it holds, and which of its cache lines
//! changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    num::NonZeroUsize,
    os::fd::{AsFd as _, AsRawFd as _},
};

use anyhow::{Context as _, Result, bail};
use aya::{
    maps::{MapFd, MapInfo, MapType},
    programs::ProgramInfo,
};
use aya_obj::generated::{bpf_attr, bpf_cmd};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// Bytes of a cache line.
const LINE: usize = 64;
/// What the producer of a ring buffer has got to lies in its second page (`struct bpf_ringbuf`,
/// Linux 6.18).
const PRODUCER_PAGE: i64 = 1;

/// A guard's maps that are not per CPU.
#[derive(Debug)]
pub struct SharedMaps(Vec<Map>);

#[derive(Debug)]
struct Map {
    name: String,
    kind: Kind,
    fd: MapFd,
    key_bytes: usize,
    value_bytes: usize,
    entries: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// All values lie one behind the other.
    Array,
    /// Each entry has memory of its own.
    Entries,
    Ring,
}

/// What maps held at a moment: by map, by key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>);

impl SharedMaps {
    pub(super) fn of(programs: &[ProgramInfo]) -> Result<Self> {
        let mut ids = BTreeSet::new();
        for program in programs {
            ids.extend(program.map_ids()?.unwrap_or_default());
        }
        let maps = ids.into_iter().map(|id| Map::open(&MapInfo::from_id(id)?));
        let maps: Result<Vec<_>> = maps.filter_map(Result::transpose).collect();
        Ok(Self(maps?))
    }

    /// Only those of this name.
    #[must_use]
    pub fn only(mut self, name: &str) -> Self {
        self.0.retain(|map| map.name == name);
        self
    }

    /// Their names.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.0.iter().map(|map| map.name.as_str()).collect()
    }

    /// What they hold now.
    pub fn read(&self) -> Result<Snapshot> {
        let read = |map: &Map| Ok((map.name.clone(), map.read()?));
        Ok(Snapshot(self.0.iter().map(read).collect::<Result<_>>()?))
    }
}

impl Snapshot {
    /// How many cache lines of each map hold something else in another one; an entry that only one
    /// of them has counts with all its lines.
    #[must_use]
    pub fn changed(&self, other: &Self) -> BTreeMap<String, usize> {
        let empty = BTreeMap::new();
        let names: BTreeSet<&String> = self.0.keys().chain(other.0.keys()).collect();
        let lines = |name: &String| {
            let one = self.0.get(name).unwrap_or(&empty);
            let two = other.0.get(name).unwrap_or(&empty);
            let keys: BTreeSet<&Vec<u8>> = one.keys().chain(two.keys()).collect();
            let changed = |key| match (one.get(key), two.get(key)) {
                (Some(one), Some(two)) if one == two => 0,
                (Some(one), Some(two)) => {
                    let pairs = one.chunks(LINE).zip(two.chunks(LINE));
                    pairs.filter(|(one, two)| one != two).count()
                }
                (Some(only), None) | (None, Some(only)) => only.len().div_ceil(LINE),
                (None, None) => 0,
            };
            keys.into_iter().map(changed).sum()
        };
        names
            .into_iter()
            .map(|name| (name.clone(), lines(name)))
            .filter(|(_, lines)| *lines > 0)
            .collect()
    }
}

impl Map {
    /// None where each CPU has its own, or the program only reads.
    fn open(info: &MapInfo) -> Result<Option<Self>> {
        let name = info.name_as_str().unwrap_or_default().to_owned();
        let kind = match info.map_type()? {
            MapType::Array => Kind::Array,
            MapType::Hash | MapType::LruHash | MapType::LpmTrie => Kind::Entries,
            MapType::RingBuf => Kind::Ring,
            MapType::PerCpuArray
            | MapType::PerCpuHash
            | MapType::PerfEventArray
            | MapType::ProgramArray => return Ok(None),
            other => bail!("the map {name} is a {other:?}: is it per CPU?"),
        };
        Ok(Some(Self {
            name,
            kind,
            fd: info.fd()?,
            key_bytes: info.key_size() as usize,
            value_bytes: info.value_size() as usize,
            entries: info.max_entries() as usize,
        }))
    }

    fn read(&self) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let read = match self.kind {
            Kind::Array => self
                .array()
                .map(|bytes| BTreeMap::from([(Vec::new(), bytes)])),
            Kind::Entries => self.all_entries(),
            Kind::Ring => self
                .produced()
                .map(|bytes| BTreeMap::from([(Vec::new(), bytes)])),
        };
        read.with_context(|| format!("reading the map {}", self.name))
    }

    /// All values of an array, each at a multiple of 8.
    fn array(&self) -> Result<Vec<u8>> {
        let step = self.value_bytes.next_multiple_of(8);
        let mut keys = vec![0_u8; self.entries * self.key_bytes];
        let mut values = vec![0_u8; self.entries * step];
        let mut next = [0_u8; 4];
        // SAFETY: plain integers.
        let mut attributes: bpf_attr = unsafe { mem::zeroed() };
        attributes.batch.out_batch = next.as_mut_ptr() as u64;
        attributes.batch.keys = keys.as_mut_ptr() as u64;
        attributes.batch.values = values.as_mut_ptr() as u64;
        attributes.batch.count = u32::try_from(self.entries)?;
        attributes.batch.map_fd = self.fd();
        // It ends with ENOENT when there are no more.
        // SAFETY: keys and values have room for all entries, whose sizes the kernel told.
        match unsafe { call(bpf_cmd::BPF_MAP_LOOKUP_BATCH, &mut attributes) } {
            Ok(()) | Err(nix::Error::ENOENT) => Ok(values),
            Err(error) => Err(error.into()),
        }
    }

    /// All entries, as they are now.
    fn all_entries(&self) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let mut all = BTreeMap::new();
        let mut last: Option<Vec<u8>> = None;
        loop {
            let mut key = vec![0_u8; self.key_bytes];
            let from = last.as_ref().map_or(0, |key| key.as_ptr() as u64);
            match self.element(bpf_cmd::BPF_MAP_GET_NEXT_KEY, from, &mut key) {
                Ok(()) => {}
                Err(nix::Error::ENOENT) => return Ok(all),
                Err(error) => return Err(error.into()),
            }
            let mut value = vec![0_u8; self.value_bytes.next_multiple_of(8)];
            match self.element(
                bpf_cmd::BPF_MAP_LOOKUP_ELEM,
                key.as_ptr() as u64,
                &mut value,
            ) {
                Ok(()) => {
                    all.insert(key.clone(), value);
                }
                // It went away meanwhile.
                Err(nix::Error::ENOENT) => {}
                Err(error) => return Err(error.into()),
            }
            last = Some(key);
        }
    }

    /// A command about a key that writes there.
    fn element(&self, command: bpf_cmd, key: u64, to: &mut [u8]) -> nix::Result<()> {
        // SAFETY: plain integers.
        let mut attributes: bpf_attr = unsafe { mem::zeroed() };
        attributes.__bindgen_anon_2.map_fd = self.fd();
        attributes.__bindgen_anon_2.key = key;
        attributes.__bindgen_anon_2.__bindgen_anon_1.value = to.as_mut_ptr() as u64;
        // SAFETY: key and value have the sizes that the kernel told.
        unsafe { call(command, &mut attributes) }
    }

    /// How far a ring buffer was written.
    fn produced(&self) -> Result<Vec<u8>> {
        // SAFETY: sysconf has no preconditions.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let length = NonZeroUsize::new(usize::try_from(page)?).context("no page size")?;
        let (read, shared) = (ProtFlags::PROT_READ, MapFlags::MAP_SHARED);
        let offset = PRODUCER_PAGE * page;
        // SAFETY: a new mapping, that is only read, and taken away again below.
        unsafe {
            let start = mmap(None, length, read, shared, self.fd.as_fd(), offset)?;
            let position = start.cast::<u64>().read_volatile();
            munmap(start, length.get())?;
            Ok(position.to_ne_bytes().to_vec())
        }
    }

    fn fd(&self) -> u32 {
        self.fd.as_fd().as_raw_fd().cast_unsigned()
    }
}

/// # Safety
/// The attributes are of this command, and what they point to has the sizes they say.
unsafe fn call(command: bpf_cmd, attributes: &mut bpf_attr) -> nix::Result<()> {
    // SAFETY: by the caller's word.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<bpf_attr>()) };
    nix::Error::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_changed_are_counted_by_map() {
        let entry = |key: u8, value: &[u8]| (vec![key], value.to_vec());
        let snapshot = |array: &[u8], entries: &[(Vec<u8>, Vec<u8>)]| {
            Snapshot(BTreeMap::from([
                ("array".to_owned(), BTreeMap::from([entry(0, array)])),
                ("hash".to_owned(), entries.iter().cloned().collect()),
            ]))
        };
        let before = snapshot(&[0; 200], &[entry(1, &[1; 65])]);
        assert_eq!(before.changed(&before), BTreeMap::new());
        let mut array = [0; 200];
        for changed in [3, 5, 64, 199] {
            array[changed] = 1;
        }
        let after = snapshot(&array, &[entry(1, &[1; 65]), entry(2, &[9; 65])]);
        let expected = [("array".to_owned(), 3), ("hash".to_owned(), 2)];
        assert_eq!(before.changed(&after), BTreeMap::from(expected.clone()));
        assert_eq!(after.changed(&before), BTreeMap::from(expected));
    }
}
