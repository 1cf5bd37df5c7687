//! Fuzz target: `checks::iec62056_21`.

#![no_main]

#[path = "../checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| checks::iec62056_21(octets));
