//! Which device is asked for by tasks when. Pure: time is an argument.
//!
//! Invariants: 1. one visit to a device at a time, a bounded number in all; 2. what goes first is
//! visited first, and among equals who waits longest; 3. a device with nothing to be read is looked
//! at less and less often, at once again when another run begins; 4. a channel that was lost rests.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use domain::Device;

/// Doublings of the pause of a device with nothing to be read.
const MOST_IDLE: u32 = 5;

/// How a visit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// What is left may be read at once.
    Turn,
    /// Nothing is left for now.
    Idle,
    /// The channel or the cluster was lost.
    Cut,
}

#[derive(Debug)]
struct Entry {
    epoch: u64,
    not_before: Instant,
    /// Looks in a row that found nothing.
    idle: u32,
    /// Since when it waits for a visit.
    since: Option<Instant>,
    runs: bool,
}

/// All devices with a channel here.
#[derive(Debug)]
pub(super) struct Book {
    look: Duration,
    entries: BTreeMap<Device, Entry>,
    /// Which runs were open at the last look.
    board: u64,
}

impl Book {
    pub fn new(look: Duration) -> Self {
        Self { look, entries: BTreeMap::new(), board: 0 }
    }

    /// Takes in what is connected now; gives at most `most` devices that are worth a question.
    pub fn worth(&mut self, now: Instant, seen: Vec<(Device, u64)>, most: usize) -> Vec<Device> {
        let mut gone = std::mem::take(&mut self.entries);
        for (device, epoch) in seen {
            let known = gone.remove(&device).filter(|entry| entry.epoch == epoch);
            let fresh = || Entry { epoch, not_before: now, idle: 0, since: None, runs: false };
            self.entries.insert(device, known.unwrap_or_else(fresh));
        }
        let ready = self.entries.iter().filter(|(_, entry)| !entry.runs && entry.not_before <= now);
        ready.take(most).map(|(device, _)| device.clone()).collect()
    }

    /// Takes in which of these devices have something to be read and how soon it goes, while these
    /// runs are open (`board`); gives those to visit now, `room` at most, and whether others wait.
    pub fn due(
        &mut self,
        now: Instant,
        asked: &[Device],
        board: u64,
        found: Vec<(Device, u8)>,
        room: usize,
    ) -> (Vec<(Device, u64)>, bool) {
        if std::mem::replace(&mut self.board, board) != board {
            for entry in self.entries.values_mut().filter(|entry| entry.idle > 0) {
                (entry.idle, entry.not_before) = (0, now);
            }
        }
        let due: BTreeSet<&Device> = found.iter().map(|(device, _)| device).collect();
        for device in asked.iter().filter(|device| !due.contains(device)) {
            if let Some(entry) = self.entries.get_mut(device) {
                entry.rest(now, self.look);
            }
        }
        let mut waiting = Vec::with_capacity(found.len());
        for (device, rank) in found {
            let Some(entry) = self.entries.get_mut(&device).filter(|entry| !entry.runs) else {
                continue;
            };
            entry.idle = 0;
            let since = *entry.since.get_or_insert(now);
            waiting.push((rank, since, device));
        }
        waiting.sort();
        let is_crowded = waiting.len() > room;
        waiting.truncate(room);
        let mut visits = Vec::with_capacity(waiting.len());
        for (_, _, device) in waiting {
            if let Some(entry) = self.entries.get_mut(&device) {
                (entry.runs, entry.since) = (true, None);
                visits.push((device, entry.epoch));
            }
        }
        (visits, is_crowded)
    }

    /// A visit is over.
    pub fn ended(&mut self, now: Instant, device: &Device, epoch: u64, ended: Ended) {
        let look = self.look;
        let entry = self.entries.get_mut(device).filter(|entry| entry.epoch == epoch);
        let Some(entry) = entry else { return };
        entry.runs = false;
        match ended {
            Ended::Turn => entry.not_before = now,
            Ended::Idle => entry.rest(now, look),
            Ended::Cut => entry.not_before = now + look * 4,
        }
    }
}

impl Entry {
    fn rest(&mut self, now: Instant, look: Duration) {
        self.since = None;
        self.not_before = now + look * (1 << self.idle);
        self.idle = (self.idle + 1).min(MOST_IDLE);
    }
}

#[cfg(test)]
mod tests {
    use super::{Book, Ended};
    use domain::Device;
    use std::time::{Duration, Instant};

    const S: Duration = Duration::from_secs(1);

    fn device(name: &str) -> Device {
        Device::Concentrator(name.to_owned())
    }

    fn seen(names: &str) -> Vec<(Device, u64)> {
        names.chars().map(|name| (device(&name.to_string()), 7)).collect()
    }

    fn names(devices: &[Device]) -> String {
        devices.iter().map(Device::name).collect()
    }

    #[test]
    fn what_goes_first_is_visited_first_and_never_more_than_there_is_room() {
        let (now, mut book) = (Instant::now(), Book::new(S));
        let asked = book.worth(now, seen("ABC"), 8);
        assert_eq!(names(&asked), "ABC");
        let found = vec![(device("A"), 4), (device("B"), 4), (device("C"), 0)];
        let (visits, is_crowded) = book.due(now, &asked, 1, found, 2);
        assert_eq!((visits, is_crowded), (vec![(device("C"), 7), (device("A"), 7)], true));
        // B has waited longer than A, which comes back for more.
        book.ended(now + S, &device("A"), 7, Ended::Turn);
        let asked = book.worth(now + S, seen("ABC"), 8);
        assert_eq!(names(&asked), "AB", "C is being visited");
        let found = vec![(device("A"), 4), (device("B"), 4)];
        let (visits, is_crowded) = book.due(now + S, &asked, 1, found, 1);
        assert_eq!((visits, is_crowded), (vec![(device("B"), 7)], true));
    }

    #[test]
    fn a_device_with_nothing_to_do_is_asked_less_often_until_a_run_begins() {
        let (mut now, mut book) = (Instant::now(), Book::new(S));
        for pause in [1, 2, 4, 8, 16, 32, 32] {
            let asked = book.worth(now, seen("A"), 8);
            assert_eq!(names(&asked), "A");
            assert_eq!(book.due(now, &asked, 1, Vec::new(), 8), (Vec::new(), false));
            assert!(book.worth(now + (pause - 1) * S, seen("A"), 8).is_empty());
            now += pause * S;
        }
        let asked = book.worth(now, seen("A"), 8);
        book.due(now, &asked, 1, Vec::new(), 8);
        assert!(book.worth(now + S, seen("A"), 8).is_empty());
        book.due(now + S, &[], 2, Vec::new(), 8);
        assert_eq!(names(&book.worth(now + S, seen("A"), 8)), "A");
    }

    #[test]
    fn a_lost_channel_rests_and_a_new_epoch_begins_anew() {
        let (now, mut book) = (Instant::now(), Book::new(S));
        let asked = book.worth(now, seen("A"), 8);
        book.due(now, &asked, 1, vec![(device("A"), 0)], 8);
        book.ended(now, &device("A"), 7, Ended::Cut);
        assert!(book.worth(now + 3 * S, seen("A"), 8).is_empty());
        assert_eq!(names(&book.worth(now + 3 * S, vec![(device("A"), 8)], 8)), "A");
        book.ended(now + 3 * S, &device("A"), 7, Ended::Cut);
        assert_eq!(names(&book.worth(now + 3 * S, vec![(device("A"), 8)], 8)), "A");
        assert_eq!(names(&book.worth(now + 3 * S, seen("BC"), 1)), "B", "a bounded number");
        assert_eq!(book.entries.len(), 2);
    }
}
