//! Fuzz target: `checks::apdu`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| checks::apdu(octets));
