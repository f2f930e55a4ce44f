//! Linking the kernel functions that the TC programs call. aya 0.14 knows
//! no kernel functions; to be dropped with the first aya that does.

use object::{Object as _, ObjectSection as _, SectionKind};

use super::DataPathError;

/// The number that `syn-guard-ebpf` calls instead (its `kfunc` module).
const PLACEHOLDER: u32 = 0x5ead_0001;
/// A call instruction (`BPF_JMP | BPF_CALL`).
const CALL: u8 = 0x85;
/// `BPF_PSEUDO_KFUNC_CALL` as the source register, in the high four bits.
const KFUNC_REGISTER: u8 = 2 << 4;
/// Bytes of an instruction: operation, registers, offset (2), immediate (4).
const INSTRUCTION: usize = 8;

/// Puts the BTF id `function` of `bpf_sk_assign_tcp_reqsk` in the place of
/// the placeholder call in `object`.
///
/// # Errors
/// When the object is no ELF file or has not exactly one such call.
pub(super) fn link(object: &mut [u8], function: u32) -> Result<(), DataPathError> {
    let places = places(object)?;
    let [place] = places.as_slice() else {
        return Err(DataPathError::Object(format!(
            "{} calls of the kernel function instead of 1",
            places.len()
        )));
    };
    let Some(instruction) = object
        .get_mut(*place..)
        .and_then(|bytes| bytes.first_chunk_mut::<INSTRUCTION>())
    else {
        return Err(DataPathError::Object(
            "an instruction beyond its end".to_owned(),
        ));
    };
    instruction[1] = (instruction[1] & 0x0f) | KFUNC_REGISTER;
    instruction[4..].copy_from_slice(&function.to_le_bytes());
    Ok(())
}

/// A function of the kernel or of a module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Function {
    /// The number that is called instead.
    pub(super) placeholder: u32,
    /// Its BTF id.
    pub(super) id: u32,
    /// Which of the BTFs that go with the program it is of; 0: the kernel's own.
    pub(super) btf: u16,
}

/// Puts functions in the place of all placeholder calls of one program's instructions.
///
/// # Errors
/// A function is never called, or a call is none of these and no helper's.
pub(super) fn link_all(
    instructions: &mut [u8],
    functions: &[Function],
) -> Result<(), DataPathError> {
    let mut called = vec![false; functions.len()];
    for instruction in instructions.as_chunks_mut::<INSTRUCTION>().0 {
        let [operation, registers, _, _, immediate @ ..] = *instruction;
        let number = u32::from_le_bytes(immediate);
        if operation != CALL || registers >> 4 != 0 || number >> 16 != PLACEHOLDER >> 16 {
            continue;
        }
        let known = functions
            .iter()
            .zip(&mut called)
            .find(|(function, _)| function.placeholder == number);
        let Some((function, called)) = known else {
            return Err(DataPathError::Object(format!(
                "an unknown call {number:#x}"
            )));
        };
        *called = true;
        instruction[1] = (instruction[1] & 0x0f) | KFUNC_REGISTER;
        instruction[2..4].copy_from_slice(&function.btf.to_le_bytes());
        instruction[4..].copy_from_slice(&function.id.to_le_bytes());
    }
    match functions.iter().zip(called).find(|(_, called)| !called) {
        Some((function, _)) => Err(DataPathError::Object(format!(
            "no call {:#x}",
            function.placeholder
        ))),
        None => Ok(()),
    }
}

/// The file offsets of the placeholder calls.
fn places(object: &[u8]) -> Result<Vec<usize>, DataPathError> {
    let broken = |error: object::Error| DataPathError::Object(error.to_string());
    let file = object::File::parse(object).map_err(broken)?;
    let mut places = Vec::new();
    for section in file
        .sections()
        .filter(|section| section.kind() == SectionKind::Text)
    {
        let Some((start, _)) = section.file_range() else {
            continue;
        };
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        for (index, instruction) in section
            .data()
            .map_err(broken)?
            .as_chunks::<INSTRUCTION>()
            .0
            .iter()
            .enumerate()
        {
            let [operation, registers, _, _, immediate @ ..] = *instruction;
            if operation == CALL
                && registers >> 4 == 0
                && u32::from_le_bytes(immediate) == PLACEHOLDER
            {
                places.push(start + index * INSTRUCTION);
            }
        }
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::super::object::OBJECT;
    use super::*;

    #[test]
    fn the_object_has_one_call_and_it_is_linked_once() {
        let mut object = OBJECT.to_vec();
        let place = places(&object).unwrap();
        assert_eq!(place.len(), 1);
        link(&mut object, 0x0102_0304).unwrap();
        let call = &object[place[0]..place[0] + INSTRUCTION];
        assert_eq!(call[1] >> 4, 2);
        assert_eq!(call[4..], [4, 3, 2, 1]);
        let error = link(&mut object, 1).unwrap_err().to_string();
        assert!(error.contains("0 calls"), "{error}");
    }

    #[test]
    fn no_elf_file_is_an_error() {
        assert!(link(&mut [0; 64], 1).is_err());
    }
}
