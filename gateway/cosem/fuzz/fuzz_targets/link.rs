//! Fuzz target: `checks::link`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| checks::link(std::time::Instant::now(), octets));
