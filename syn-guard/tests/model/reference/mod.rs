//! The reference model: what is right for a frame. It is written from the
//! documents, with plain code, and calls nothing that the data path is made of:
//! only the types of its maps are the same.

mod cookie;
mod decide;
mod options;
mod parse;
mod prefixes;
mod reply;
mod terms;
mod world;

pub use parse::Frame;
pub use prefixes::Prefix;
pub use world::{Counts, Engine, Entry, Flow, Service, World};
