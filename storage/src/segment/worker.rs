//! The thread that turns frozen days into files and folds months, one at a time, in the order
//! of their entries in the log.
//!
//! Invariants: a file is named by the manifest only when it is whole on disk; a day that
//! cannot be written (a full disk) stays in memory and is tried again as a new file later. What
//! was folded goes only after the month file is named in the manifest, and after the last
//! reader and the last snapshot that names it. A month with a damaged source waits for it and
//! holds up no other.

use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use super::cold::Cold;
use super::manifest::{self, Entry, LEVEL_DAY, LEVEL_MONTH};
use super::month::{self, Sources};
use super::open::{Fold, FrozenDay, State};
use super::reader::Readers;
use super::recipe::Recipe;
use super::{calendar, writer};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::file;
use crate::metrics::Metrics;

/// How long the thread sleeps when nothing is told.
const IDLE: Duration = Duration::from_secs(3600);
/// How often it looks whether folded files are still held.
const RECLAIM: Duration = Duration::from_secs(5);

/// One file to make.
#[derive(Debug)]
enum Job {
    Seal(FrozenDay),
    Fold(Fold),
}

/// What the sealing thread shares with its callers.
pub struct Core {
    /// Folder of the segments.
    pub dir: PathBuf,
    /// The metrics.
    pub metrics: Metrics,
    /// Open files.
    pub readers: Readers,
    /// Month files in the archive.
    pub cold: Cold,
    retry: Duration,
    state: RwLock<State>,
    /// Held while files and manifests are changed.
    files: Mutex<()>,
    signal: Mutex<Signal>,
    changed: Condvar,
}

#[derive(Default)]
struct Signal {
    stopping: bool,
    /// Rises with every seal and every written file, so that no change is slept through.
    changes: u64,
}

impl Core {
    /// A core over what the manifests name.
    pub fn new(dir: PathBuf, metrics: Metrics, config: &Config, state: State) -> Self {
        Self {
            readers: Readers::new(&dir, config.segment_readers),
            cold: Cold::default(),
            dir,
            metrics,
            retry: config.seal_retry,
            state: RwLock::new(state),
            files: Mutex::new(()),
            signal: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Reads the state.
    pub fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state.
    pub fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs with no file or manifest being changed by another.
    pub fn with_files<T>(&self, work: impl FnOnce() -> T) -> T {
        let _files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        work()
    }

    /// Wakes the thread and whoever waits for it.
    pub fn notify(&self) {
        self.signal.lock().unwrap_or_else(PoisonError::into_inner).changes += 1;
        self.changed.notify_all();
    }

    /// Ends the thread after the file it is at.
    pub fn stop(&self) {
        self.signal.lock().unwrap_or_else(PoisonError::into_inner).stopping = true;
        self.changed.notify_all();
    }

    /// Waits until no day and no month that can be written waits for its file; false when the
    /// deadline came first.
    pub fn settle(&self, deadline: Duration) -> bool {
        let end = Instant::now() + deadline;
        loop {
            let seen = self.changes();
            if self.read().is_settled() {
                return true;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || self.rest(seen, left) {
                return self.read().is_settled();
            }
        }
    }

    /// The thread's work.
    pub fn run(&self) {
        loop {
            let seen = self.changes();
            let wait = match self.next_job() {
                None => None,
                Some(job) => match self.with_files(|| self.carry_out(&job)) {
                    Ok(()) => {
                        self.notify();
                        continue;
                    }
                    Err(error) => {
                        self.metrics.seal_faults.inc();
                        tracing::error!(code = error.code(), %error, ?job, "no file yet");
                        Some(self.retry)
                    }
                },
            };
            self.with_files(|| self.reclaim());
            let idle = if self.read().retired.is_empty() { IDLE } else { RECLAIM };
            // After a fault a further seal must not shorten the wait: the disk is the same.
            let seen = if wait.is_some() { u64::MAX } else { seen };
            if self.rest(seen, wait.unwrap_or(idle)) {
                return;
            }
        }
    }

    /// The job of the earliest entry. A stuck month holds up later folds of itself alone.
    fn next_job(&self) -> Option<Job> {
        let state = self.read();
        let seal = state.frozen.iter().min_by_key(|day| day.seal.index);
        let free = |fold: &&Fold| {
            let stuck =
                |other: &Fold| other.key == fold.key && state.stuck.contains_key(&other.place());
            !state.folding.iter().any(stuck)
        };
        let fold = state.folding.iter().filter(free).min_by_key(|fold| fold.index);
        match (seal, fold) {
            (Some(seal), Some(fold)) if fold.index < seal.seal.index => Some(Job::Fold(*fold)),
            (Some(seal), _) => Some(Job::Seal(seal.clone())),
            (None, fold) => fold.copied().map(Job::Fold),
        }
    }

    fn carry_out(&self, job: &Job) -> Result<()> {
        match job {
            Job::Seal(frozen) => self.seal(frozen),
            Job::Fold(fold) => self.fold(fold),
        }
    }

    fn changes(&self) -> u64 {
        self.signal.lock().unwrap_or_else(PoisonError::into_inner).changes
    }

    /// Sleeps until something changed since `seen` or the time is over; true when stopping.
    fn rest(&self, seen: u64, time: Duration) -> bool {
        let same =
            |signal: &mut Signal| !signal.stopping && (signal.changes == seen || seen == u64::MAX);
        let signal = self.signal.lock().unwrap_or_else(PoisonError::into_inner);
        let (signal, _) = self
            .changed
            .wait_timeout_while(signal, time, same)
            .unwrap_or_else(PoisonError::into_inner);
        signal.stopping
    }

    fn seal(&self, frozen: &FrozenDay) -> Result<()> {
        let key = frozen.day.key();
        // An installed snapshot may have brought the file while this day waited.
        let waits = |state: &State| {
            state.frozen.iter().any(|day| day.day.key() == key && day.seal == frozen.seal)
        };
        if !waits(&self.read()) {
            return Ok(());
        }
        let entry = self.write_file(frozen)?;
        let mut entries: Vec<Entry> = self.shard(key);
        entries.retain(|known| (known.key, known.generation) != (key, entry.generation));
        entries.push(entry.clone());
        self.save(key, entries)?;
        self.write().sealed(entry);
        self.measure();
        Ok(())
    }

    /// Writes the manifest of one shard.
    pub fn save(&self, key: super::DayKey, mut entries: Vec<Entry>) -> Result<()> {
        entries.sort_by_key(|entry| (entry.key, entry.level, entry.generation));
        manifest::save(&self.dir, key, &entries)
    }

    fn fold(&self, fold: &Fold) -> Result<()> {
        let sources = {
            let state = self.read();
            if !state.folding.contains(fold) {
                return Ok(());
            }
            state.sources(fold)
        };
        for source in &sources {
            // The last time that its octets are needed: what is folded in is looked at anew.
            let sound = if self.read().damaged.contains_key(&source.name()) {
                Err(Error::damaged(
                    "segment_damaged",
                    "a segment file",
                    &self.dir.join(source.name()),
                    "it is quarantined",
                ))
            } else {
                self.examine(source)
            };
            if let Err(error) = sound {
                if !matches!(error, Error::Damaged { .. }) {
                    return Err(error);
                }
                tracing::warn!(code = error.code(), %error, "a month waits for a sound file");
                self.write().stuck.insert(fold.place(), error.to_string());
                return Ok(());
            }
        }
        let started = Instant::now();
        let files: Vec<Entry> = sources.iter().map(|entry| Entry::clone(entry)).collect();
        let entry = self.write_month(fold, &files)?;
        self.name_month(entry.clone())?;
        self.metrics.compactions.inc();
        let (name, rows, octets) = (entry.name(), entry.rows, entry.octets);
        let seconds = started.elapsed().as_secs_f64();
        tracing::info!(name, rows, octets, files = files.len(), seconds, "a month is folded");
        Ok(())
    }

    /// Names a month file that is whole on disk, and no longer what it holds.
    pub fn name_month(&self, entry: Entry) -> Result<()> {
        let fold = Fold { index: entry.sealed_index, key: entry.key, recipe: entry.recipe };
        let gone = self.read().sources(&fold);
        let mut entries = self.shard(entry.key);
        entries.retain(|known| !gone.iter().any(|gone| gone.same(known)));
        entries.retain(|known| known.name() != entry.name());
        entries.push(entry.clone());
        self.save(entry.key, entries)?;
        self.write().sealed(entry);
        self.measure();
        Ok(())
    }

    fn write_month(&self, fold: &Fold, files: &[Entry]) -> Result<Entry> {
        let unknown =
            || Error::misuse("month_invalid", format!("no month of day {}", fold.key.day));
        let month = calendar::month(calendar::month_of(fold.key.day)).ok_or_else(unknown)?;
        let mut entry = Entry {
            key: fold.key,
            days: month.days,
            level: LEVEL_MONTH,
            generation: fold.index,
            sealed_index: fold.index,
            recipe: fold.recipe,
            rows: 0,
            besides: 0,
            octets: 0,
            columns: Vec::new(),
            blocks: Vec::new(),
            content_hash: [0; 32],
            file_hash: [0; 32],
        };
        let sources = Sources { key: fold.key, month, files };
        let recipe = Recipe::of_month(fold.recipe)?;
        let folded =
            self.write_whole(&mut entry, |out| month::fold(out, &sources, &self.readers, recipe))?;
        entry.rows = folded.rows;
        entry.columns = folded.columns;
        entry.content_hash = folded.content_hash;
        (entry.blocks, entry.besides) = (folded.layout.blocks, folded.layout.besides);
        Ok(entry)
    }

    /// Writes an entry's file: temporary name, sync, rename, sync of the folder. Notes its size
    /// and hash.
    fn write_whole<T>(
        &self,
        entry: &mut Entry,
        write: impl FnOnce(&mut BufWriter<std::fs::File>) -> Result<T>,
    ) -> Result<T> {
        let path = self.dir.join(entry.name());
        if let Some(folder) = path.parent() {
            file::make_dirs(folder)?;
        }
        let temp = file::temporary(&path);
        let mut out = BufWriter::new(file::create(&temp)?);
        let written = write(&mut out)?;
        out.flush().map_err(Error::io("write", &temp))?;
        let handle =
            out.into_inner().map_err(|error| Error::io("write", &temp)(error.into_error()))?;
        (entry.octets, entry.file_hash) = file::hash(&temp)?;
        file::publish(&handle, &temp, &path)?;
        Ok(written)
    }

    /// Removes files that were folded or replaced, once nobody can read them any more.
    fn reclaim(&self) {
        let gone: Vec<Arc<Entry>> = {
            let mut state = self.write();
            // One holder: this list. Others hold what they read, pins what they name.
            let held = |entry: &Arc<Entry>| Arc::strong_count(entry) > 1;
            let (kept, gone) = std::mem::take(&mut state.retired).into_iter().partition(held);
            state.retired = kept;
            gone
        };
        for entry in gone {
            if self.read().file(entry.key, entry.level, entry.generation).is_some() {
                continue;
            }
            self.readers.close(&entry);
            let path = self.dir.join(entry.name());
            let removed = file::remove(&path);
            if let Err(error) = removed {
                tracing::warn!(code = error.code(), %error, "a folded file is left behind");
            }
        }
    }

    /// All files of one shard.
    pub fn shard(&self, key: super::DayKey) -> Vec<Entry> {
        let state = self.read();
        let range = super::DayKey { day: i32::MIN, ..key }..=super::DayKey { day: i32::MAX, ..key };
        let days = state.sealed.range(range.clone()).flat_map(|(_, files)| files);
        let months = state.months.range(range).map(|(_, month)| month);
        days.chain(months).map(|entry| Entry::clone(entry)).collect()
    }

    fn write_file(&self, frozen: &FrozenDay) -> Result<Entry> {
        let image = frozen.day.image();
        let content_hash = *blake3::hash(&image.encode()?).as_bytes();
        let mut entry = Entry {
            key: image.key,
            days: 1,
            level: LEVEL_DAY,
            generation: frozen.seal.generation,
            sealed_index: frozen.seal.index,
            recipe: frozen.seal.recipe,
            rows: image.rows(),
            besides: 0,
            octets: 0,
            columns: image.columns.clone(),
            blocks: Vec::new(),
            content_hash,
            file_hash: [0; 32],
        };
        let recipe = Recipe::of_day(frozen.seal.recipe)?;
        let layout = self.write_whole(&mut entry, |out| writer::write_day(out, &image, recipe))?;
        (entry.blocks, entry.besides) = (layout.blocks, layout.besides);
        Ok(entry)
    }

    /// Sets the gauges.
    pub fn measure(&self) {
        let state = self.read();
        let files = state.files().count();
        let octets = state.files().map(|entry| entry.octets).sum::<u64>();
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.metrics.segments_files.set(whole(files as u64));
        self.metrics.segments_octets.set(whole(octets));
        self.metrics.open_days_octets.set(whole(state.octets()));
        self.metrics.cold_files.set(whole(state.cold.len() as u64));
        self.metrics.segments_damaged.set(whole(state.damaged.len() as u64));
        self.metrics.segments_waiting.set(whole(state.waiting() as u64));
    }
}

/// The thread of a core, ended when this is dropped.
pub struct Worker {
    core: Arc<Core>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Worker {
    /// Starts the thread.
    pub fn start(core: Arc<Core>) -> Result<Self> {
        let working = core.clone();
        let thread = std::thread::Builder::new()
            .name("segment-worker".to_owned())
            .spawn(move || working.run())
            .map_err(Error::io("start the sealing thread of", &core.dir))?;
        Ok(Self { core, thread: Mutex::new(Some(thread)) })
    }

    /// Ends the thread and waits for it.
    pub fn stop(&self) {
        self.core.stop();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the sealing thread ended by a panic");
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
    }
}
