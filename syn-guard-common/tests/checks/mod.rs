//! What must hold for every input. The property tests, the fuzz targets and
//! the replay of their seeds all call it.

#![allow(dead_code, reason = "not everybody uses all of it")]

pub mod answer;
pub mod cookie;
pub mod parse;
pub mod reference;
