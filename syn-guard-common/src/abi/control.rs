//! What the controller asks the control program to do: the changes that must
//! go by the data path's own counting. A command is the "packet" of a
//! `BPF_PROG_TEST_RUN`.

use crate::flow::Flow;

/// What to do.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// End the half-open connection `flow` that began at `time_ns`: its life is
    /// over.
    Expire = 1,
    /// End the half-open connection `flow`, whatever its age, uncounted.
    Forget = 2,
    /// Mark `flow` in the connection filter.
    MarkConnection = 3,
    /// Put the service `slot` into state `value`. Protecting also starts
    /// validating.
    SetState = 4,
    /// Stop validating cookies of the service `slot`, unless it protects.
    StopValidating = 5,
    /// Have the SYNs of the flow's source to the service `slot` go by its own
    /// counters.
    MarkSource = 6,
}

/// A command.
///
/// | offset | size | what |
/// | --- | --- | --- |
/// | 0 | 4 | [`Operation`] |
/// | 4 | 4 | slot |
/// | 8 | 4 | value |
/// | 12 | 36 | flow |
/// | 48 | 8 | time, `CLOCK_MONOTONIC` ns |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// What to do.
    pub operation: Operation,
    /// The slot of the service.
    pub slot: u32,
    /// See [`Operation::SetState`].
    pub value: u32,
    /// The connection.
    pub flow: Flow,
    /// A time, nanoseconds: when the connection began, or when the state
    /// changed.
    pub time_ns: u64,
}

impl Command {
    /// Bytes of a command.
    pub const SIZE: usize = 56;

    /// A command about a connection.
    #[must_use]
    pub const fn flow(operation: Operation, flow: Flow, time_ns: u64) -> Self {
        Self {
            operation,
            slot: 0,
            value: 0,
            flow,
            time_ns,
        }
    }

    /// A command about a service.
    #[must_use]
    pub fn service(operation: Operation, slot: u32, value: u32, time_ns: u64) -> Self {
        Self {
            operation,
            slot,
            value,
            flow: Flow::default(),
            time_ns,
        }
    }

    /// The command as the control program reads it.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let ports = u32::from(self.flow.remote_port) | (u32::from(self.flow.local_port) << 16);
        let words: [u32; Self::SIZE / 4] = {
            let remote = self.flow.remote.0;
            let local = self.flow.local.0;
            [
                self.operation as u32,
                self.slot,
                self.value,
                remote[0],
                remote[1],
                remote[2],
                remote[3],
                local[0],
                local[1],
                local[2],
                local[3],
                ports,
                self.time_ns as u32,
                (self.time_ns >> 32) as u32,
            ]
        };
        let mut bytes = [0; Self::SIZE];
        for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
            *bytes = word.to_ne_bytes();
        }
        bytes
    }
}
