//! The eBPF object inside this binary.

/// The object, aligned as an ELF file must be.
pub(super) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/syn-guard.o"));

/// The XDP program.
pub(super) const XDP: &str = "syn_guard";
/// The same for generic mode.
pub(super) const XDP_GENERIC: &str = "syn_guard_generic";
/// The TC program.
pub(super) const TC: &str = "syn_guard_ack";
/// The TC program of what leaves the host.
pub(super) const ANSWERS: &str = "syn_guard_answers";
/// The program that the TC program goes on with.
pub(super) const CONNTRACK: &str = "syn_guard_conntrack";
/// The control program.
pub(super) const CONTROL: &str = "syn_guard_control";

#[cfg(test)]
mod tests {
    use object::{Object as _, ObjectSection as _, SectionKind};

    use super::*;

    /// `BPF_JMP | BPF_CALL` with the register `BPF_PSEUDO_CALL`.
    const CALL: u8 = 0x85;
    const OWN_FUNCTION: u8 = 1;

    /// To Linux 6.1 every function takes at least 32 of the 512 bytes of stack
    /// (`check_max_stack_depth`), which the XDP program does not have left. What the compiler
    /// calls is a `memset` that stores byte by byte.
    #[test]
    fn no_program_calls_a_function_of_its_own() {
        let file = object::File::parse(OBJECT).unwrap();
        let programs = file.sections().filter(|section| {
            section.kind() == SectionKind::Text && !matches!(section.name(), Ok(".text"))
        });
        let mut names = Vec::new();
        for program in programs {
            let name = program.name().unwrap().to_owned();
            let instructions = program.data().unwrap().as_chunks::<8>().0;
            let calls = instructions
                .iter()
                .filter(|it| it[0] == CALL && it[1] >> 4 == OWN_FUNCTION)
                .count();
            assert_eq!(calls, 0, "{name}: hand it `zero()` or inline it");
            names.push(name);
        }
        assert_eq!(names, ["xdp.frags", "classifier", "xdp"]);
    }
}
