//! Ending half-open connections that the data path cannot end by itself.

use syn_guard_common::flow::Flow;

use super::clock::now_ns;
use crate::datapath::{DataPath, DataPathError};

/// Ends those whose life is over.
pub fn expire(datapath: &DataPath) -> Result<(), DataPathError> {
    let now = now_ns();
    let over: Vec<Flow> = datapath
        .maps
        .half_open()
        .filter(|(_, half_open)| half_open.ends_ns <= now)
        .map(|(flow, _)| flow)
        .collect();
    for flow in over {
        datapath.control.expire(flow, now)?;
    }
    Ok(())
}

/// Ends all of a service that is no more.
pub fn forget(datapath: &DataPath, slot: u32) -> Result<(), DataPathError> {
    let all: Vec<Flow> = datapath
        .maps
        .half_open()
        .filter(|(_, half_open)| half_open.slot == slot)
        .map(|(flow, _)| flow)
        .collect();
    for flow in all {
        datapath.control.forget(flow)?;
    }
    Ok(())
}
