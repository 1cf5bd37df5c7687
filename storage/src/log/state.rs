//! What callers and the writer of the log share: the index of records, the cache of the newest,
//! the bounded queue, the first fault.
//!
//! Invariants: a record is readable from the moment it is appended; what is not yet on disk is
//! always in the cache; the first fault stays.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::recover::{Found, Place};
use super::writer::Settled;
use super::{Done, Record};
use crate::error::{Error, Result};

/// Octets of the largest small value.
const LARGEST_META: usize = 4096;

/// What the writer has to do.
pub enum Work {
    /// Write these; the first was given this ticket, the others follow.
    Records {
        /// In order.
        records: Vec<Record>,
        /// Ticket of the first.
        ticket: u64,
    },
    /// Keep a small value.
    Meta {
        /// Key.
        key: u8,
        /// Value.
        value: Vec<u8>,
    },
    /// Drop all after the index; `None`: all.
    Truncate(Option<u64>),
    /// Drop all up to the index.
    Purge(u64),
}

/// Work, its weight, whom to tell.
pub struct Command {
    /// What to do.
    pub work: Work,
    /// Octets in the queue.
    pub octets: u64,
    /// Whom to tell.
    pub done: Done,
    /// When it was asked for.
    pub since: Instant,
}

enum At {
    /// In the queue, under this ticket.
    Pending(u64),
    Disk(Place),
}

struct Slot {
    at: At,
    cached: Option<Bytes>,
}

/// Where to read a record from.
pub enum Source {
    /// It is still in memory.
    Memory(Bytes),
    /// It stands in this file.
    Disk(Arc<File>, Place),
}

#[derive(Default)]
struct State {
    first: u64,
    slots: VecDeque<Slot>,
    purged: Option<u64>,
    metas: BTreeMap<u8, Vec<u8>>,
    /// Small values that go out with the next work, the newest of each key.
    noted: BTreeMap<u8, Vec<u8>>,
    ticket: u64,
    cached_octets: u64,
    /// No record below this index is cached.
    cached_from: u64,
    queue: VecDeque<Command>,
    queued_octets: u64,
    files: BTreeMap<u32, Arc<File>>,
    fault: Option<Error>,
    stopping: bool,
}

/// The shared part.
pub struct Shared {
    state: Mutex<State>,
    work: Condvar,
    room: Condvar,
    queue_octets: u64,
    cache_octets: u64,
    wait: Duration,
    largest: usize,
    /// Told of work when no thread waits for it.
    #[cfg(feature = "simulation")]
    by_hand: std::sync::OnceLock<super::by_hand::Woken>,
}

/// The limits of a log.
pub struct Limits {
    /// Octets that may wait.
    pub queue_octets: u64,
    /// Octets of records kept in memory.
    pub cache_octets: u64,
    /// How long a full queue holds its caller.
    pub wait: Duration,
    /// Octets of the largest payload.
    pub largest: usize,
}

impl Shared {
    /// Starts from what the files hold.
    pub fn new(found: &Found, files: BTreeMap<u32, Arc<File>>, limits: &Limits) -> Self {
        let slots =
            found.places.iter().map(|place| Slot { at: At::Disk(*place), cached: None }).collect();
        let state = State {
            first: found.first,
            slots,
            purged: found.purged,
            metas: found.metas.clone(),
            cached_from: found.first + found.places.len() as u64,
            files,
            ..State::default()
        };
        Self {
            state: Mutex::new(state),
            work: Condvar::new(),
            room: Condvar::new(),
            queue_octets: limits.queue_octets,
            cache_octets: limits.cache_octets,
            wait: limits.wait,
            largest: limits.largest,
            #[cfg(feature = "simulation")]
            by_hand: std::sync::OnceLock::new(),
        }
    }

    /// From now on work is told to `woken` and fetched with `take_now`.
    #[cfg(feature = "simulation")]
    pub fn tell(&self, woken: super::by_hand::Woken) {
        // Set once, before the log is handed out.
        let _set_already = self.by_hand.set(woken);
    }

    /// As `take`, without waiting: nothing when nothing is to be done.
    #[cfg(feature = "simulation")]
    pub fn take_now(&self, batch_octets: u64) -> Vec<Command> {
        if self.lock().queue.is_empty() {
            return Vec::new();
        }
        self.take(batch_octets).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held ends in the writer's guard, which sets the fault.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the lock when the queue has room; the fault when there is one.
    fn admit(&self) -> Result<MutexGuard<'_, State>> {
        let full = |state: &mut State| {
            state.queued_octets >= self.queue_octets && state.fault.is_none() && !state.stopping
        };
        let (state, waited) = self
            .room
            .wait_timeout_while(self.lock(), self.wait, full)
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(fault) = &state.fault {
            return Err(fault.clone());
        }
        if state.stopping {
            return Err(Error::Stopped("the log"));
        }
        if waited.timed_out() {
            return Err(Error::misuse("wal_stalled", "the disk does not keep up"));
        }
        Ok(state)
    }

    /// Takes records in; calls back at once only when they are refused.
    pub fn append(&self, records: Vec<Record>, done: Done) {
        let admitted = self.admit().and_then(|state| {
            state.check(&records, self.largest)?;
            Ok(state)
        });
        let mut state = match admitted {
            Ok(state) => state,
            Err(error) => return done(Err(error.into())),
        };
        let ticket = state.ticket;
        state.ticket += records.len() as u64;
        let mut octets = 64;
        if let Some(record) = records.first()
            && state.slots.is_empty()
        {
            state.first = record.index;
            state.cached_from = record.index;
        }
        for (record, ticket) in records.iter().zip(ticket..) {
            let length = record.payload.len() as u64;
            octets += length + 32;
            state.cached_octets += length;
            let cached = Some(record.payload.clone());
            state.slots.push_back(Slot { at: At::Pending(ticket), cached });
        }
        self.push(state, Work::Records { records, ticket }, octets, done);
    }

    /// Keeps a small value.
    pub fn save_meta(&self, key: u8, value: &[u8], done: Done) {
        if value.len() > LARGEST_META {
            return done(Err(Error::misuse("wal_meta", "a small value above 4 KiB").into()));
        }
        match self.admit() {
            Ok(mut state) => {
                state.metas.insert(key, value.to_vec());
                state.noted.remove(&key);
                let work = Work::Meta { key, value: value.to_vec() };
                self.push(state, work, 64 + value.len() as u64, done);
            }
            Err(error) => done(Err(error.into())),
        }
    }

    /// Keeps a small value without a sync of its own.
    pub fn note_meta(&self, key: u8, value: &[u8]) -> Result<()> {
        if value.len() > LARGEST_META {
            return Err(Error::misuse("wal_meta", "a small value above 4 KiB"));
        }
        let mut state = self.lock();
        state.metas.insert(key, value.to_vec());
        state.noted.insert(key, value.to_vec());
        Ok(())
    }

    /// Drops records after the index; nothing to do is done at once.
    pub fn truncate_after(&self, index: Option<u64>, done: Done) {
        let mut state = match self.admit() {
            Ok(state) => state,
            Err(error) => return done(Err(error.into())),
        };
        if index < state.purged && !state.slots.is_empty() {
            drop(state);
            let detail = "records before the purge cannot be the new end";
            return done(Err(Error::misuse("wal_truncate", detail).into()));
        }
        let keep = index.map_or(0, |index| index.saturating_add(1).saturating_sub(state.first));
        let keep = usize::try_from(keep).unwrap_or(usize::MAX);
        if keep >= state.slots.len() {
            drop(state);
            return done(Ok(()));
        }
        while state.slots.len() > keep {
            let slot = state.slots.pop_back();
            state.forget(slot);
        }
        state.cached_from = state.cached_from.min(state.end());
        self.push(state, Work::Truncate(index), 64, done);
    }

    /// Drops records up to the index; nothing to do is done at once.
    pub fn purge_to(&self, index: u64, done: Done) {
        let mut state = match self.admit() {
            Ok(state) => state,
            Err(error) => return done(Err(error.into())),
        };
        if state.purged >= Some(index) {
            drop(state);
            return done(Ok(()));
        }
        state.purged = Some(index);
        while !state.slots.is_empty() && state.first <= index {
            let slot = state.slots.pop_front();
            state.first += 1;
            state.forget(slot);
        }
        state.cached_from = state.cached_from.max(state.first);
        self.push(state, Work::Purge(index), 64, done);
    }

    fn push(&self, mut state: MutexGuard<'_, State>, work: Work, octets: u64, done: Done) {
        state.queued_octets += octets;
        state.queue.push_back(Command { work, octets, done, since: Instant::now() });
        drop(state);
        self.work.notify_one();
        #[cfg(feature = "simulation")]
        if let Some(woken) = self.by_hand.get() {
            woken();
        }
    }

    /// The writer's side: waits for work; `None` when all is written and the log is stopped.
    pub fn take(&self, batch_octets: u64) -> Option<Vec<Command>> {
        let idle = |state: &mut State| state.queue.is_empty() && !state.stopping;
        let mut state =
            self.work.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        let mut commands = Vec::new();
        let mut octets = 0;
        while let Some(command) = state.queue.pop_front() {
            octets += command.octets;
            commands.push(command);
            if octets >= batch_octets {
                break;
            }
        }
        // Behind everything that was asked for before them: a note may speak of a record, and must
        // not reach the disk before it.
        let noted =
            if state.queue.is_empty() { std::mem::take(&mut state.noted) } else { BTreeMap::new() };
        for (key, value) in noted {
            let (work, done): (_, Done) = (Work::Meta { key, value }, Box::new(|_| {}));
            commands.push(Command { work, octets: 0, done, since: Instant::now() });
        }
        (!commands.is_empty()).then_some(commands)
    }

    /// The writer's side: these are on disk.
    pub fn settle(&self, settled: &[Settled], commands: &[Command]) {
        let mut state = self.lock();
        for done in settled {
            let at = done.index.wrapping_sub(state.first);
            // A record that was truncated meanwhile is gone, or another has its index now.
            if let Some(slot) = usize::try_from(at).ok().and_then(|at| state.slots.get_mut(at))
                && matches!(slot.at, At::Pending(ticket) if ticket == done.ticket)
            {
                slot.at = At::Disk(done.place);
            }
        }
        state.queued_octets -= commands.iter().map(|command| command.octets).sum::<u64>();
        state.shrink_cache(self.cache_octets);
        drop(state);
        self.room.notify_all();
    }

    /// Sets the first fault and tells it to everybody who waits, in order.
    pub fn fail(&self, error: Error, commands: Vec<Command>) {
        let mut state = self.lock();
        let fault = state.fault.get_or_insert(error).clone();
        let waiting: Vec<Command> = commands.into_iter().chain(state.queue.drain(..)).collect();
        state.queued_octets = 0;
        drop(state);
        self.room.notify_all();
        for command in waiting {
            (command.done)(Err(fault.clone().into()));
        }
    }

    /// No more calls are taken; the writer ends when it has written what waits.
    pub fn stop(&self) {
        self.lock().stopping = true;
        self.work.notify_all();
        self.room.notify_all();
    }

    /// Where to read the records of a range from: at least one, then up to `max_octets`.
    pub fn sources(&self, from: u64, to: u64, max_octets: usize) -> io::Result<Vec<(u64, Source)>> {
        let state = self.lock();
        if let Some(fault) = &state.fault
            && !matches!(fault, Error::Stopped(_))
        {
            return Err(fault.clone().into());
        }
        let mut sources = Vec::new();
        let mut octets = 0;
        for index in from.max(state.first)..to.min(state.end()) {
            let at = usize::try_from(index - state.first).unwrap_or(usize::MAX);
            let Some(slot) = state.slots.get(at) else { break };
            let (source, length) = match (&slot.cached, &slot.at) {
                (Some(payload), _) => (Source::Memory(payload.clone()), payload.len()),
                (None, At::Disk(place)) => {
                    let Some(file) = state.files.get(&place.segment) else { break };
                    (Source::Disk(file.clone(), *place), place.octets as usize)
                }
                (None, At::Pending(_)) => break,
            };
            octets += length;
            if octets > max_octets && !sources.is_empty() {
                break;
            }
            sources.push((index, source));
        }
        Ok(sources)
    }

    /// A small value.
    pub fn meta(&self, key: u8) -> Option<Vec<u8>> {
        self.lock().metas.get(&key).cloned()
    }

    /// First and last index, and the purged one.
    pub fn bounds(&self) -> (Option<u64>, Option<u64>, Option<u64>) {
        let state = self.lock();
        let held = !state.slots.is_empty();
        (held.then_some(state.first), held.then(|| state.end() - 1), state.purged)
    }

    /// The first fault.
    pub fn fault(&self) -> Option<Error> {
        self.lock().fault.clone()
    }

    /// A file may be read from.
    pub fn open_file(&self, number: u32, file: Arc<File>) {
        self.lock().files.insert(number, file);
    }

    /// A file is about to go.
    pub fn close_file(&self, number: u32) {
        self.lock().files.remove(&number);
    }
}

impl State {
    fn end(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    fn check(&self, records: &[Record], largest: usize) -> Result<()> {
        let Some(first) = records.first() else { return Ok(()) };
        let expect = if self.slots.is_empty() { first.index } else { self.end() };
        for (record, expect) in records.iter().zip(expect..) {
            if record.index != expect {
                let detail = format!("record {} where {expect} has to follow", record.index);
                return Err(Error::misuse("wal_gap", detail));
            }
            if record.payload.len() > largest {
                let detail = format!("{} octets, at most {largest}", record.payload.len());
                return Err(Error::misuse("record_too_large", detail));
            }
        }
        match self.purged {
            Some(purged) if self.slots.is_empty() && first.index != purged + 1 => {
                let detail = format!("record {} after a purge to {purged}", first.index);
                Err(Error::misuse("wal_gap", detail))
            }
            _ => Ok(()),
        }
    }

    fn forget(&mut self, slot: Option<Slot>) {
        let cached = slot.and_then(|slot| slot.cached).map_or(0, |octets| octets.len() as u64);
        self.cached_octets -= cached;
    }

    /// Lets go of the oldest cached records that are on disk.
    fn shrink_cache(&mut self, limit: u64) {
        while self.cached_octets > limit && self.cached_from < self.end() {
            let at = usize::try_from(self.cached_from.saturating_sub(self.first));
            let Some(slot) = at.ok().and_then(|at| self.slots.get_mut(at)) else { return };
            if matches!(slot.at, At::Pending(_)) {
                return;
            }
            let cached = slot.cached.take().map_or(0, |octets| octets.len() as u64);
            self.cached_octets -= cached;
            self.cached_from += 1;
        }
    }
}
