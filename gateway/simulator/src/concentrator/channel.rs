//! Which line carries data, what is in flight there, and what happens when it is lost
//! (docs/reference/concentrator.md, activation, acknowledgement, failover).
//!
//! It decides; sealing and queueing is the concentrator's. Invariants: pushes are in flight on the
//! active line only, oldest first; after every activation all that is unacknowledged goes again.

use std::time::{Duration, Instant};

use cosem::{Data, DataAccessError};

use super::{Concentrator, Now, Role};
use crate::happenings::{self, What, code};
use crate::push;
use crate::state::Stretch;
use crate::tally::Count;
use crate::witness::{Title, Verdict};

/// Longest time between two promotes while nobody activates.
const PROMOTE_MAX: Duration = Duration::from_secs(10);
/// Push setup of *promote*.
const PROMOTE: [u8; 6] = [0, 8, 25, 9, 0, 255];

/// Why the active channel was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    Closed = 1,
    NoAnswer = 2,
}

#[derive(Clone, Copy, Debug)]
struct Lost {
    line: usize,
    loss: Loss,
    attempts: u32,
    next_at: Instant,
}

/// The state of the active channel.
#[derive(Debug, Default)]
pub struct Channel {
    active: Option<usize>,
    in_flight: usize,
    sent_high: u32,
    progress_at: Option<Instant>,
    lost: Option<Lost>,
}

impl Channel {
    /// The active line.
    pub fn active(&self) -> Option<usize> {
        self.active
    }

    /// A connection ended.
    pub fn line_closed(&mut self, line: usize, now: Instant) {
        if self.active == Some(line) {
            self.lose(line, Loss::Closed, now);
        }
    }

    /// A line became usable for a promote.
    pub fn line_associated(&mut self, now: Instant) {
        if let Some(lost) = &mut self.lost {
            lost.next_at = now;
        }
    }

    /// When an answer is overdue or a promote is due.
    pub fn poll_timeout(&self, answer: Duration) -> Option<Instant> {
        let overdue = self.progress_at.filter(|_| self.in_flight > 0).map(|at| at + answer);
        [overdue, self.lost.map(|lost| lost.next_at)].into_iter().flatten().min()
    }

    fn lose(&mut self, line: usize, loss: Loss, now: Instant) {
        self.active = None;
        self.in_flight = 0;
        self.progress_at = None;
        self.lost = Some(Lost { line, loss, attempts: 0, next_at: now });
    }

    fn activate(&mut self, line: usize) {
        *self = Self { active: Some(line), sent_high: self.sent_high, ..Self::default() };
    }
}

impl Concentrator {
    /// SET *active channel*.
    pub(super) fn activate(
        &mut self,
        line: usize,
        client: Title,
        value: &Data,
        now: Now,
    ) -> Result<(), DataAccessError> {
        let epoch = value.as_structure().and_then(|fields| match fields {
            [epoch] => epoch.as_u64().and_then(|epoch| u32::try_from(epoch).ok()),
            _ => None,
        });
        let epoch = epoch.ok_or(DataAccessError::TypeUnmatched)?;
        let before = self.epochs;
        match self.epochs.activate(epoch, client) {
            Verdict::Accept => {}
            Verdict::Stale => {
                self.settings.tally.one(Count::StaleEpochs);
                return Err(DataAccessError::ReadWriteDenied);
            }
            Verdict::SecondHolder => {
                self.second_holder(epoch, client);
                return Err(DataAccessError::ReadWriteDenied);
            }
        }
        if !self.keep() {
            self.epochs = before;
            return Err(DataAccessError::TemporaryFailure);
        }
        self.settings.tally.one(Count::Activations);
        tracing::debug!(concentrator = %self.model.ldn, line, epoch, "activated");
        // A new epoch is a new owner, though the connection be the same: it gets everything anew.
        if self.channel.active() != Some(line) || epoch > before.highest {
            let restored = self.channel.lost.is_some();
            self.channel.activate(line);
            if restored {
                self.happened(code::CHANNEL_RESTORED, now);
            }
        }
        Ok(())
    }

    fn second_holder(&self, epoch: u32, client: Title) {
        if self.role == Role::Genuine {
            let holder = self.epochs.holder.map(super::title_text).unwrap_or_default();
            let client = super::title_text(client);
            self.settings.tally.violation(format!(
                "{}: epoch {epoch} of {holder} was claimed by {client} too",
                self.model.ldn
            ));
        }
    }

    /// SET *last stored sequence*: the acknowledgement.
    pub(super) fn acknowledged(
        &mut self,
        line: usize,
        value: &Data,
        now: Now,
    ) -> Result<(), DataAccessError> {
        let sequence = value.as_u64().and_then(|n| u32::try_from(n).ok());
        let sequence = sequence.ok_or(DataAccessError::TypeUnmatched)?;
        if self.channel.active() != Some(line) {
            self.settings.tally.one(Count::AcknowledgementsRefused);
            return Err(DataAccessError::ReadWriteDenied);
        }
        if sequence >= self.memory.next_sequence {
            return self.resume_above(sequence);
        }
        let due = |stretch: &&Stretch| stretch.sequence <= sequence;
        let done: Vec<Stretch> =
            self.memory.unacknowledged.iter().take_while(due).copied().collect();
        if !self.record(&done) {
            return Err(DataAccessError::TemporaryFailure);
        }
        push::acknowledge(&mut self.memory, sequence);
        self.channel.in_flight = self.channel.in_flight.saturating_sub(done.len());
        self.channel.progress_at = Some(now.instant);
        self.keep_soon(now);
        Ok(())
    }

    /// The head-end has stored more than this memory knows of: go on above it. What is not yet
    /// acknowledged gets new sequences, in the same order.
    fn resume_above(&mut self, sequence: u32) -> Result<(), DataAccessError> {
        let waiting = u32::try_from(self.memory.unacknowledged.len()).unwrap_or(u32::MAX);
        let next = sequence.checked_add(waiting).and_then(|n| n.checked_add(1));
        let Some(next) = next.filter(|_| self.channel.in_flight == 0) else {
            self.settings.tally.one(Count::AcknowledgementsRefused);
            return Err(DataAccessError::ScopeOfAccessViolated);
        };
        for (stretch, number) in self.memory.unacknowledged.iter_mut().zip(sequence + 1..) {
            stretch.sequence = number;
        }
        self.memory.next_sequence = next;
        if self.keep() { Ok(()) } else { Err(DataAccessError::TemporaryFailure) }
    }

    /// Counts acknowledged pushes and writes them to the journal. False when it cannot be written.
    fn record(&mut self, done: &[Stretch]) -> bool {
        for stretch in done {
            match stretch.what {
                What::Profile => {}
                What::Meters(_) => {
                    let events = happenings::meters(&self.model, stretch, &self.memory);
                    self.settings.tally.add(Count::MeterEvents, events.len() as u64);
                    continue;
                }
                What::Own(_) => {
                    self.settings.tally.one(Count::OwnEvents);
                    continue;
                }
            }
            let rows: Vec<_> = push::rows(&self.model, stretch, &self.memory.meters)
                .into_iter()
                .flat_map(|(serial, rows)| rows.into_iter().map(move |r| (serial.clone(), r)))
                .collect();
            let journal = self.settings.journal.as_ref().filter(|_| self.role == Role::Genuine);
            let written = journal
                .map_or(Ok(()), |j| j.acknowledged(&self.model.ldn, stretch.sequence, &rows));
            if let Err(error) = written {
                self.fault = Some(error);
                return false;
            }
            self.settings.tally.one(Count::Acknowledged);
            self.settings.tally.add(Count::RowsAcknowledged, rows.len() as u64);
        }
        true
    }

    /// Notices a lost channel, and tells the standby about it.
    pub(super) fn channel_if_due(&mut self, now: Now) {
        let overdue = self.channel.in_flight > 0
            && self.channel.progress_at.is_some_and(|at| now.instant >= at + self.answer_time());
        if let Some(line) = self.channel.active.filter(|_| overdue) {
            tracing::debug!(concentrator = %self.model.ldn, line, "no answer");
            self.channel.lose(line, Loss::NoAnswer, now.instant);
            self.happened(code::CHANNEL_LOST, now);
            if let Some(state) = self.lines.get_mut(line) {
                // A black hole stays open until its own time; a real peer is dialled anew.
                state.close_at.get_or_insert(now.instant);
            }
        }
        let Some(lost) = self.channel.lost.filter(|lost| lost.next_at <= now.instant) else {
            return;
        };
        self.promote(lost, now);
    }

    fn promote(&mut self, lost: Lost, now: Now) {
        let usable = |line: &usize| {
            self.client(*line).is_some()
                && self.lines.get(*line).is_some_and(|state| !state.is_muted(now.instant))
        };
        let other = 1 - lost.line.min(1);
        let mut lines: Vec<usize> = [other, lost.line].into_iter().filter(usable).collect();
        lines.retain(|line| *line == other || lost.loss == Loss::Closed || lost.attempts > 0);
        let pause = self.answer_time().saturating_mul(1 << lost.attempts.min(8)).min(PROMOTE_MAX);
        let target = lines.get(lost.attempts as usize % lines.len().max(1)).copied();
        let attempts = lost.attempts + u32::from(target.is_some());
        self.channel.lost = Some(Lost { attempts, next_at: now.instant + pause, ..lost });
        let Some(line) = target else { return };
        let body = Data::Structure(vec![
            Data::octets(self.model.ldn.as_bytes()),
            Data::octets(&PROMOTE),
            Data::U32(self.epochs.highest),
            Data::Enum(lost.loss as u8),
        ]);
        self.settings.tally.one(Count::Promotes);
        tracing::debug!(concentrator = %self.model.ldn, line, reason = ?lost.loss, "promote");
        self.notify(line, body);
    }

    /// Sends what may be sent on the active line.
    pub(super) fn pump(&mut self, now: Now) {
        let Some(line) = self.channel.active else { return };
        while self.channel.in_flight < self.settings.window
            && self.lines.get(line).is_some_and(super::Line::has_room)
        {
            let Some(stretch) = self.next_push(now) else { return };
            if !self.send_stretch(line, &stretch) {
                return;
            }
            let again = stretch.sequence <= self.channel.sent_high;
            let what = if again { Count::Retransmissions } else { Count::Pushes };
            self.settings.tally.one(what);
            self.channel.sent_high = self.channel.sent_high.max(stretch.sequence);
            if self.channel.in_flight == 0 {
                self.channel.progress_at = Some(now.instant);
            }
            self.channel.in_flight += 1;
        }
    }

    fn send_stretch(&mut self, line: usize, stretch: &Stretch) -> bool {
        match stretch.what {
            What::Profile => {
                let rows = push::rows(&self.model, stretch, &self.memory.meters);
                let body = push::body(&self.model.ldn, stretch, &rows);
                self.notify(line, body)
            }
            What::Meters(_) => {
                let events = happenings::meters(&self.model, stretch, &self.memory);
                let body = happenings::body(&self.model.ldn, stretch, &events);
                self.notify(line, body)
            }
            What::Own(code) => {
                let event = happenings::notification(&self.model, stretch, code);
                self.notify_event(line, event)
            }
        }
    }

    /// Notes an event of its own, when it reports such.
    pub(super) fn happened(&mut self, code: u8, now: Now) {
        if self.settings.own_events && self.role == Role::Genuine {
            happenings::note(&mut self.memory, now.real_us.div_euclid(1_000_000), code, None);
        }
    }

    /// The oldest push that is not in flight; a new one is planned and kept first.
    fn next_push(&mut self, now: Now) -> Option<Stretch> {
        if let Some(stretch) = self.memory.unacknowledged.get(self.channel.in_flight) {
            return Some(*stretch);
        }
        let now_s = self.pushable_s(self.field_now_s(now));
        let meters = u32::try_from(self.model.meters.len()).unwrap_or(u32::MAX);
        let interval_s = self.settings.interval_s;
        let true_s = now.real_us.div_euclid(1_000_000);
        if let Some(stretch) = happenings::plan(&mut self.memory, true_s, meters) {
            return self.keep().then_some(stretch);
        }
        let (stretch, expired) =
            push::plan(&mut self.memory, self.first_s, now_s, interval_s, meters);
        self.settings.tally.add(Count::RowsExpired, expired);
        let stretch = stretch?;
        self.keep().then_some(stretch)
    }

    /// When the field captures its next row.
    pub(super) fn next_capture(&self, now: Now) -> Option<Instant> {
        self.channel.active?;
        if self.channel.in_flight >= self.settings.window {
            return None;
        }
        let period = i64::from(self.settings.interval_s.max(1));
        let planned = self.memory.planned_to_s.unwrap_or(self.first_s);
        let next_s = (planned.div_euclid(period) + 1) * period;
        let next_us = self.push_due_s(next_s) * 1_000_000;
        let mut wait = self.clock.until_us(now.real_us, next_us);
        if let Some(next_s) = happenings::next_s(&self.memory) {
            wait = wait.min(next_s * 1_000_000 - now.real_us);
        }
        let wait = wait.max(1_000);
        Some(now.instant + Duration::from_micros(wait.unsigned_abs()))
    }
}
