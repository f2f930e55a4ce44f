//! Who makes cookies and who validates them.

/// The engine that the programs are loaded for: the value of their constant
/// `ENGINE`, so that the verifier leaves the other one's code out.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EngineKind {
    /// Own cookies, validated in TC and handed to the stack
    /// (`bpf_sk_assign_tcp_reqsk`, Linux 6.9).
    Reqsk = 0,
    /// The kernel's cookies (`bpf_tcp_gen_syncookie`, Linux 5.3), which the
    /// stack validates.
    Kernel = 1,
}
