//! A handshake, and whatever could be forged of it.
#![no_main]

#[path = "../../tests/checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|handshake: checks::cookie::Handshake| {
    checks::cookie::check(&handshake);
});
