//! The eBPF object inside this binary.

/// The object, aligned as an ELF file must be.
pub(super) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/syn-guard.o"));

/// The XDP program.
pub(super) const XDP: &str = "syn_guard";
/// The TC program.
pub(super) const TC: &str = "syn_guard_ack";
/// The control program.
pub(super) const CONTROL: &str = "syn_guard_control";
