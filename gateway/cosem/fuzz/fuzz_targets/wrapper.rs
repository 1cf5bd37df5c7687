//! Fuzz target: `checks::wrapper`.

#![no_main]

#[path = "../checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| checks::wrapper(octets));
