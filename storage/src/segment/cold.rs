//! Month files in an archive outside of the data directory: copied there once, read back from
//! there, let go here.
//!
//! Which months are cold is told by the caller, who finds it in the tables ([`Segments::cool`]);
//! nothing of it is kept here but a cache of bounded size. Invariants: a local file goes only
//! when the archive is known to hold a file of the same content; what is fetched is compared
//! with its hash before it is read; a name in the archive is never overwritten; what cannot be
//! fetched is refused, never left out in silence.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::manifest::{self, Entry, LEVEL_COLD, LEVEL_MONTH};
use super::open::{State, month_key};
use super::worker::Core;
use super::{DayKey, MonthKey, Segments, calendar};
use crate::archive::Place;
use crate::error::{Error, Result};
use crate::file;
use crate::metrics::Metrics;

/// Folder of the cache, below that of the segments.
pub const FOLDER: &str = "cold";

/// The archive and what is held of it.
#[derive(Debug, Default)]
pub struct Cold {
    place: OnceLock<(Place, u64)>,
    /// One fetch at a time: files are large, and the second who wants one finds it.
    fetching: Mutex<()>,
}

/// A month file's name in the archive, by its content.
fn object(entry: &Entry) -> String {
    let month = calendar::year_month(entry.key.day);
    let hash = crate::backup::hex(&entry.file_hash);
    format!("{}/{month}-{hash}.parquet", manifest::shard_name(entry.key))
}

/// Hashes what is read through it.
struct Hashing<R> {
    inner: R,
    hasher: blake3::Hasher,
    octets: u64,
}

impl<R: Read> Hashing<R> {
    fn new(inner: R) -> Self {
        Self { inner, hasher: blake3::Hasher::new(), octets: 0 }
    }

    fn found(&self) -> (u64, [u8; 32]) {
        (self.octets, *self.hasher.finalize().as_bytes())
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.hasher.update(into.get(..count).unwrap_or_default());
        self.octets += count as u64;
        Ok(count)
    }
}

impl Cold {
    fn place(&self) -> Result<&(Place, u64)> {
        let text = "months lie in an archive, and this node was told of none";
        self.place.get().ok_or_else(|| Error::misuse("archive_unset", text))
    }

    /// Copies a file, unless it is there, and reads back what is there.
    fn store(&self, entry: &Entry, path: &Path) -> Result<()> {
        let (place, _) = self.place()?;
        let name = object(entry);
        let mut source = File::open(path).map_err(Error::io("open", path))?;
        place.put_new(&name, &mut source)?;
        let mut back = Hashing::new(place.get(&name)?);
        let full = place.full_name(&name);
        io::copy(&mut back, &mut io::sink()).map_err(Error::io("read", Path::new(&full)))?;
        check(entry, back.found(), &full)
    }

    /// Brings a file into the cache, unless it is there, and makes room for it first.
    fn fetch(&self, dir: &Path, entry: &Entry, metrics: &Metrics) -> Result<()> {
        let path = dir.join(entry.name());
        if path.exists() {
            // The oldest goes first: this one was used.
            drop(
                File::open(&path).and_then(|file| file.set_modified(std::time::SystemTime::now())),
            );
            return Ok(());
        }
        let (_, limit) = self.place()?;
        let _one = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        if path.exists() {
            return Ok(());
        }
        let folder = dir.join(FOLDER);
        file::make_dirs(&folder)?;
        make_room(&folder, limit.saturating_sub(entry.octets))?;
        let temp = file::temporary(&path);
        // Half a file is no use: room for it was made, and nobody would look for it again.
        self.copy(entry, &temp).inspect_err(|_| drop(file::remove(&temp)))?;
        // A cache needs no sync: its files are compared with their hashes again after a start.
        fs::rename(&temp, &path).map_err(Error::io("name", &path))?;
        metrics.cold_fetches.inc();
        Ok(())
    }

    /// Writes what the archive has into a file and compares it with its hash.
    fn copy(&self, entry: &Entry, into: &Path) -> Result<()> {
        let (place, _) = self.place()?;
        let name = object(entry);
        let full = place.full_name(&name);
        let mut source = Hashing::new(place.get(&name)?);
        let mut out = file::create(into)?;
        let copied = io::copy(&mut source, &mut out).and_then(|_| out.flush());
        copied.map_err(Error::io("fetch", Path::new(&full)))?;
        check(entry, source.found(), &full)
    }
}

fn check(entry: &Entry, found: (u64, [u8; 32]), name: &str) -> Result<()> {
    if found == (entry.octets, entry.file_hash) {
        return Ok(());
    }
    let detail = "it is not what was archived";
    Err(Error::damaged("archive_damaged", "a file of the archive", Path::new(name), detail))
}

/// Removes the files that were used longest ago until no more than `limit` octets are left.
fn make_room(folder: &Path, limit: u64) -> Result<()> {
    let mut held = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io("list", folder))? {
        let entry = entry.map_err(Error::io("list", folder))?;
        let Ok(data) = entry.metadata() else { continue };
        let used = data.modified().unwrap_or(std::time::SystemTime::UNIX_EPOCH);
        held.push((used, data.len(), entry.path()));
    }
    held.sort();
    let mut sum: u64 = held.iter().map(|(_, octets, _)| octets).sum();
    for (_, octets, path) in held {
        if sum <= limit {
            break;
        }
        file::remove(&path)?;
        sum -= octets;
    }
    Ok(())
}

impl Entry {
    /// The same file as it lies in the archive.
    pub fn cooled(&self) -> Self {
        Self { level: LEVEL_COLD, ..self.clone() }
    }
}

impl State {
    /// The cold months of a range that no file here holds.
    pub fn cold_in(&self, from: DayKey, to: DayKey) -> impl Iterator<Item = &Arc<Entry>> {
        let warm = |entry: &&Arc<Entry>| {
            let month = self.months.get(&entry.key);
            month.is_none_or(|month| month.content_hash != entry.content_hash)
        };
        self.cold.range(month_key(from)..=to).map(|(_, entry)| entry).filter(warm)
    }
}

impl Segments {
    /// Says where the archive is and how many octets of it may be held here. Once.
    ///
    /// # Errors
    /// `place_invalid`; `archive_set` the second time.
    pub fn set_archive(&self, place: &str, cache_octets: u64) -> Result<()> {
        let set = self.core.cold.place.set((Place::open(place)?, cache_octets));
        set.map_err(|_| Error::misuse("archive_set", "this node has an archive already"))
    }

    /// Whether this node has an archive.
    pub fn has_archive(&self) -> bool {
        self.core.cold.place.get().is_some()
    }

    /// Whether a month lies in the archive, as far as this node was told.
    pub fn is_cold(&self, month: MonthKey) -> bool {
        let MonthKey { interval_minutes, shard, month } = month;
        let key = calendar::first_day(month).map(|day| DayKey { interval_minutes, shard, day });
        key.is_some_and(|key| self.core.read().cold.contains_key(&key))
    }

    /// Copies the file of a folded month to the archive, unless it is there, and reads it back;
    /// answers what it is. Blocks on the archive.
    ///
    /// # Errors
    /// `archive_unset`; `segment_unknown` when no such file is here; `archive_damaged` when other
    /// octets came back; `segment_damaged`; the codes of the place.
    pub fn archive(&self, month: MonthKey, sealed_index: u64) -> Result<Entry> {
        let entry = self.month_file(month).filter(|entry| entry.sealed_index == sealed_index);
        let unknown = || Error::misuse("segment_unknown", format!("{month:?} at {sealed_index}"));
        let entry = entry.ok_or_else(unknown)?;
        self.core.examine(&entry)?;
        self.core.cold.store(&entry, &self.path(&entry))?;
        Ok(Entry::clone(&entry))
    }

    fn month_file(&self, month: MonthKey) -> Option<Arc<Entry>> {
        let MonthKey { interval_minutes, shard, month } = month;
        let key = DayKey { interval_minutes, shard, day: calendar::month(month)?.first };
        self.core.read().months.get(&key).cloned()
    }

    /// Makes exactly these month files the cold ones, and lets local files of the same content
    /// go; answers the names of local files of other content, which stay.
    ///
    /// # Errors
    /// The codes of the disk.
    pub fn cool(&self, entries: &[Entry]) -> Result<Vec<String>> {
        let mut unlike = Vec::new();
        self.core.with_files(|| {
            let cold = entries.iter().map(|entry| (entry.key, Arc::new(entry.cooled())));
            self.core.write().cold = cold.collect();
            // Without an archive what is here must stay.
            for entry in entries.iter().filter(|_| self.has_archive()) {
                let local = self.core.read().months.get(&entry.key).cloned();
                let Some(local) = local else { continue };
                if local.sealed_index != entry.sealed_index {
                    continue;
                }
                if local.content_hash == entry.content_hash {
                    self.core.retire(&[local])?;
                } else {
                    unlike.push(local.name());
                }
            }
            Ok(())
        })?;
        self.core.measure();
        self.core.notify();
        Ok(unlike)
    }

    /// Lets everything of a month go that was sealed before an entry of the log; true when there
    /// was anything.
    ///
    /// # Errors
    /// `month_invalid`; the codes of the disk.
    pub fn forget(&self, month: MonthKey, before_index: u64) -> Result<bool> {
        let MonthKey { interval_minutes, shard, month } = month;
        let days = calendar::month(month)
            .ok_or_else(|| Error::misuse("month_invalid", format!("month {month}")))?;
        let key = DayKey { interval_minutes, shard, day: days.first };
        let last = DayKey { day: days.first.saturating_add(i32::from(days.days) - 1), ..key };
        let gone = self.core.with_files(|| {
            let gone: Vec<Arc<Entry>> = {
                let mut state = self.core.write();
                state.cold.retain(|known, cold| *known != key || cold.sealed_index >= before_index);
                let days = state.sealed.range(key..=last).flat_map(|(_, files)| files);
                let all = days.chain(state.months.get(&key));
                all.filter(|entry| entry.sealed_index < before_index).cloned().collect()
            };
            self.core.retire(&gone)?;
            Ok::<_, Error>(!gone.is_empty())
        })?;
        self.core.measure();
        self.core.notify();
        Ok(gone)
    }

    /// Removes a month file from the archive, if it is there. Blocks on the archive.
    ///
    /// # Errors
    /// `archive_unset`; the codes of the place.
    pub fn remove_archived(&self, entry: &Entry) -> Result<()> {
        self.core.cold.place()?.0.remove(&object(entry))
    }

    /// Fetches a cold file, reads it for an answer, and lets it go when that fails.
    pub(super) fn of_cold<T>(&self, entry: &Entry, read: impl FnOnce() -> Result<T>) -> Result<T> {
        self.core.cold.fetch(&self.core.dir, entry, &self.core.metrics)?;
        read().inspect_err(|_| {
            self.core.readers.close(entry);
            // The next question fetches it anew.
            drop(file::remove(&self.core.dir.join(entry.name())));
        })
    }
}

impl Core {
    /// Files are no longer ours: the manifest first, then the state; they go when nobody reads
    /// or names them.
    fn retire(&self, gone: &[Arc<Entry>]) -> Result<()> {
        let Some(first) = gone.first() else { return Ok(()) };
        let mut entries = self.shard(first.key);
        entries.retain(|known| !gone.iter().any(|gone| gone.name() == known.name()));
        self.save(first.key, entries)?;
        let mut state = self.write();
        for entry in gone {
            state.damaged.remove(&entry.name());
            if entry.level == LEVEL_MONTH {
                state.months.remove(&entry.key);
            } else if let Some(files) = state.sealed.get_mut(&entry.key) {
                files.retain(|known| !Arc::ptr_eq(known, entry));
            }
            state.retired.push(entry.clone());
        }
        state.sealed.retain(|_, files| !files.is_empty());
        Ok(())
    }
}

/// The name of a cold file in the cache.
pub fn cached_name(file_hash: &[u8; 32]) -> String {
    let name: PathBuf =
        Path::new(FOLDER).join(format!("{}.parquet", crate::backup::hex(file_hash)));
    name.display().to_string()
}
