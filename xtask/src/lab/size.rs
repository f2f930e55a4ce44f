//! How large a loaded program is.

use std::{
    mem,
    os::fd::{AsFd as _, AsRawFd as _},
    time::SystemTime,
};

use anyhow::{Context as _, Result};
use aya::programs::{ProgramFd, ProgramInfo};
use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_prog_info};

/// What the kernel says of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Size {
    /// Its name.
    pub name: String,
    /// Instructions that the verifier looked at.
    pub verified: u32,
    /// Instructions of 8 bytes that it has.
    pub instructions: u32,
    /// Bytes of machine code.
    pub machine_code: usize,
    /// Bytes of its stack, where the machine code shows it: on `x86_64`.
    pub stack: Option<u32>,
    /// When its loading began: before the verifier (`bpf_prog_load`, Linux 6.18).
    pub loaded_at: SystemTime,
}

impl Size {
    pub(super) fn of(program: &ProgramInfo) -> Result<Self> {
        let code = machine_code(&program.fd()?)?;
        Ok(Self {
            name: program.name_as_str().unwrap_or_default().to_owned(),
            verified: program.verified_instruction_count().unwrap_or(0),
            instructions: program.size_translated().unwrap_or(0) / 8,
            machine_code: code.len(),
            stack: stack(&code),
            loaded_at: program.loaded_at().context("no time of loading")?,
        })
    }
}

/// The machine code; none where the kernel does not show it.
fn machine_code(program: &ProgramFd) -> Result<Vec<u8>> {
    // SAFETY: plain integers.
    let mut info: bpf_prog_info = unsafe { mem::zeroed() };
    ask(program, &mut info)?;
    let mut code = vec![0_u8; info.jited_prog_len as usize];
    // SAFETY: likewise.
    let mut info: bpf_prog_info = unsafe { mem::zeroed() };
    info.jited_prog_len = u32::try_from(code.len())?;
    info.jited_prog_insns = code.as_mut_ptr() as u64;
    ask(program, &mut info)?;
    // 0 where the kernel hides it.
    let shown = info.jited_prog_insns != 0;
    Ok(if shown { code } else { Vec::new() })
}

fn ask(program: &ProgramFd, info: &mut bpf_prog_info) -> Result<()> {
    // SAFETY: plain integers.
    let mut attributes: bpf_attr = unsafe { mem::zeroed() };
    attributes.info.bpf_fd = program.as_fd().as_raw_fd().cast_unsigned();
    attributes.info.info_len = u32::try_from(size_of::<bpf_prog_info>())?;
    attributes.info.info = std::ptr::from_mut(info) as u64;
    // SAFETY: the attributes are of this command, and what they point to has the lengths they say.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            bpf_cmd::BPF_OBJ_GET_INFO_BY_FD,
            &mut attributes,
            size_of::<bpf_attr>(),
        )
    };
    if result < 0 {
        return Err(std::io::Error::last_os_error()).context("asking for a program's machine code");
    }
    Ok(())
}

/// The bytes that the first function takes from the stack: `sub rsp, N` behind `mov rbp, rsp`
/// (`emit_prologue` in `arch/x86/net/bpf_jit_comp.c`, Linux 6.18).
fn stack(code: &[u8]) -> Option<u32> {
    const FRAME: [u8; 6] = [0x48, 0x89, 0xe5, 0x48, 0x81, 0xec];
    /// Where the function's own code begins at the latest.
    const PROLOGUE: usize = 64;

    let start = &code[..code.len().min(PROLOGUE)];
    let at = start.windows(FRAME.len()).position(|it| it == FRAME)? + FRAME.len();
    let bytes = code.get(at..at + 4)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stack_is_what_the_prologue_takes() {
        // endbr64; nopl; xor eax, eax; push rbp; mov rbp, rsp; sub rsp, 0x1f8
        let mut code = vec![
            0xf3, 0x0f, 0x1e, 0xfa, 0x0f, 0x1f, 0x44, 0, 0, 0x31, 0xc0, 0x55,
        ];
        code.extend([0x48, 0x89, 0xe5, 0x48, 0x81, 0xec, 0xf8, 1, 0, 0]);
        assert_eq!(stack(&code), Some(0x1f8));
        assert_eq!(stack(&code[..18]), None);
        assert_eq!(stack(&[]), None);
    }
}
