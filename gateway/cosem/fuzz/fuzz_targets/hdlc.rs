//! Fuzz target: `checks::hdlc`.

#![no_main]

#[path = "../checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| checks::hdlc(octets));
