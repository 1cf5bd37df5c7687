//! Fuzz target: `checks::association`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| checks::association(std::time::Instant::now(), octets));
