//! Running the control program: changes that must go by the data path's own
//! counting.

use aya::Ebpf;
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use syn_guard_common::abi::{Command, Operation, SourceKey, State};
use syn_guard_common::flow::Flow;

use super::DataPathError;
use super::object::CONTROL;

/// The control program, loaded.
pub struct Control {
    program: Xdp,
}

impl Control {
    pub(super) fn new(ebpf: &Ebpf) -> Result<Self, DataPathError> {
        let broken = |reason: String| DataPathError::Control(reason);
        let program: &Xdp = ebpf
            .program(CONTROL)
            .and_then(|program| program.try_into().ok())
            .ok_or_else(|| broken("it is not in the object".to_owned()))?;
        let info = program.info().map_err(|error| broken(error.to_string()))?;
        // A handle of its own, so that running it borrows nothing.
        let program = Xdp::from_program_info(
            info,
            CONTROL.into(),
            aya_obj::programs::XdpAttachType::Interface,
        )
        .map_err(|error| broken(error.to_string()))?;
        Ok(Self { program })
    }

    /// Ends the half-open connection that began at `started_ns` and whose life is
    /// over; whether it was still there.
    ///
    /// # Errors
    /// When the kernel refuses to run the program.
    pub fn expire(&self, flow: Flow, started_ns: u64) -> Result<bool, DataPathError> {
        self.run(Command::flow(Operation::Expire, flow, started_ns))
    }

    /// Ends a half-open connection of a service that is no more.
    ///
    /// # Errors
    /// When the kernel refuses to run the program.
    pub fn forget(&self, flow: Flow) -> Result<bool, DataPathError> {
        self.run(Command::flow(Operation::Forget, flow, 0))
    }

    /// Tells the data path that the stack has a socket for `flow`.
    ///
    /// # Errors
    /// When the kernel refuses to run the program.
    pub fn mark_connection(&self, flow: Flow) -> Result<(), DataPathError> {
        self.run(Command::flow(Operation::MarkConnection, flow, 0))
            .map(|_| ())
    }

    /// Has the SYNs of a source go by its own counters for a while.
    ///
    /// # Errors
    /// When the kernel refuses to run the program.
    pub fn mark_source(&self, key: SourceKey) -> Result<(), DataPathError> {
        let flow = Flow {
            remote: key.source,
            ..Flow::default()
        };
        let command = Command {
            slot: key.slot,
            ..Command::flow(Operation::MarkSource, flow, 0)
        };
        self.run(command).map(|_| ())
    }

    /// Changes the state of a service.
    ///
    /// # Errors
    /// When the kernel refuses to run the program.
    pub fn set_state(&self, slot: u32, state: State, now_ns: u64) -> Result<(), DataPathError> {
        self.run(Command::service(
            Operation::SetState,
            slot,
            state as u32,
            now_ns,
        ))
        .map(|_| ())
    }

    /// Stops validating cookies of a service that does not protect.
    ///
    /// # Errors
    /// When the kernel refuses to run the program.
    pub fn stop_validating(&self, slot: u32) -> Result<(), DataPathError> {
        self.run(Command::service(Operation::StopValidating, slot, 0, 0))
            .map(|_| ())
    }

    fn run(&self, command: Command) -> Result<bool, DataPathError> {
        let bytes = command.to_bytes();
        let options = TestRunOptions {
            data_in: Some(&bytes),
            ..TestRunOptions::default()
        };
        self.program
            .test_run(options)
            .map(|result| result.return_value == 1)
            .map_err(|error| DataPathError::Control(super::error::one_line(&error)))
    }
}
