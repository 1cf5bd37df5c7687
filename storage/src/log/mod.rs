//! An append-only log of numbered records and a few small values, synced before it says done.
//!
//! One thread writes; whatever waits while it syncs goes out with the next sync (group commit).
//! The payloads are the caller's and never looked into. Not here: what a record means, terms,
//! who may truncate.
//!
//! Invariants:
//! 1. `done(Ok)` is called only after `fdatasync`, in the order of the calls.
//! 2. Records follow each other without a gap; after a purge the next one follows the purge.
//! 3. The first fault of the disk is sticky: every later call gets it. Nothing is retried,
//!    because after a failed sync nobody knows what the disk holds.
//! 4. A torn, never acknowledged tail is cut at the opening; other damage is `wal_damaged`.
//! 5. Calls never wait longer than `wal_wait` for room in the queue, and then fail.

#[cfg(feature = "simulation")]
pub mod by_hand;
mod frame;
mod recover;
mod state;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use bytes::Bytes;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::file;
use crate::metrics::Metrics;
use frame::{Home, Kind, Look};
use recover::{Head, Place};
use state::{Limits, Shared, Source};
use writer::{Start, Writer};

/// One record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its index; records follow each other without a gap.
    pub index: u64,
    /// What the caller wrote; at most a quarter of a file of the log.
    pub payload: Bytes,
}

/// Called once. `Ok`: on the writer's thread, in the order of the calls, when all is synced.
/// It must be quick and must not wait for the log itself.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// What an opened log was found to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovered {
    /// First index held.
    pub first: Option<u64>,
    /// Last index held.
    pub last: Option<u64>,
    /// Everything up to this index was purged.
    pub purged: Option<u64>,
    /// Octets of an unsynced tail that were cut.
    pub cut_octets: u64,
}

/// The log; cheap to clone. The last clone that is dropped stops the writer.
#[derive(Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    group: u32,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// The writer, when it has no thread.
    #[cfg(feature = "simulation")]
    hand: Option<Mutex<Writer>>,
}

impl Log {
    /// Opens the log in a folder, which is made when it is missing.
    ///
    /// # Errors
    /// `wal_damaged` when acknowledged records cannot be read back; the codes of the disk.
    pub fn open(
        dir: &Path,
        config: &Config,
        group: u32,
        metrics: &Metrics,
    ) -> Result<(Self, Recovered)> {
        let (shared, recovered, writer) = Self::prepare(dir, config, group, metrics)?;
        let thread = thread::Builder::new()
            .name("wal-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(Error::io("start the writer of", dir))?;
        let inner = Inner {
            shared,
            group,
            thread: Mutex::new(Some(thread)),
            #[cfg(feature = "simulation")]
            hand: None,
        };
        Ok((Self { inner: Arc::new(inner) }, recovered))
    }

    fn prepare(
        dir: &Path,
        config: &Config,
        group: u32,
        metrics: &Metrics,
    ) -> Result<(Arc<Shared>, Recovered, Writer)> {
        config.validate()?;
        file::make_dirs(dir)?;
        let found = recover::recover(dir, group)?;
        if found.cut_octets > 0 {
            tracing::info!(octets = found.cut_octets, "cut an unacknowledged tail of the log");
        }
        let largest = usize::try_from(config.wal_segment_octets / 4).unwrap_or(usize::MAX);
        let limits = Limits {
            queue_octets: config.wal_queue_octets,
            cache_octets: config.wal_cache_octets,
            wait: config.wal_wait,
            largest,
        };
        let shared = Arc::new(Shared::new(&found, open_files(dir, &found)?, &limits));
        let (first, last, purged) = shared.bounds();
        let recovered = Recovered { first, last, purged, cut_octets: found.cut_octets };
        let start = Start {
            dir: dir.to_path_buf(),
            group,
            segment_octets: config.wal_segment_octets,
            batch_octets: config.wal_batch_octets,
            segments: found.segments,
            next: found.next,
            head: Head::new(found.purged, found.metas),
        };
        let writer = Writer::new(start, shared.clone(), metrics.clone())?;
        Ok((shared, recovered, writer))
    }

    /// Appends records; they are readable at once and durable when `done` is called. Waits
    /// only while the queue is full. The first index has to follow the last one.
    ///
    /// # Errors
    /// Through `done`: `wal_gap`, `record_too_large`, `wal_stalled`, or the sticky fault.
    pub fn append(&self, records: Vec<Record>, done: Done) {
        self.inner.shared.append(records, done);
    }

    /// Drops every record after the index (`None`: all of them); durable when it returns.
    ///
    /// # Errors
    /// `wal_truncate` below the purge; the sticky fault.
    pub fn truncate_after(&self, index: Option<u64>) -> io::Result<()> {
        self.wait(|done| self.inner.shared.truncate_after(index, done))
    }

    /// As [`Log::truncate_after`], without waiting.
    pub fn truncate_after_then(&self, index: Option<u64>, done: Done) {
        self.inner.shared.truncate_after(index, done);
    }

    /// Drops every record up to the index, which may lie behind the last; durable when it
    /// returns. Whole files that are not needed any more go.
    ///
    /// # Errors
    /// The sticky fault.
    pub fn purge_to(&self, index: u64) -> io::Result<()> {
        self.wait(|done| self.inner.shared.purge_to(index, done))
    }

    /// As [`Log::purge_to`], without waiting.
    pub fn purge_to_then(&self, index: u64, done: Done) {
        self.inner.shared.purge_to(index, done);
    }

    /// Keeps a small value (at most 4 KiB) under a key; durable when it returns.
    ///
    /// # Errors
    /// `wal_meta` when it is too large; the sticky fault.
    pub fn save_meta(&self, key: u8, value: &[u8]) -> io::Result<()> {
        self.wait(|done| self.inner.shared.save_meta(key, value, done))
    }

    /// As [`Log::save_meta`], without waiting.
    pub fn save_meta_then(&self, key: u8, value: &[u8], done: Done) {
        self.inner.shared.save_meta(key, value, done);
    }

    /// Keeps a small value that may be lost in a crash: it goes to disk with the next work, and
    /// at the stop, so that it costs no sync of its own.
    ///
    /// # Errors
    /// `wal_meta` when it is too large (at most 4 KiB).
    pub fn note_meta(&self, key: u8, value: &[u8]) -> io::Result<()> {
        Ok(self.inner.shared.note_meta(key, value)?)
    }

    /// The newest value of a key, synced or not.
    pub fn meta(&self, key: u8) -> Option<Vec<u8>> {
        self.inner.shared.meta(key)
    }

    /// The records of a range (end excluded) that are held: at least one if there is one, then
    /// as many as `max_octets` of payload allow. Purged and unknown indexes are left out.
    ///
    /// # Errors
    /// `wal_damaged` when a record cannot be read back; the sticky fault.
    pub fn read(&self, range: Range<u64>, max_octets: usize) -> io::Result<Vec<Record>> {
        let sources = self.inner.shared.sources(range.start, range.end, max_octets)?;
        let mut records = Vec::with_capacity(sources.len());
        for (index, source) in sources {
            let payload = match source {
                Source::Memory(payload) => payload,
                Source::Disk(file, place) => self.read_place(&file, index, place)?,
            };
            records.push(Record { index, payload });
        }
        Ok(records)
    }

    /// As [`Log::read`], without the disk: `None` when one of those records is not in memory.
    ///
    /// # Errors
    /// The sticky fault.
    pub fn read_cached(
        &self,
        range: Range<u64>,
        max_octets: usize,
    ) -> io::Result<Option<Vec<Record>>> {
        let sources = self.inner.shared.sources(range.start, range.end, max_octets)?;
        let records = sources.into_iter().map(|(index, source)| match source {
            Source::Memory(payload) => Some(Record { index, payload }),
            Source::Disk(..) => None,
        });
        Ok(records.collect())
    }

    fn read_place(&self, file: &File, index: u64, place: Place) -> io::Result<Bytes> {
        let mut octets = vec![0; frame::HEAD_OCTETS + place.octets as usize];
        file.read_exact_at(&mut octets, u64::from(place.offset))?;
        let home = Home { group: self.inner.group, segment: place.segment };
        match frame::look(&octets, 0, home) {
            Look::Frame(frame, _) if frame.kind == Kind::Record && frame.index == index => {
                Ok(Bytes::from(octets).slice(frame::HEAD_OCTETS..))
            }
            _ => {
                let detail = format!("record {index} cannot be read back");
                let path = recover::path(Path::new(""), place.segment);
                Err(Error::damaged("wal_damaged", "the log", &path, detail).into())
            }
        }
    }

    /// First index held.
    pub fn first_index(&self) -> Option<u64> {
        self.inner.shared.bounds().0
    }

    /// Last index held, synced or not.
    pub fn last_index(&self) -> Option<u64> {
        self.inner.shared.bounds().1
    }

    /// Everything up to this index was purged.
    pub fn purged_index(&self) -> Option<u64> {
        self.inner.shared.bounds().2
    }

    /// The sticky fault, if there is one.
    pub fn fault(&self) -> Option<Error> {
        self.inner.shared.fault()
    }

    /// Writes what waits, then ends the writer. Later calls fail.
    pub fn stop(&self) {
        self.inner.stop();
    }

    fn wait(&self, call: impl FnOnce(Done)) -> io::Result<()> {
        let (send, receive) = mpsc::sync_channel(1);
        call(Box::new(move |result| {
            // The receiver waits below for as long as this sender lives.
            let _ = send.send(result);
        }));
        #[cfg(feature = "simulation")]
        while self.turn() {}
        receive.recv().unwrap_or_else(|_| Err(Error::Stopped("the log").into()))
    }
}

impl Inner {
    fn stop(&self) {
        self.shared.stop();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            // A callback may hold the last handle; the writer cannot wait for itself.
            && thread.thread().id() != thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the writer of the log ended by a panic");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last, purged) = self.inner.shared.bounds();
        f.debug_struct("Log")
            .field("first", &first)
            .field("last", &last)
            .field("purged", &purged)
            .finish()
    }
}

fn open_files(dir: &Path, found: &recover::Found) -> Result<BTreeMap<u32, Arc<File>>> {
    let mut files = BTreeMap::new();
    for segment in &found.segments {
        let path = recover::path(dir, segment.number);
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        files.insert(segment.number, Arc::new(file));
    }
    Ok(files)
}
