//! Any bytes as a frame.
#![no_main]

#[path = "../../tests/checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|frame: &[u8]| checks::parse::check(frame));
