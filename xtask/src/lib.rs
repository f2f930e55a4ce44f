//! The tasks of the workspace, as a library: `cargo xtask` calls them.

pub mod bench;
pub mod build;
pub mod command;
pub mod demo;
mod digits;
pub mod fuzz;
pub mod lab;
pub mod setup;
pub mod test;
pub mod vm;
