//! Fuzz target: `checks::iec62056_21`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| checks::iec62056_21(octets));
