//! A listener and any bytes as a SYN to it.
#![no_main]

#[path = "../../tests/checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|input: (checks::answer::Setup, &[u8])| {
    let (setup, frame) = input;
    checks::answer::check(frame, &setup);
});
