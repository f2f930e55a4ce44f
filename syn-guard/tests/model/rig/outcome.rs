//! What happens to a frame.

use std::fmt;

use syn_guard_common::abi::{Action, Reason};

use crate::reference::Frame;

/// What happens to a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The program's `XDP_*` code.
    pub code: u32,
    /// What is counted for it.
    pub reasons: Vec<Reason>,
    /// What is passed on or sent back.
    pub frame: Vec<u8>,
}

/// What the program and the model say differently.
#[derive(Debug)]
pub struct Disagreement {
    pub frame: Frame,
    pub program: Outcome,
    pub model: Outcome,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Frame { bytes, linear } = &self.frame;
        writeln!(
            formatter,
            "  frame   {} (first buffer {linear})",
            hex(bytes)
        )?;
        for (who, outcome) in [("program", &self.program), ("model  ", &self.model)] {
            let names: Vec<_> = outcome.reasons.iter().map(|it| it.name()).collect();
            let (code, frame) = (outcome.code, hex(&outcome.frame));
            writeln!(formatter, "  {who} {names:?}, XDP code {code}, {frame}")?;
        }
        Ok(())
    }
}

/// The `XDP_*` code of an action.
pub fn code_of(action: Action) -> u32 {
    use xdp_action::{DROP, PASS, TX};
    match action {
        Action::Pass => PASS,
        Action::Cookie => TX,
        Action::Drop => DROP,
    }
}

/// `enum xdp_action` (linux/bpf.h).
mod xdp_action {
    pub const DROP: u32 = 1;
    pub const PASS: u32 = 2;
    pub const TX: u32 = 3;
}

/// Bytes in hexadecimal.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
