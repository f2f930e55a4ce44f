//! syn-guard detects SYN floods and stops them in the kernel.
//!
//! [`datapath`] is the part in the kernel, [`controller`] keeps it told and
//! decides, [`config`] is what the operator wants, [`prefixes`] are the lists of
//! those who always pass or never do, [`kernel`] reads what the system says,
//! [`undo`] remembers what was changed. [`report`] is what the guard says of
//! itself, [`events`] what happened; [`server`], [`metrics`], [`client`],
//! [`status`] and [`list`] show it. [`control`] is what it may be told while it
//! runs. [`cli`] puts them together.

pub mod cli;
pub mod client;
pub mod config;
pub mod control;
pub mod controller;
pub mod datapath;
pub mod events;
mod heap;
pub mod kernel;
pub mod list;
pub mod metrics;
pub mod prefixes;
pub mod report;
pub mod server;
pub mod status;
pub mod tune;
pub mod undo;
