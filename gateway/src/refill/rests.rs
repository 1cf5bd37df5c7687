//! Meters that failed when they were asked for missing rows: when each may be asked again, and
//! when no more. Pure: time and jitter are arguments.
//!
//! Invariants: 1. a meter that failed rests at least its back-off, at most the cap; 2. one that
//! failed so often as the limit says is not asked before it is heard again by itself; 3. no more
//! than [`MAX_RESTS`] meters are remembered.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The most meters remembered; those beyond are asked more often than they need be.
const MAX_RESTS: usize = 100_000;

/// The times and the limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Failures in a row.
    pub attempts: u32,
    /// After the first failure; doubles.
    pub first: Duration,
    /// The longest pause.
    pub cap: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Rest {
    failures: u32,
    not_before: Instant,
    /// Newest stored interval end when it failed: a newer one means that it was heard since.
    newest_s: Option<i64>,
}

/// Whether a meter may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum May {
    /// Now.
    Now,
    /// Later.
    Later,
    /// Not before it is heard by itself.
    NoMore,
}

/// The meters that rest.
#[derive(Debug)]
pub(crate) struct Rests {
    limits: Limits,
    meters: HashMap<String, Rest>,
}

impl Rests {
    pub fn new(limits: Limits) -> Self {
        Self { limits, meters: HashMap::new() }
    }

    /// Whether a meter may be asked; `newest_s` is the newest of its stored interval ends.
    pub fn may_ask(&mut self, now: Instant, serial: &str, newest_s: Option<i64>) -> May {
        let Some(rest) = self.meters.get(serial) else { return May::Now };
        if newest_s > rest.newest_s {
            self.meters.remove(serial);
            return May::Now;
        }
        match rest {
            rest if rest.failures >= self.limits.attempts => May::NoMore,
            rest if rest.not_before > now => May::Later,
            _ => May::Now,
        }
    }

    /// The meter did not answer, or not usefully. `jitter`, any octet, shortens by up to a quarter.
    pub fn failed(&mut self, now: Instant, serial: &str, newest_s: Option<i64>, jitter: u8) {
        if self.meters.len() >= MAX_RESTS && !self.meters.contains_key(serial) {
            self.meters.retain(|_, rest| rest.not_before > now);
            if self.meters.len() >= MAX_RESTS {
                return;
            }
        }
        let Limits { first, cap, .. } = self.limits;
        let rest = self.meters.entry(serial.to_owned()).or_insert(Rest {
            failures: 0,
            not_before: now,
            newest_s,
        });
        let full = first.saturating_mul(1 << rest.failures.min(20)).min(cap);
        rest.failures = rest.failures.saturating_add(1);
        rest.newest_s = newest_s;
        rest.not_before = now + full - full / 4 * u32::from(jitter) / 255;
    }

    /// The meter answered.
    pub fn answered(&mut self, serial: &str) {
        self.meters.remove(serial);
    }
}

#[cfg(test)]
mod tests {
    use super::{Limits, MAX_RESTS, May, Rests};
    use std::time::{Duration, Instant};

    const S: Duration = Duration::from_secs(1);

    fn rests() -> Rests {
        Rests::new(Limits { attempts: 4, first: 10 * S, cap: 30 * S })
    }

    #[test]
    fn the_pause_doubles_to_the_cap_and_has_an_end() {
        let (mut now, mut rests) = (Instant::now(), rests());
        for pause in [10, 20, 30] {
            assert_eq!(rests.may_ask(now, "A", None), May::Now);
            rests.failed(now, "A", None, 0);
            assert_eq!(rests.may_ask(now + (pause - 1) * S, "A", None), May::Later);
            now += pause * S;
        }
        rests.failed(now, "A", None, 0);
        assert_eq!(rests.may_ask(now + 1_000_000 * S, "A", None), May::NoMore);
        assert_eq!(rests.may_ask(now, "B", None), May::Now);
        // It pushes again: it lives.
        assert_eq!(rests.may_ask(now, "A", Some(900)), May::Now);
        rests.failed(now, "A", Some(900), 255);
        assert_eq!(rests.may_ask(now + 8 * S, "A", Some(900)), May::Now, "jitter shortens");
        rests.answered("A");
        assert_eq!(rests.may_ask(now, "A", Some(900)), May::Now);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (now, mut rests) = (Instant::now(), rests());
        for number in 0..=MAX_RESTS {
            rests.failed(now, &format!("M{number}"), None, 0);
        }
        assert_eq!(rests.meters.len(), MAX_RESTS);
        rests.failed(now + 20 * S, "later", None, 0);
        assert_eq!(rests.meters.len(), 1);
    }
}
