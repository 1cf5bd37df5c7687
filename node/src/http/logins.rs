//! What a node remembers of logins by itself: wrong ones by address, and sessions in use.
//!
//! Invariants: both are bounded; what is lost with the node costs nothing but a little patience.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use domain::Stamp;
use domain::operators::{MAX_USED, SessionHash};

/// Wrong logins of one address within [`WINDOW`].
const MOST_WRONG: u32 = 20;
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are remembered; more share one place.
const ADDRESSES: usize = 4096;
/// A session's use is noted once in so long.
const NOTED_EVERY_S: i64 = 60;
/// Sessions that wait to be noted.
const WAITING: usize = 16 * MAX_USED;

/// Wrong logins by address.
#[derive(Default)]
pub struct WrongLogins {
    seen: Mutex<HashMap<Option<IpAddr>, (u32, Instant)>>,
}

/// Sessions that were used and are to be noted as used.
#[derive(Default)]
pub struct InUse {
    waiting: Mutex<HashSet<SessionHash>>,
}

impl WrongLogins {
    /// Whether an address has to wait before it is listened to again.
    pub fn too_many(&self, address: Option<IpAddr>) -> bool {
        let mut seen = lock(&self.seen);
        seen.retain(|_, (_, since)| since.elapsed() < WINDOW);
        let shared = seen.len() >= ADDRESSES && !seen.contains_key(&address);
        let key = if shared { None } else { address };
        seen.get(&key).is_some_and(|(count, _)| *count >= MOST_WRONG)
    }

    /// Counts a wrong login.
    pub fn count(&self, address: Option<IpAddr>) {
        let mut seen = lock(&self.seen);
        let shared = seen.len() >= ADDRESSES && !seen.contains_key(&address);
        let entry = seen.entry(if shared { None } else { address });
        entry.or_insert_with(|| (0, Instant::now())).0 += 1;
    }
}

impl InUse {
    /// Notes a use unless the last one that the state knows is a moment ago.
    pub fn note(&self, session: SessionHash, used: Stamp, now: Stamp) {
        if now.seconds() - used.seconds() < NOTED_EVERY_S {
            return;
        }
        let mut waiting = lock(&self.waiting);
        if waiting.len() < WAITING {
            waiting.insert(session);
        }
    }

    /// Takes as many as one change may hold.
    pub fn take(&self) -> Vec<SessionHash> {
        let mut waiting = lock(&self.waiting);
        let taken: Vec<SessionHash> = waiting.iter().take(MAX_USED).copied().collect();
        for session in &taken {
            waiting.remove(session);
        }
        taken
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_guesses_has_to_wait() {
        let logins = WrongLogins::default();
        let (one, other) = (Some(IpAddr::from([10, 0, 0, 1])), Some(IpAddr::from([10, 0, 0, 2])));
        for _ in 0..MOST_WRONG {
            assert!(!logins.too_many(one));
            logins.count(one);
        }
        assert!(logins.too_many(one));
        assert!(!logins.too_many(other));
    }

    #[test]
    fn a_flood_of_addresses_takes_no_more_memory() {
        let logins = WrongLogins::default();
        for number in 0..3 * ADDRESSES as u32 {
            logins.count(Some(IpAddr::from(number.to_be_bytes())));
        }
        assert!(lock(&logins.seen).len() <= ADDRESSES + 1);
        assert!(logins.too_many(Some(IpAddr::from([255, 0, 0, 1]))), "newcomers share a place");
    }

    #[test]
    fn a_use_is_noted_once_a_minute() {
        let uses = InUse::default();
        let at = Stamp::from_seconds;
        uses.note([1; 32], at(100), at(159));
        assert!(uses.take().is_empty());
        uses.note([1; 32], at(100), at(160));
        uses.note([1; 32], at(100), at(170));
        assert_eq!(uses.take(), [[1; 32]]);
        assert!(uses.take().is_empty());
    }
}
