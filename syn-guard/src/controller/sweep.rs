//! Ending half-open connections that the data path cannot end by itself.

use std::collections::BTreeSet;

use syn_guard_common::flow::Flow;

use super::clock::now_ns;
use super::lives::Lives;
use crate::datapath::{DataPath, DataPathError};

/// Ends those that the kernel has given up.
pub fn expire(datapath: &DataPath, lives: &Lives) -> Result<(), DataPathError> {
    let now = now_ns();
    let mut over: Vec<(Flow, u64)> = Vec::new();
    datapath.maps.each_half_open(|flow, half_open| {
        if lives.is_over(half_open.started_ns, now) {
            over.push((*flow, half_open.started_ns));
        }
    })?;
    for (flow, started_ns) in over {
        datapath.control.expire(flow, started_ns)?;
    }
    Ok(())
}

/// Ends all of services that are no more.
pub fn forget(datapath: &DataPath, slots: &BTreeSet<u32>) -> Result<(), DataPathError> {
    let mut all: Vec<Flow> = Vec::new();
    datapath.maps.each_half_open(|flow, half_open| {
        if slots.contains(&half_open.slot) {
            all.push(*flow);
        }
    })?;
    for flow in all {
        datapath.control.forget(flow)?;
    }
    Ok(())
}
