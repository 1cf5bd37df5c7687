//! Who is refused what, for the log: each once a minute, however often he tries.
//!
//! Decides nothing. Invariants: time is an argument; a minute tells at most [`MOST`] refusals, so a
//! flood of names fills neither memory nor the log.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Refusals that are told in a minute.
const MOST: usize = 256;

/// What was told in a minute.
#[derive(Default)]
pub struct Denied {
    told: Mutex<(u64, BTreeSet<(String, String)>)>,
}

impl Denied {
    /// Whether it is to be told that somebody was refused something; at most once a minute.
    pub fn is_news(&self, who: &str, what: &str, now_s: u64) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = now_s / 60;
        if told.0 != minute {
            *told = (minute, BTreeSet::new());
        }
        told.1.len() < MOST && told.1.insert((who.to_owned(), what.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Denied, MOST};

    #[test]
    fn a_refusal_is_told_once_a_minute_and_a_flood_is_cut() {
        let denied = Denied::default();
        for (who, what, at, told) in [
            ("nora", "GET /audit", 0, true),
            ("nora", "GET /audit", 59, false),
            ("nora", "GET /operators", 59, true),
            ("tom", "GET /audit", 59, true),
            ("nora", "GET /audit", 60, true),
        ] {
            assert_eq!(denied.is_news(who, what, at), told, "{who} {what} at {at} s");
        }
        let told = (0..MOST * 2).filter(|n| denied.is_news(&n.to_string(), "GET /audit", 120));
        assert_eq!(told.count(), MOST);
    }
}
