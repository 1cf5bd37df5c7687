//! Fuzz target: `checks::link`.

#![no_main]

#[path = "../checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| checks::link(std::time::Instant::now(), octets));
