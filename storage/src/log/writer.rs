//! The one thread that writes the log: takes what waits, writes it, syncs once, calls back.
//!
//! Invariants: callbacks run in the order of the calls, after the sync that covers them; a
//! file is whole and synced before the next one appears; a purge is synced before the first
//! file is removed; the first fault ends the writer, and everything later gets that fault.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::frame::{self, Frame, Home, Kind};
use super::recover::{self, Head, Place, Segment};
use super::state::{Command, Shared, Work};
use crate::error::{Error, Result};
use crate::file;
use crate::metrics::Metrics;

/// Where a record that came with this ticket was put.
pub struct Settled {
    /// Index of the record.
    pub index: u64,
    /// The ticket it was given when it was appended.
    pub ticket: u64,
    /// Where it stands.
    pub place: Place,
}

/// The file that is written to.
struct Active {
    file: Arc<File>,
    path: PathBuf,
    home: Home,
    /// Everything before this offset is written or in the buffer.
    end: u64,
    /// Everything before this offset is written.
    written: u64,
    /// Everything before this offset is synced.
    synced: u64,
}

/// The writer and what it alone knows.
pub struct Writer {
    dir: PathBuf,
    group: u32,
    segment_octets: u64,
    batch_octets: u64,
    shared: Arc<Shared>,
    metrics: Metrics,
    active: Active,
    /// Every file, the active one last.
    segments: Vec<Segment>,
    /// What the head of the next file has to say.
    head: Head,
    buffer: Vec<u8>,
}

/// What a writer starts from.
pub struct Start {
    /// Folder of the files.
    pub dir: PathBuf,
    /// Raft group.
    pub group: u32,
    /// Octets of a preallocated file.
    pub segment_octets: u64,
    /// Octets that one sync may carry.
    pub batch_octets: u64,
    /// The files that are there.
    pub segments: Vec<Segment>,
    /// Number of the file to begin with.
    pub next: u32,
    /// Purge and small values so far.
    pub head: Head,
}

impl Writer {
    /// Makes the first file of this run.
    pub fn new(start: Start, shared: Arc<Shared>, metrics: Metrics) -> Result<Self> {
        let home = Home { group: start.group, segment: start.next };
        let active = Active::create(&start.dir, home, start.segment_octets, &start.head)?;
        let mut segments = start.segments;
        segments.push(Segment { number: start.next, last: None });
        shared.open_file(start.next, active.file.clone());
        metrics.wal_segments.set(i64::try_from(segments.len()).unwrap_or(i64::MAX));
        Ok(Self {
            dir: start.dir,
            group: start.group,
            segment_octets: start.segment_octets,
            batch_octets: start.batch_octets,
            shared,
            metrics,
            active,
            segments,
            head: start.head,
            buffer: Vec::new(),
        })
    }

    /// Works until the log is stopped or a fault comes.
    pub fn run(mut self) {
        let shared = self.shared.clone();
        // Even a bug in a callback must not leave callers waiting for a thread that is gone.
        let _guard = EndGuard { shared: &shared };
        while let Some(commands) = shared.take(self.batch_octets) {
            if !self.turn(commands) {
                return;
            }
        }
    }

    /// Writes and syncs a batch, then calls back; false when the log has a fault now.
    pub(super) fn turn(&mut self, commands: Vec<Command>) -> bool {
        let shared = self.shared.clone();
        match self.write(&commands) {
            Ok(settled) => {
                shared.settle(&settled, &commands);
                let now = Instant::now();
                for command in commands {
                    let waited = now.saturating_duration_since(command.since);
                    self.metrics.wal_append_s.observe(waited.as_secs_f64());
                    (command.done)(Ok(()));
                }
                match self.drop_purged() {
                    Ok(()) => true,
                    Err(error) => {
                        shared.fail(error, Vec::new());
                        false
                    }
                }
            }
            Err(error) => {
                let fault = error.report();
                tracing::error!(code = error.code(), fault, "the log cannot be written");
                shared.fail(error, commands);
                false
            }
        }
    }

    /// Octets that one sync may carry.
    #[cfg(feature = "simulation")]
    pub(super) fn batch_octets(&self) -> u64 {
        self.batch_octets
    }

    /// What a power cut may leave of work that was begun: each piece of the unsynced octets is
    /// there or not, as `keep` says of its number. Nobody is called back.
    #[cfg(feature = "simulation")]
    pub(super) fn tear(
        &mut self,
        commands: &[Command],
        keep: &mut dyn FnMut(usize) -> bool,
    ) -> Result<()> {
        self.push_all(commands)?;
        let active = &self.active;
        for (number, piece) in self.buffer.chunks(super::by_hand::PIECE_OCTETS).enumerate() {
            let at = active.written + (number * super::by_hand::PIECE_OCTETS) as u64;
            if keep(number) {
                active.file.write_all_at(piece, at).map_err(Error::io("write", &active.path))?;
            }
        }
        self.buffer.clear();
        Ok(())
    }

    fn write(&mut self, commands: &[Command]) -> Result<Vec<Settled>> {
        let settled = self.push_all(commands)?;
        self.sync()?;
        Ok(settled)
    }

    /// Puts the frames of a batch into the buffer.
    fn push_all(&mut self, commands: &[Command]) -> Result<Vec<Settled>> {
        let mut settled = Vec::new();
        for command in commands {
            match &command.work {
                Work::Records { records, ticket } => {
                    for (record, ticket) in records.iter().zip(*ticket..) {
                        let place = self.push(Kind::Record, record.index, &record.payload)?;
                        settled.push(Settled { index: record.index, ticket, place });
                        if let Some(segment) = self.segments.last_mut() {
                            segment.last = Some(record.index);
                        }
                    }
                }
                Work::Meta { key, value } => {
                    self.push(Kind::Meta, u64::from(*key), value)?;
                    self.head.metas.insert(*key, value.clone());
                }
                Work::Truncate(Some(after)) => {
                    self.push(Kind::Truncate, *after, &[])?;
                    for segment in &mut self.segments {
                        segment.last = segment.last.map(|last| last.min(*after));
                    }
                }
                Work::Truncate(None) => {
                    self.push(Kind::Clear, 0, &[])?;
                    for segment in &mut self.segments {
                        segment.last = None;
                    }
                }
                Work::Purge(to) => {
                    self.push(Kind::Purge, *to, &[])?;
                    self.head.purged = self.head.purged.max(Some(*to));
                }
            }
        }
        Ok(settled)
    }

    /// Puts a frame into the buffer, in the next file when this one is full.
    fn push(&mut self, kind: Kind, index: u64, payload: &[u8]) -> Result<Place> {
        let octets = frame::octets(payload.len()) as u64;
        if self.active.end + octets > self.segment_octets {
            self.roll()?;
        }
        let offset = self.active.end;
        let synced = narrow(self.active.synced)?;
        let frame = Frame { kind, index, synced, payload };
        frame::encode(&mut self.buffer, self.active.home, &frame)?;
        self.active.end += octets;
        let segment = self.active.home.segment;
        Ok(Place { segment, offset: narrow(offset)?, octets: narrow(payload.len() as u64)? })
    }

    fn sync(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let active = &mut self.active;
        active
            .file
            .write_all_at(&self.buffer, active.written)
            .map_err(Error::io("write", &active.path))?;
        active.written = active.end;
        let begun = Instant::now();
        active.file.sync_data().map_err(Error::io("sync", &active.path))?;
        active.synced = active.end;
        self.metrics.wal_flush_s.observe(begun.elapsed().as_secs_f64());
        self.metrics.wal_octets.inc_by(self.buffer.len() as u64);
        self.buffer.clear();
        Ok(())
    }

    /// Ends this file at its last frame and begins the next.
    fn roll(&mut self) -> Result<()> {
        self.sync()?;
        let active = &self.active;
        active.file.set_len(active.end).map_err(Error::io("cut", &active.path))?;
        active.file.sync_all().map_err(Error::io("sync", &active.path))?;
        let number = active
            .home
            .segment
            .checked_add(1)
            .ok_or_else(|| Error::misuse("wal_numbers", "all numbers of files are used"))?;
        let home = Home { group: self.group, segment: number };
        self.active = Active::create(&self.dir, home, self.segment_octets, &self.head)?;
        self.segments.push(Segment { number, last: None });
        self.shared.open_file(number, self.active.file.clone());
        Ok(())
    }

    /// Removes the oldest files that hold nothing above the synced purge.
    fn drop_purged(&mut self) -> Result<()> {
        let Some(purged) = self.head.purged else { return Ok(()) };
        let active = self.active.home.segment;
        let gone = self
            .segments
            .iter()
            .take_while(|segment| segment.number != active)
            .take_while(|segment| segment.last.is_none_or(|last| last <= purged))
            .count();
        if gone == 0 {
            return Ok(());
        }
        // The names of files made by this run are synced; a removal that a power cut undoes
        // only brings back purged records, which the next opening drops again. Oldest first,
        // so that no gap between files can appear.
        for segment in self.segments.drain(..gone) {
            self.shared.close_file(segment.number);
            let path = recover::path(&self.dir, segment.number);
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            file::sync_dir(&self.dir)?;
        }
        self.metrics.wal_segments.set(i64::try_from(self.segments.len()).unwrap_or(i64::MAX));
        Ok(())
    }
}

impl Active {
    /// Makes a preallocated file with its head; it has its name only when all that is on disk.
    fn create(dir: &std::path::Path, home: Home, octets: u64, head: &Head) -> Result<Self> {
        let path = recover::path(dir, home.segment);
        let temp = file::temporary(&path);
        let payload = head.encode()?;
        let mut buffer = Vec::new();
        let index = u64::from(home.segment);
        let frame = Frame { kind: Kind::Head, index, synced: 0, payload: &payload };
        frame::encode(&mut buffer, home, &frame)?;
        if buffer.len() as u64 > octets / 2 {
            return Err(Error::misuse("wal_head", "small values fill half of a file"));
        }
        let file = file::create(&temp)?;
        preallocate(&file, octets).map_err(Error::io("preallocate", &temp))?;
        file.write_all_at(&buffer, 0).map_err(Error::io("write", &temp))?;
        file::publish(&file, &temp, &path)?;
        let end = buffer.len() as u64;
        Ok(Self { file: Arc::new(file), path, home, end, written: end, synced: end })
    }
}

/// Takes the disk space of a file now, so that a full disk is met here and not in a batch.
fn preallocate(file: &File, octets: u64) -> std::io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, octets) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.set_len(octets),
        Err(error) => Err(error.into()),
    }
}

fn narrow(wide: u64) -> Result<u32> {
    u32::try_from(wide).map_err(|_| Error::misuse("wal_segment", "an offset above 4 GiB"))
}

/// Tells every waiting caller that the writer is gone, however it went.
struct EndGuard<'a> {
    shared: &'a Shared,
}

impl Drop for EndGuard<'_> {
    fn drop(&mut self) {
        self.shared.fail(Error::Stopped("the log"), Vec::new());
    }
}
