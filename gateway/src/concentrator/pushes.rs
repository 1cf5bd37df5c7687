//! The window of profile pushes of one active channel: which sequence comes next, which are stored,
//! which may be acknowledged. It knows no frames and no rows.
//!
//! Invariants: 1. at most `window` pushes are in flight; 2. `acknowledge` never names a sequence
//! while one before it is not settled; 3. one acknowledgement is on its way at a time, later ones
//! are folded into the next.

use std::collections::VecDeque;
use std::time::Instant;

/// What to do with a push that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// Store it.
    New,
    /// It is being stored or was: ignore the octets, acknowledge again when it is done.
    Again,
    /// One before it is missing: the stream is broken.
    Gap,
}

#[derive(Debug)]
struct Slot {
    sequence: u32,
    came: Instant,
    /// What is not answered yet: the push itself while it is in hand, then its parts.
    waiting: u32,
    stored: u32,
    refused: u32,
}

/// How a push ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Other parts of the push still wait.
    NotYet,
    /// Every part was stored.
    Stored,
    /// Some parts were refused.
    Partly,
    /// Every part was refused.
    Refused,
}

/// The window.
#[derive(Debug)]
pub(crate) struct Pushes {
    window: usize,
    /// In rising order of sequence, without gaps; the front is the oldest not yet acknowledgeable.
    slots: VecDeque<Slot>,
    /// The next sequence; None before the first push of this activation.
    next: Option<u32>,
    /// Highest sequence that is settled without a gap.
    settled: Option<u32>,
    /// When the pushes came that the next acknowledgement covers.
    arrivals: Vec<Instant>,
    sent: Option<u32>,
    confirmed: Option<u32>,
    repeat: bool,
}

impl Pushes {
    /// An empty window for `window` pushes.
    pub fn new(window: usize) -> Self {
        Self {
            window,
            slots: VecDeque::new(),
            next: None,
            settled: None,
            arrivals: Vec::new(),
            sent: None,
            confirmed: None,
            repeat: false,
        }
    }

    /// True when no push can be taken in now: the socket must not be read.
    pub fn is_full(&self) -> bool {
        self.slots.len() >= self.window
    }

    /// Judges a push by its sequence. A `New` one waits for one `settle`: of the push itself, or
    /// `Divided` when it went to the cluster in several parts (see `expect`).
    ///
    /// The first push after an activation sets the base: the concentrator begins with the oldest
    /// that was not acknowledged to it.
    pub fn offer(&mut self, sequence: u32, now: Instant) -> Offer {
        match self.next {
            Some(next) if sequence < next => {
                self.repeat = true;
                return Offer::Again;
            }
            Some(next) if sequence > next => return Offer::Gap,
            _ => {}
        }
        self.next = Some(sequence.saturating_add(1));
        self.slots.push_back(Slot { sequence, came: now, waiting: 1, stored: 0, refused: 0 });
        Offer::New
    }

    /// So many more parts of this push wait for an answer.
    pub fn expect(&mut self, sequence: u32, parts: u32) {
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.sequence == sequence) {
            slot.waiting += parts;
        }
    }

    /// One part was stored (`true`) or refused. Call `expect` for its pieces before, when it was
    /// divided.
    pub fn settle(&mut self, sequence: u32, part: Part) -> Settled {
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.sequence == sequence) else {
            return Settled::NotYet;
        };
        slot.waiting = slot.waiting.saturating_sub(1);
        match part {
            Part::Stored => slot.stored += 1,
            Part::Refused => slot.refused += 1,
            Part::Divided => {}
        }
        if slot.waiting > 0 {
            return Settled::NotYet;
        }
        let settled = match (slot.stored, slot.refused) {
            (_, 0) => Settled::Stored,
            (0, _) => Settled::Refused,
            _ => Settled::Partly,
        };
        while self.slots.front().is_some_and(|slot| slot.waiting == 0) {
            if let Some(slot) = self.slots.pop_front() {
                self.settled = Some(slot.sequence);
                self.arrivals.push(slot.came);
            }
        }
        settled
    }

    /// The sequence to acknowledge now, with the arrivals that it covers for the first time. None
    /// while one is on its way or nothing is new.
    pub fn acknowledge(&mut self) -> Option<(u32, Vec<Instant>)> {
        if self.sent.is_some() {
            return None;
        }
        let settled = self.settled?;
        if self.confirmed == Some(settled) && !self.repeat {
            return None;
        }
        self.repeat = false;
        self.sent = Some(settled);
        Some((settled, std::mem::take(&mut self.arrivals)))
    }

    /// The concentrator has taken the acknowledgement that was on its way.
    pub fn confirm(&mut self) {
        self.confirmed = self.sent.take().or(self.confirmed);
    }
}

/// What became of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Committed.
    Stored,
    /// Refused by rule, for good.
    Refused,
    /// Refused whole, and handed in again in smaller pieces.
    Divided,
}

#[cfg(test)]
mod tests {
    use super::{Offer, Part, Pushes, Settled};
    use std::time::Instant;

    fn acknowledged(pushes: &mut Pushes) -> Option<u32> {
        pushes.acknowledge().map(|(sequence, _)| sequence)
    }

    #[test]
    fn only_the_highest_contiguous_sequence_is_acknowledged() {
        let now = Instant::now();
        let mut pushes = Pushes::new(4);
        for sequence in 7..=10 {
            assert_eq!(pushes.offer(sequence, now), Offer::New);
        }
        assert!(pushes.is_full());
        assert_eq!(pushes.settle(8, Part::Stored), Settled::Stored);
        assert_eq!(acknowledged(&mut pushes), None, "7 is still on its way");
        assert_eq!(pushes.settle(7, Part::Stored), Settled::Stored);
        assert_eq!(acknowledged(&mut pushes), Some(8));
        pushes.settle(9, Part::Stored);
        assert_eq!(acknowledged(&mut pushes), None, "one acknowledgement at a time");
        pushes.confirm();
        pushes.settle(10, Part::Refused);
        assert_eq!(acknowledged(&mut pushes), Some(10), "a refused push does not block the rest");
        pushes.confirm();
        assert_eq!(acknowledged(&mut pushes), None);
    }

    #[test]
    fn a_gap_is_seen_and_a_repetition_is_acknowledged_again() {
        let now = Instant::now();
        let mut pushes = Pushes::new(4);
        assert_eq!(pushes.offer(1, now), Offer::New);
        assert_eq!(pushes.offer(1, now), Offer::Again);
        assert_eq!(acknowledged(&mut pushes), None);
        pushes.settle(1, Part::Stored);
        assert_eq!(acknowledged(&mut pushes), Some(1));
        pushes.confirm();
        assert_eq!(pushes.offer(1, now), Offer::Again);
        assert_eq!(acknowledged(&mut pushes), Some(1));
        assert_eq!(pushes.offer(3, now), Offer::Gap);
    }

    #[test]
    fn a_divided_push_waits_for_all_its_pieces() {
        let mut pushes = Pushes::new(1);
        pushes.offer(5, Instant::now());
        pushes.expect(5, 3);
        assert_eq!(pushes.settle(5, Part::Divided), Settled::NotYet);
        assert_eq!(pushes.settle(5, Part::Stored), Settled::NotYet);
        assert_eq!(pushes.settle(5, Part::Refused), Settled::NotYet);
        assert_eq!(acknowledged(&mut pushes), None);
        assert_eq!(pushes.settle(5, Part::Stored), Settled::Partly);
        assert_eq!(acknowledged(&mut pushes), Some(5));
        assert_eq!(pushes.settle(5, Part::Stored), Settled::NotYet, "a stray answer is nothing");
    }
}
