//! The thread that turns frozen days into files, one at a time, in order of their seals.
//!
//! Invariants: a file is named by the manifest only when it is whole on disk; a day that
//! cannot be written (a full disk) stays in memory and is tried again as a new file later.

use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use super::manifest::{self, Entry};
use super::open::{FrozenDay, State};
use super::writer;
use crate::error::{Error, Result};
use crate::file;
use crate::metrics::Metrics;

/// What the sealing thread shares with its callers.
pub struct Core {
    /// Folder of the segments.
    pub dir: PathBuf,
    /// The metrics.
    pub metrics: Metrics,
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
    pub fn new(dir: PathBuf, metrics: Metrics, retry: Duration, state: State) -> Self {
        Self {
            dir,
            metrics,
            retry,
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

    /// Waits until no day waits for its file; false when the deadline came first.
    pub fn settle(&self, deadline: Duration) -> bool {
        let end = Instant::now() + deadline;
        loop {
            let seen = self.changes();
            if self.read().frozen.is_empty() {
                return true;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || self.rest(seen, left) {
                return self.read().frozen.is_empty();
            }
        }
    }

    /// The thread's work.
    pub fn run(&self) {
        loop {
            let seen = self.changes();
            let next = self.read().frozen.iter().min_by_key(|day| day.seal.index).cloned();
            let wait = match next {
                None => None,
                Some(frozen) => match self.with_files(|| self.seal(&frozen)) {
                    Ok(()) => {
                        self.notify();
                        continue;
                    }
                    Err(error) => {
                        self.metrics.seal_faults.inc();
                        let day = format!("{:?}", frozen.day.key());
                        tracing::error!(code = error.code(), %error, day, "cannot seal a day yet");
                        Some(self.retry)
                    }
                },
            };
            // After a fault a further seal must not shorten the wait: the disk is the same.
            let seen = if wait.is_some() { u64::MAX } else { seen };
            if self.rest(seen, wait.unwrap_or(Duration::from_secs(3600))) {
                return;
            }
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
        entries.sort_by_key(|entry| (entry.key, entry.generation));
        manifest::save(&self.dir, key, &entries)?;
        self.write().sealed(entry);
        self.measure();
        Ok(())
    }

    /// All files of one shard.
    fn shard(&self, key: super::DayKey) -> Vec<Entry> {
        let state = self.read();
        let first = super::DayKey { day: i32::MIN, ..key };
        let last = super::DayKey { day: i32::MAX, ..key };
        let files = state.sealed.range(first..=last).flat_map(|(_, files)| files);
        files.map(|entry| Entry::clone(entry)).collect()
    }

    fn write_file(&self, frozen: &FrozenDay) -> Result<Entry> {
        let image = frozen.day.image();
        let content_hash = *blake3::hash(&image.encode()?).as_bytes();
        let mut entry = Entry {
            key: image.key,
            days: 1,
            level: 1,
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
        let path = self.dir.join(entry.name());
        if let Some(folder) = path.parent() {
            file::make_dirs(folder)?;
        }
        let temp = file::temporary(&path);
        let mut out = BufWriter::new(file::create(&temp)?);
        let layout = writer::write(&mut out, &image, frozen.seal.recipe)?;
        out.flush().map_err(Error::io("write", &temp))?;
        let handle =
            out.into_inner().map_err(|error| Error::io("write", &temp)(error.into_error()))?;
        (entry.octets, entry.file_hash) = file::hash(&temp)?;
        (entry.blocks, entry.besides) = (layout.blocks, layout.besides);
        file::publish(&handle, &temp, &path)?;
        Ok(entry)
    }

    /// Sets the gauges.
    pub fn measure(&self) {
        let state = self.read();
        let files = state.sealed.values().map(Vec::len).sum::<usize>();
        let octets = state.sealed.values().flatten().map(|entry| entry.octets).sum::<u64>();
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.metrics.segments_files.set(whole(files as u64));
        self.metrics.segments_octets.set(whole(octets));
        self.metrics.open_days_octets.set(whole(state.octets()));
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
