//! Who makes cookies and who validates them.

/// An engine. The programs' constant `ENGINE` says for which they are loaded: for
/// [`Reqsk`](Self::Reqsk), where the kernel has it, and then they can do both and
/// [`Settings::engine`](super::Settings::engine) says which one makes cookies; or for
/// [`Kernel`](Self::Kernel), and the verifier leaves the other one's code out.
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
