//! Ending half-open connections that the data path cannot end by itself.

use syn_guard_common::flow::Flow;

use super::clock::now_ns;
use super::lives::Lives;
use crate::datapath::{DataPath, DataPathError};

/// Ends those that the kernel has given up.
pub fn expire(datapath: &DataPath, lives: &Lives) -> Result<(), DataPathError> {
    let now = now_ns();
    let over: Vec<(Flow, u64)> = datapath
        .maps
        .half_open()
        .map(|(flow, half_open)| (flow, half_open.started_ns))
        .filter(|(_, started_ns)| lives.is_over(*started_ns, now))
        .collect();
    for (flow, started_ns) in over {
        datapath.control.expire(flow, started_ns)?;
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
