//! Which concentrator's gaps are looked at when. Pure: time and jitter are arguments.
//!
//! Invariants: 1. one look at a concentrator at a time; 2. none before it was quiet for the
//! settling time, but for one that never is: that one is looked at after a whole turn; 3. the
//! first looks of many that log in at once are spread over the settling time, the next over a
//! quarter of the turn; 4. a look goes back all the way at first, and once a day when that found
//! all that can be found.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// An active channel, as it is seen now.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub concentrator: String,
    pub epoch: u64,
    /// Pushes so far on this channel.
    pub pushes: u64,
}

/// How far back a look goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// The last two days: what a healthy street may lack, at little cost.
    Recent,
    /// All that is asked for at all.
    Whole,
}

/// A look that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Look {
    pub concentrator: String,
    pub epoch: u64,
    pub depth: Depth,
}

/// How a look ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Nothing is left to be asked for.
    Whole,
    /// Something is left that can be asked for later.
    Part,
    /// The channel or the cluster was lost.
    Cut,
}

struct Entry {
    epoch: u64,
    pushes: u64,
    /// When `pushes` last changed.
    pushed: Instant,
    due: Instant,
    /// Quiet or not, then it is looked at.
    latest: Instant,
    /// When the next look goes back all the way.
    deep: Instant,
    running: Option<Depth>,
}

/// Between two looks all the way back.
const DEEP_EVERY: Duration = Duration::from_secs(86_400);

/// All concentrators with an active channel here.
pub(super) struct Book {
    settle: Duration,
    every: Duration,
    entries: HashMap<String, Entry>,
}

impl Book {
    pub fn new(settle: Duration, every: Duration) -> Self {
        Self { settle, every, entries: HashMap::new() }
    }

    /// Takes in what is connected now; gives up to `room` looks that are due, longest due first,
    /// and marks them running. `jitter` gives any octet.
    pub fn due(
        &mut self,
        now: Instant,
        seen: Vec<Seen>,
        room: usize,
        jitter: impl Fn() -> u8,
    ) -> Vec<Look> {
        let mut gone = std::mem::take(&mut self.entries);
        for Seen { concentrator, epoch, pushes } in seen {
            let known = gone.remove(&concentrator).filter(|entry| entry.epoch == epoch);
            let mut entry = known.unwrap_or_else(|| {
                let due = now + self.settle + self.settle * u32::from(jitter()) / 255;
                let latest = due + self.every;
                Entry { epoch, pushes, pushed: now, due, latest, deep: now, running: None }
            });
            if entry.pushes != pushes {
                (entry.pushes, entry.pushed) = (pushes, now);
            }
            self.entries.insert(concentrator, entry);
        }
        let settle = self.settle;
        let is_due = |entry: &Entry| {
            let quiet = entry.pushed + settle <= now || entry.latest <= now;
            entry.running.is_none() && entry.due <= now && quiet
        };
        let mut due: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, entry)| is_due(entry))
            .map(|(name, entry)| (entry.due, name.clone()))
            .collect();
        due.sort_unstable();
        due.truncate(room);
        let mut looks = Vec::with_capacity(due.len());
        for (_, concentrator) in due {
            let Some(entry) = self.entries.get_mut(&concentrator) else { continue };
            let depth = if entry.deep <= now { Depth::Whole } else { Depth::Recent };
            entry.running = Some(depth);
            looks.push(Look { concentrator, epoch: entry.epoch, depth });
        }
        looks
    }

    /// A look is over. What is left of one is looked for again soon.
    pub fn ended(&mut self, now: Instant, name: &str, epoch: u64, ended: Ended, jitter: u8) {
        let Some(entry) = self.entries.get_mut(name).filter(|entry| entry.epoch == epoch) else {
            return;
        };
        let pause = match ended {
            Ended::Whole => self.every,
            Ended::Part | Ended::Cut => self.settle.max(self.every / 8),
        };
        if (entry.running.take(), ended) == (Some(Depth::Whole), Ended::Whole) {
            entry.deep = now + DEEP_EVERY;
        }
        entry.due = now + pause - pause / 4 * u32::from(jitter) / 255;
        entry.latest = entry.due + self.every;
    }
}

#[cfg(test)]
mod tests {
    use super::{Book, DEEP_EVERY, Depth, Ended, Look, Seen};
    use std::time::{Duration, Instant};

    const S: Duration = Duration::from_secs(1);

    fn seen(pushes: u64) -> Vec<Seen> {
        vec![Seen { concentrator: "C1".to_owned(), epoch: 3, pushes }]
    }

    fn one(depth: Depth) -> Vec<Look> {
        vec![Look { concentrator: "C1".to_owned(), epoch: 3, depth }]
    }

    #[test]
    fn a_concentrator_is_looked_at_once_it_is_quiet_and_one_look_at_a_time() {
        let (start, mut book) = (Instant::now(), Book::new(10 * S, 100 * S));
        let mut at = |second: u32, pushes| book.due(start + second * S, seen(pushes), 8, || 0);
        assert!(at(0, 0).is_empty() && at(9, 1).is_empty() && at(18, 1).is_empty());
        assert_eq!(at(19, 1), one(Depth::Whole));
        assert!(at(60, 1).is_empty(), "it runs");
        book.ended(start + 60 * S, "C1", 3, Ended::Whole, 0);
        assert!(book.due(start + 159 * S, seen(1), 8, || 0).is_empty());
        assert!(book.due(start + 160 * S, seen(1), 0, || 0).is_empty(), "no room");
        assert_eq!(book.due(start + 160 * S, seen(1), 8, || 0), one(Depth::Recent));
        book.ended(start + 160 * S, "C1", 3, Ended::Part, 0);
        assert_eq!(book.due(start + 173 * S, seen(1), 8, || 0), one(Depth::Recent));
        book.ended(start + 173 * S, "C1", 3, Ended::Part, 0);
        let tomorrow = start + 60 * S + DEEP_EVERY;
        assert_eq!(book.due(tomorrow, seen(1), 8, || 0), one(Depth::Whole));
        book.ended(tomorrow, "C1", 3, Ended::Part, 0);
        assert_eq!(book.due(tomorrow + 99 * S, seen(1), 8, || 0), one(Depth::Whole));
    }

    #[test]
    fn one_that_never_is_quiet_is_looked_at_all_the_same() {
        let (start, mut book) = (Instant::now(), Book::new(10 * S, 100 * S));
        let mut looked = None;
        for second in 0..200 {
            let due = book.due(start + second * S, seen(second.into()), 8, || 0);
            if !due.is_empty() {
                looked = Some(second);
                break;
            }
        }
        assert_eq!(looked, Some(110));
    }

    #[test]
    fn a_new_epoch_begins_anew_and_a_lost_channel_is_forgotten() {
        let (start, mut book) = (Instant::now(), Book::new(10 * S, 100 * S));
        assert!(book.due(start, seen(0), 8, || 255).is_empty());
        assert!(book.due(start + 19 * S, seen(0), 8, || 0).is_empty(), "spread by the jitter");
        assert_eq!(book.due(start + 20 * S, seen(0), 8, || 0), one(Depth::Whole));
        let next = vec![Seen { epoch: 4, ..seen(0).remove(0) }];
        assert!(book.due(start + 21 * S, next.clone(), 8, || 0).is_empty());
        book.ended(start + 21 * S, "C1", 3, Ended::Part, 0);
        let look = Look { epoch: 4, ..one(Depth::Whole).remove(0) };
        assert_eq!(book.due(start + 31 * S, next, 8, || 0), [look]);
        assert!(book.due(start + 32 * S, Vec::new(), 8, || 0).is_empty());
        assert!(book.entries.is_empty());
    }
}
