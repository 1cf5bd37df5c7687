//! The one clock of the tests: machines take times as arguments, and an `Instant` can only be had
//! from a clock, here that of the benchmarks.

use std::time::Instant;

use criterion::measurement::{Measurement, WallTime};

/// The time from which a test reckons all others.
pub fn start() -> Instant {
    WallTime.start()
}
