//! Which process holds a BPF program.

use std::fs;

use super::owners::{Owner, pids, program};

/// The process with the lowest id that has the program, or a link to it,
/// open. None when it is only pinned or attached, or when its holder may not
/// be seen (without CAP_SYS_PTRACE).
#[must_use]
pub fn who_holds_program(id: u32) -> Option<Owner> {
    pids()
        .into_iter()
        .find(|pid| {
            fs::read_dir(format!("/proc/{pid}/fdinfo"))
                .into_iter()
                .flatten()
                .filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok())
                .any(|text| program_id(&text) == Some(id))
        })
        .map(|pid| Owner {
            pid,
            program: program(pid),
        })
}

/// The `prog_id:` line of a program's or a link's fdinfo
/// (`bpf_prog_show_fdinfo`, `bpf_link_show_fdinfo`).
fn program_id(fdinfo: &str) -> Option<u32> {
    fdinfo
        .lines()
        .find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_fdinfo() {
        let text = "pos:\t0\nflags:\t02000002\nmnt_id:\t15\nprog_type:\t6\nprog_id:\t57\n";
        assert_eq!(program_id(text), Some(57));
        assert_eq!(program_id("pos:\t0\nmap_id:\t57\n"), None);
    }

    #[test]
    fn nobody_holds_a_program_that_is_not() {
        assert!(who_holds_program(u32::MAX).is_none());
    }
}
