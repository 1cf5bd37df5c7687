//! The time that a leader writes on a proposal.
//!
//! Invariants: a stamp is never below one that was given or applied here before; the clock is an
//! argument.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use domain::Stamp;

/// Gives stamps that never go back.
pub struct Stamper {
    clock: Box<dyn Fn() -> u64 + Send + Sync>,
    last: AtomicU64,
}

impl Stamper {
    /// Over a clock of microseconds since the Unix epoch, UTC.
    pub fn new(clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { clock: Box::new(clock), last: AtomicU64::new(0) }
    }

    /// The next stamp, for a proposal.
    pub fn next(&self) -> Stamp {
        let clock = (self.clock)();
        Stamp(self.last.fetch_max(clock, Ordering::AcqRel).max(clock))
    }

    /// The stamp of now, without giving it away.
    pub fn now(&self) -> Stamp {
        Stamp((self.clock)().max(self.last.load(Ordering::Acquire)))
    }

    /// A stamp was applied: none given from now on is below it.
    pub fn observe(&self, stamp: u64) {
        self.last.fetch_max(stamp, Ordering::AcqRel);
    }
}

impl fmt::Debug for Stamper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stamper").field("last", &self.last).finish_non_exhaustive()
    }
}

/// The system's clock in microseconds since the Unix epoch; 0 before it.
pub fn system_clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_never_go_back() {
        static CLOCK: AtomicU64 = AtomicU64::new(100);
        let stamper = Stamper::new(|| CLOCK.load(Ordering::Relaxed));
        assert_eq!(stamper.next(), Stamp(100));
        CLOCK.store(50, Ordering::Relaxed);
        assert_eq!(stamper.next(), Stamp(100));
        stamper.observe(500);
        assert_eq!(stamper.next(), Stamp(500));
        assert_eq!(stamper.now(), Stamp(500));
        CLOCK.store(600, Ordering::Relaxed);
        assert_eq!(stamper.next(), Stamp(600));
        CLOCK.store(10, Ordering::Relaxed);
        assert_eq!(stamper.now(), Stamp(600));
    }
}
