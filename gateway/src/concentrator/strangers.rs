//! Serials that came in pushes and that nobody has registered, for all channels of this node: since
//! when each is known, so that it is waited for once and not again at every push or login.
//!
//! Invariants: 1. at most [`MOST`] serials are kept; one more is not waited for; 2. a serial is
//! forgotten [`FORGET`] after it was first seen, and may then be waited for anew.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Serials kept at a time, all concentrators together.
const MOST: usize = 4_096;
/// A meter that is not registered for so long costs its concentrator one more wait.
const FORGET: Duration = Duration::from_secs(600);

/// When each unknown serial was first seen, by concentrator and serial.
#[derive(Debug, Default)]
pub(crate) struct Strangers {
    seen: Mutex<HashMap<(String, String), Instant>>,
}

impl Strangers {
    /// Until when a push with rows of this serial is held back; None when it was long enough.
    pub fn wait_until(
        &self,
        concentrator: &str,
        serial: &str,
        now: Instant,
        hold: Duration,
    ) -> Option<Instant> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (concentrator.to_owned(), serial.to_owned());
        let fresh = |since: &Instant| now.saturating_duration_since(*since) < FORGET;
        let since = match seen.get(&key).copied().filter(fresh) {
            Some(since) => since,
            None => {
                if seen.len() >= MOST {
                    seen.retain(|_, since| fresh(since));
                }
                if seen.len() >= MOST {
                    return None;
                }
                seen.insert(key, now);
                now
            }
        };
        Some(since + hold).filter(|until| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::{FORGET, MOST, Strangers};
    use std::time::{Duration, Instant};

    const HOLD: Duration = Duration::from_secs(3);

    #[test]
    fn a_serial_is_waited_for_once_until_it_is_forgotten() {
        let strangers = Strangers::default();
        let start = Instant::now();
        let wait = |at: Duration| strangers.wait_until("C", "M", start + at, HOLD);
        assert_eq!(wait(Duration::ZERO), Some(start + HOLD));
        assert_eq!(wait(HOLD / 2), Some(start + HOLD), "a second push does not wait longer");
        assert_eq!(wait(HOLD), None);
        assert_eq!(wait(FORGET - HOLD), None);
        assert_eq!(wait(FORGET), Some(start + FORGET + HOLD));
        let other = strangers.wait_until("D", "M", start + HOLD, HOLD);
        assert_eq!(other, Some(start + HOLD * 2), "another concentrator's meter is another one");
    }

    #[test]
    fn memory_is_bounded_and_made_free_again() {
        let strangers = Strangers::default();
        let start = Instant::now();
        let wait = |number: usize, at| strangers.wait_until("C", &number.to_string(), at, HOLD);
        for number in 0..MOST {
            assert!(wait(number, start).is_some());
        }
        assert_eq!(wait(MOST, start), None, "one more is not waited for");
        assert!(wait(MOST, start + FORGET).is_some());
    }
}
