//! Loading the program that has conntrack forget earlier connections
//! (`syn_guard_conntrack`). What it calls is in the module nf_conntrack on most kernels,
//! whose functions aya 0.14 cannot link, and which may be loaded at any time: so it is
//! loaded by itself, and put into the map that the TC program goes on with.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

use super::btf::{KernelBtf, ModuleBtf};
use super::kfunc::{self, Function};
use super::object::{CONNTRACK, OBJECT};
use super::{DataPath, DataPathError, bpf};

/// The module.
const MODULE: &str = "nf_conntrack";
/// What the program calls, and the numbers that stand for it there.
const FUNCTIONS: [(&str, u32); 6] = [
    ("bpf_skb_ct_lookup", 0x5ead_0010),
    ("bpf_ct_change_timeout", 0x5ead_0011),
    ("bpf_ct_release", 0x5ead_0012),
    ("bpf_skb_ct_alloc", 0x5ead_0013),
    ("bpf_ct_set_timeout", 0x5ead_0014),
    ("bpf_ct_insert_entry", 0x5ead_0015),
];

impl DataPath {
    /// Has handshakes go on with the program, if the kernel has what it calls; whether
    /// it has.
    ///
    /// # Errors
    /// The kernel refuses the program, or its BTF cannot be read.
    pub fn load_conntrack(&mut self) -> Result<bool, DataPathError> {
        if self.conntrack.is_some() {
            return Ok(true);
        }
        if self.features.assign.is_none() {
            return Ok(false);
        }
        let refused = |error: std::io::Error| DataPathError::Program {
            program: CONNTRACK,
            reason: error.to_string(),
        };
        let Some((ids, module)) = functions()? else {
            return Ok(false);
        };
        let btf = match module {
            false => None,
            true => match bpf::module_btf(MODULE).map_err(refused)? {
                Some(btf) => Some(btf),
                None => return Ok(false),
            },
        };
        let mut instructions = instructions()?;
        let functions: Vec<Function> = FUNCTIONS
            .iter()
            .zip(ids)
            .map(|((_, placeholder), id)| Function {
                placeholder: *placeholder,
                id,
                btf: u16::from(btf.is_some()),
            })
            .collect();
        kfunc::link_all(&mut instructions, &functions)?;
        let btfs = [0, btf.as_ref().map_or(0, |btf| btf.as_raw_fd())];
        let program =
            bpf::load_classifier(c"syn_guard_conntrack", &instructions, &btfs).map_err(refused)?;
        bpf::set_descriptor(self.maps.conntrack_program().as_fd(), 0, &program).map_err(refused)?;
        self.conntrack = Some(program);
        Ok(true)
    }
}

/// The program, while it is loaded; the map holds it too.
pub(super) type Loaded = Option<OwnedFd>;

/// The BTF ids of the functions, and whether they are the module's.
fn functions() -> Result<Option<([u32; 6], bool)>, DataPathError> {
    let names = FUNCTIONS.map(|(name, _)| name);
    let kernel = KernelBtf::read().map_err(|_| DataPathError::NoBtf)?;
    if let Some(ids) = all(kernel.functions(names)?) {
        return Ok(Some((ids, false)));
    }
    let Ok(module) = ModuleBtf::read(&kernel, MODULE) else {
        return Ok(None);
    };
    Ok(all(module?.functions(names)?).map(|ids| (ids, true)))
}

fn all(ids: [Option<u32>; 6]) -> Option<[u32; 6]> {
    let mut found = [0; 6];
    for (to, id) in found.iter_mut().zip(ids) {
        *to = id?;
    }
    Some(found)
}

/// The program's instructions, as the object has them.
fn instructions() -> Result<Vec<u8>, DataPathError> {
    let broken = |error: object::Error| DataPathError::Object(error.to_string());
    let missing = || DataPathError::Object(format!("no program {CONNTRACK}"));
    let file = object::File::parse(OBJECT).map_err(broken)?;
    let symbol = file
        .symbols()
        .find(|symbol| symbol.name() == Ok(CONNTRACK))
        .ok_or_else(missing)?;
    let section = symbol
        .section_index()
        .and_then(|index| file.section_by_index(index).ok())
        .ok_or_else(missing)?;
    let from = symbol.address() - section.address();
    let (from, length) = (from as usize, symbol.size() as usize);
    section
        .data()
        .map_err(broken)?
        .get(from..from + length)
        .map(<[u8]>::to_vec)
        .ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_needs_no_map_and_each_of_its_calls_is_known() {
        let mut instructions = instructions().unwrap();
        // LD_IMM64: what a reference to a map is made with.
        let maps = instructions
            .chunks_exact(8)
            .filter(|it| it[0] == 0x18 && it[1] >> 4 != 0);
        assert_eq!(maps.count(), 0);
        let file = object::File::parse(OBJECT).unwrap();
        let symbol = file
            .symbols()
            .find(|it| it.name() == Ok(CONNTRACK))
            .unwrap();
        let section = file
            .section_by_index(symbol.section_index().unwrap())
            .unwrap();
        let range = symbol.address()..symbol.address() + symbol.size();
        assert_eq!(
            section
                .relocations()
                .filter(|(at, _)| range.contains(at))
                .count(),
            0
        );
        let functions: Vec<_> = FUNCTIONS
            .iter()
            .map(|(_, placeholder)| Function {
                placeholder: *placeholder,
                id: 7,
                btf: 1,
            })
            .collect();
        kfunc::link_all(&mut instructions, &functions).unwrap();
        let calls = instructions.chunks_exact(8).filter(|it| it[0] == 0x85);
        // All but the jiffies.
        let linked = calls.filter(|it| it[1] >> 4 == 2 && it[2] == 1 && it[4] == 7);
        assert!(linked.count() >= FUNCTIONS.len());
    }
}
