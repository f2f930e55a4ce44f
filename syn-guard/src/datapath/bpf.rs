//! The calls of `bpf(2)` that aya 0.14 does not wrap.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use aya_obj::generated::{bpf_attr, bpf_btf_info, bpf_cmd, bpf_prog_type};

/// Bytes of the verifier's log that are kept.
const LOG: usize = 64 * 1024;

/// # Safety
/// What `attributes` points to must be valid for this command.
pub(super) unsafe fn bpf(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<i32> {
    // SAFETY: the kernel reads and writes `size_of` bytes of the union; the rest is the
    // caller's word.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            std::ptr::from_mut(attributes),
            size_of::<bpf_attr>(),
        )
    };
    match i32::try_from(result) {
        Ok(result) if result >= 0 => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}

/// All zeroes, as a command's attributes begin.
pub(super) fn attributes() -> bpf_attr {
    // SAFETY: all zeroes are a valid value of this union of integers.
    unsafe { std::mem::zeroed() }
}

/// # Safety
/// As of [`bpf`]; the command opens a descriptor.
unsafe fn open(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<OwnedFd> {
    // SAFETY: by the caller's word; the descriptor is nobody else's.
    unsafe { bpf(command, attributes).map(|fd| OwnedFd::from_raw_fd(fd)) }
}

/// Loads a TC program of these instructions under the GPL, whose calls of kernel functions
/// go by the BTFs in `btfs` (the first is the kernel's own and not looked at).
///
/// # Errors
/// With the end of the verifier's log.
pub(super) fn load_classifier(
    name: &std::ffi::CStr,
    instructions: &[u8],
    btfs: &[i32],
) -> io::Result<OwnedFd> {
    let mut log = vec![0_u8; LOG];
    let mut attr = attributes();
    // SAFETY: this command's part of the union, plain integers.
    let load = unsafe { &mut attr.__bindgen_anon_3 };
    load.prog_type = bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS as u32;
    load.insns = instructions.as_ptr() as u64;
    load.insn_cnt = (instructions.len() / 8) as u32;
    load.license = c"GPL".as_ptr() as u64;
    load.fd_array = btfs.as_ptr() as u64;
    load.log_level = 1;
    load.log_buf = log.as_mut_ptr() as u64;
    load.log_size = LOG as u32;
    for (to, from) in load
        .prog_name
        .iter_mut()
        .zip(name.to_bytes().iter().take(15))
    {
        *to = *from as std::ffi::c_char;
    }
    // SAFETY: all pointers are valid for the call.
    unsafe { open(bpf_cmd::BPF_PROG_LOAD, &mut attr) }.map_err(|error| {
        let text = String::from_utf8_lossy(&log);
        let lines = text.trim_end_matches('\0').lines().rev().take(4);
        let last: Vec<_> = lines.collect::<Vec<_>>().into_iter().rev().collect();
        io::Error::new(error.kind(), format!("{error}: {}", last.join("; ")))
    })
}

/// Puts a descriptor into a map of descriptors.
pub(super) fn set_descriptor(map: BorrowedFd<'_>, key: u32, value: &OwnedFd) -> io::Result<()> {
    let value = value.as_raw_fd();
    let mut attr = attributes();
    // SAFETY: this command's part of the union, plain integers.
    let update = unsafe { &mut attr.__bindgen_anon_2 };
    update.map_fd = map.as_raw_fd().cast_unsigned();
    update.key = &raw const key as u64;
    update.__bindgen_anon_1.value = &raw const value as u64;
    // SAFETY: key and value are as long as the map's.
    unsafe { bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr) }.map(|_| ())
}

/// The BTF of a kernel module; none where it is not loaded.
pub(super) fn module_btf(module: &str) -> io::Result<Option<OwnedFd>> {
    let mut id = 0;
    loop {
        let mut attr = attributes();
        attr.__bindgen_anon_6.__bindgen_anon_1.start_id = id;
        // SAFETY: plain integers.
        if let Err(error) = unsafe { bpf(bpf_cmd::BPF_BTF_GET_NEXT_ID, &mut attr) } {
            return match error.raw_os_error() {
                Some(libc::ENOENT) => Ok(None),
                _ => Err(error),
            };
        }
        // SAFETY: the kernel wrote it.
        id = unsafe { attr.__bindgen_anon_6.next_id };
        let mut attr = attributes();
        attr.__bindgen_anon_6.__bindgen_anon_1.btf_id = id;
        // SAFETY: plain integers. One that is gone meanwhile is none of ours.
        let Ok(btf) = (unsafe { open(bpf_cmd::BPF_BTF_GET_FD_BY_ID, &mut attr) }) else {
            continue;
        };
        if name_of(&btf)?.as_deref() == Some(module) {
            return Ok(Some(btf));
        }
    }
}

fn name_of(btf: &OwnedFd) -> io::Result<Option<String>> {
    let mut name = [0_u8; 64];
    // SAFETY: all zeroes are a valid value of this structure of integers.
    let mut info: bpf_btf_info = unsafe { std::mem::zeroed() };
    info.name = name.as_mut_ptr() as u64;
    info.name_len = name.len() as u32;
    let mut attr = attributes();
    attr.info.bpf_fd = btf.as_raw_fd().cast_unsigned();
    attr.info.info_len = size_of::<bpf_btf_info>() as u32;
    attr.info.info = &raw mut info as u64;
    // SAFETY: both buffers are valid for the call.
    match unsafe { bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr) } {
        Ok(_) => {}
        // A name longer than ours is another's.
        Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => return Ok(None),
        Err(error) => return Err(error),
    }
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(0);
    Ok(String::from_utf8(name[..end].to_vec()).ok())
}
