//! Why a service is in its state.

use crate::abi::Mode;

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Trigger {
    /// Half-open connections as the data path counts them.
    HalfOpen,
    /// Half-open connections as the kernel counts them.
    HalfOpenInKernel,
    /// Half-open connections that were retransmitted at least once.
    Retransmitted,
    /// Connections refused a second for want of backlog.
    Refused,
    /// Unanswered SYNs a second.
    UnansweredRate,
}

/// A limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Which one.
    pub trigger: Trigger,
    /// What reached it.
    pub value: u64,
    /// The limit.
    pub limit: u64,
    /// SYNs of the second that passed untracked and count too.
    pub untracked: u64,
}

/// Why a service is in its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is guarded from now on.
    Begins,
    /// An earlier guard left it so.
    Left,
    /// A limit was reached.
    Reached(Reason),
    /// The data path saw a limit reached, but which one was lost.
    Lost,
    /// It was calm for the hold time.
    Calm {
        /// Half-open connections there would have been without protection.
        pressure: u64,
        /// Pressure below which it is calm.
        limit: u64,
        /// The hold time, nanoseconds.
        hold_ns: u64,
    },
    /// Its mode demands it.
    Mode(Mode),
}
