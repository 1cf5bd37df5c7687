//! What the field sees of the head-end's promises.
//!
//! It judges only what a device can know by itself: invocation counters that come twice, an epoch
//! that two clients hold. It does not decide what a concentrator answers.
//!
//! Invariants: a set of used counters has at most [`RANGES`] ranges; when one more is needed the
//! lowest gap is closed, so that memory is bounded and a counter below it counts as used.

use std::collections::BTreeMap;

/// Most ranges kept for one title and key.
const RANGES: usize = 1_024;

/// A client's system title.
pub type Title = [u8; 8];

/// Invocation counters used under one system title and one key.
#[derive(Clone, Debug, Default)]
pub struct Used {
    /// First of each range to its last, neither touching nor overlapping.
    ranges: BTreeMap<u32, u32>,
}

impl Used {
    /// Counters up to and with `last` count as used.
    #[must_use]
    pub fn up_to(last: u32) -> Self {
        Self { ranges: BTreeMap::from([(0, last)]) }
    }

    /// Marks a counter; false when it was used before.
    pub fn mark(&mut self, counter: u32) -> bool {
        let below = self.ranges.range(..=counter).next_back().map(|(first, last)| (*first, *last));
        if below.is_some_and(|(_, last)| last >= counter) {
            return false;
        }
        let first = match below {
            Some((first, last)) if last.checked_add(1) == Some(counter) => first,
            _ => counter,
        };
        let next = counter.checked_add(1);
        let last = next.and_then(|next| self.ranges.remove(&next)).unwrap_or(counter);
        self.ranges.insert(first, last);
        if self.ranges.len() > RANGES {
            self.close_lowest_gap();
        }
        true
    }

    /// The highest counter used.
    #[must_use]
    pub fn highest(&self) -> Option<u32> {
        self.ranges.last_key_value().map(|(_, last)| *last)
    }

    fn close_lowest_gap(&mut self) {
        let low = self.ranges.pop_first();
        let next = self.ranges.pop_first();
        if let (Some((first, _)), Some((_, last))) = (low, next) {
            self.ranges.insert(first, last);
        }
    }
}

/// Counters of every client of one device.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    clients: BTreeMap<Title, Used>,
}

impl Counters {
    /// Takes a counter that was accepted from a client; false when it was used before.
    pub fn mark(&mut self, client: Title, counter: u32) -> bool {
        self.clients.entry(client).or_default().mark(counter)
    }

    /// The highest counter used by a client.
    #[must_use]
    pub fn highest(&self, client: Title) -> Option<u32> {
        self.clients.get(&client).and_then(Used::highest)
    }

    /// What a device shows as its invocation counter: the asking client's highest, or for a client
    /// without a title the highest of all.
    #[must_use]
    pub fn of(&self, client: Option<Title>) -> u32 {
        let shown = match client {
            Some(client) => self.highest(client),
            None => self.highests().map(|(_, highest)| highest).max(),
        };
        shown.unwrap_or(0)
    }

    /// Highest counter of each client, to be kept over a restart.
    pub fn highests(&self) -> impl Iterator<Item = (Title, u32)> + '_ {
        self.clients.iter().filter_map(|(title, used)| Some((*title, used.highest()?)))
    }

    /// Remembers what was kept over a restart.
    pub fn restore(&mut self, client: Title, highest: u32) {
        self.clients.insert(client, Used::up_to(highest));
    }
}

/// The highest epoch and who holds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epochs {
    /// Highest epoch accepted; 0 when none was.
    pub highest: u32,
    /// System title of the client that activated with it.
    pub holder: Option<Title>,
}

/// What to think of an activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A newer epoch, or the same from the same client.
    Accept,
    /// Older than the highest: to be refused.
    Stale,
    /// The highest epoch from a second client: two holders of one lease. Refused, a violation.
    SecondHolder,
}

impl Epochs {
    /// Judges an activation and takes it when it is good.
    pub fn activate(&mut self, epoch: u32, client: Title) -> Verdict {
        if epoch < self.highest {
            return Verdict::Stale;
        }
        if epoch == self.highest && self.holder.is_some_and(|holder| holder != client) {
            return Verdict::SecondHolder;
        }
        *self = Self { highest: epoch, holder: Some(client) };
        Verdict::Accept
    }
}

#[cfg(test)]
mod tests {
    use super::{Counters, Epochs, RANGES, Used, Verdict};

    #[test]
    fn a_counter_is_new_once() {
        let mut used = Used::default();
        for counter in [5, 7, 6, 0, u32::MAX, 1, 4] {
            assert!(used.mark(counter), "{counter}");
            assert!(!used.mark(counter), "{counter}");
        }
        assert_eq!(used.highest(), Some(u32::MAX));
        assert_eq!(used.ranges.len(), 3, "0-1, 4-7, max");
        let mut kept = Used::up_to(100);
        assert!(!kept.mark(100) && kept.mark(101));
        assert_eq!(kept.ranges.len(), 1);
    }

    #[test]
    fn memory_is_bounded() {
        let mut used = Used::default();
        for counter in 0..5_000 {
            assert!(used.mark(counter * 2 + 1));
        }
        assert_eq!(used.ranges.len(), RANGES);
        assert!(!used.mark(10), "below the closed gap");
        assert!(used.mark(9_998));
    }

    #[test]
    fn clients_are_apart() {
        let mut counters = Counters::default();
        assert!(counters.mark([1; 8], 9) && counters.mark([2; 8], 9));
        assert!(!counters.mark([1; 8], 9));
        assert_eq!(counters.highest([2; 8]), Some(9));
    }

    #[test]
    fn one_epoch_has_one_holder() {
        let mut epochs = Epochs::default();
        let (a, b) = ([1; 8], [2; 8]);
        for (epoch, client, expect) in [
            (3, a, Verdict::Accept),
            (3, a, Verdict::Accept),
            (3, b, Verdict::SecondHolder),
            (2, b, Verdict::Stale),
            (4, b, Verdict::Accept),
            (3, a, Verdict::Stale),
        ] {
            assert_eq!(epochs.activate(epoch, client), expect, "epoch {epoch}");
        }
    }
}
