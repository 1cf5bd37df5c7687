//! Interval values: open days in memory, sealed days as plain Parquet files.
//!
//! A value has an address: interval, ordinal of the meter, column (a logical name of six
//! octets), end of the interval. Which rows may come is decided elsewhere; here every entry of
//! the log is merged once, in order, and sealed when the log says so.
//!
//! Invariants:
//! 1. A stored value is never overwritten; a later one unlike it is kept beside it, marked.
//! 2. Equal logs give equal content hashes of sealed files on every replica: nothing here
//!    depends on a clock, on a file or on how far the sealing thread has come.
//! 3. Late rows of a sealed day open its next generation; a query joins all of them.
//! 4. Merging entries again after a restart changes nothing: entries at or below the floor
//!    (the restored checkpoint's index) are skipped, the others find their values there.
//!
//! Only this folder names the crate `parquet`.

mod grid;
mod image;
mod manifest;
mod open;
mod reader;
mod worker;
mod writer;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::file;
use crate::metrics::Metrics;
use grid::{Day, SHARD_METERS};
use open::State;
use reader::{Question, Readers};
use worker::{Core, Worker};

pub use grid::DAY_S;
pub use manifest::Entry;
pub use open::Checkpoint;
pub use writer::{RECIPE_DAY, column_name};

/// A logical name (OBIS code) of six octets.
pub type Column = [u8; 6];

/// One row of a meter: what it measured in the interval that ended at `end_s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row<'a> {
    /// Ordinal of the meter.
    pub ordinal: u32,
    /// End of the interval, or the time of an irregular value; seconds UTC.
    pub end_s: i64,
    /// Quality, as the caller counts it; 0: clean.
    pub flag: u8,
    /// One value a column.
    pub values: &'a [Option<i64>],
}

/// What became of merged rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Merged {
    /// Rows that brought at least one new value and none unlike a stored one.
    pub stored: u64,
    /// Rows that brought nothing new.
    pub same: u64,
    /// Rows with a value unlike the stored one; it is kept beside.
    pub conflicting: u64,
}

/// One value of one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// End of the interval, seconds UTC.
    pub end_s: i64,
    /// Value as delivered.
    pub value: i64,
    /// Quality of the row.
    pub flag: u8,
    /// True for a later value unlike the one first stored for this time.
    pub beside: bool,
}

/// A day of a shard of one interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DayKey {
    /// Minutes of an interval; 0: irregular values.
    pub interval_minutes: u16,
    /// Ordinal / 8192.
    pub shard: u32,
    /// Days since the epoch, UTC; its slots end in (day, day + 1].
    pub day: i32,
}

/// Open and sealed days; cheap to clone.
#[derive(Clone)]
pub struct Segments {
    core: Arc<Core>,
    readers: Arc<Readers>,
    worker: Arc<Worker>,
}

impl Segments {
    /// Opens the segments of one group; what is open is restored by the caller.
    ///
    /// # Errors
    /// `manifest_damaged`; the codes of the disk.
    pub fn open(dir: &Path, config: &Config, metrics: &Metrics) -> Result<Self> {
        file::make_dirs(dir)?;
        let mut state = State::default();
        for entry in manifest::load_all(dir)? {
            state.sealed(entry);
        }
        let core = Core::new(dir.to_path_buf(), metrics.clone(), config.seal_retry, state);
        let core = Arc::new(core);
        core.measure();
        let worker = Arc::new(Worker::start(core.clone())?);
        let readers = Arc::new(Readers::new(dir, config.segment_readers));
        Ok(Self { core, readers, worker })
    }

    /// Entries of the log up to this index were in the checkpoint that this run began with.
    pub fn floor(&self) -> u64 {
        self.core.read().floor
    }

    /// Merges rows that entry `index` of the log brought. Entries at or below the floor are
    /// skipped. Nothing is stored when it fails.
    ///
    /// # Errors
    /// `interval_invalid`, `row_unaligned`, `row_time`, `row_columns`.
    pub fn merge(
        &self,
        index: u64,
        interval_minutes: u16,
        columns: &[Column],
        rows: &[Row<'_>],
    ) -> Result<Merged> {
        let mut keys = Vec::with_capacity(rows.len());
        for row in rows {
            if row.values.len() != columns.len() {
                return Err(Error::misuse("row_columns", "a row with another number of values"));
            }
            keys.push(grid::key_of(interval_minutes, row.ordinal, row.end_s)?);
        }
        let mut merged = Merged::default();
        let mut state = self.core.write();
        if index <= state.floor {
            return Ok(merged);
        }
        let mut rest = rows;
        for run in keys.chunk_by(|left, right| left == right) {
            let (Some(key), (now, later)) = (run.first(), rest.split_at(run.len())) else {
                break;
            };
            rest = later;
            let day = match state.open.entry(*key) {
                std::collections::btree_map::Entry::Occupied(day) => day.into_mut(),
                std::collections::btree_map::Entry::Vacant(place) => {
                    place.insert(Arc::new(Day::new(*key)?))
                }
            };
            Arc::make_mut(day).merge(columns, now, &mut |taken| match (
                taken.conflicting,
                taken.stored,
            ) {
                (true, _) => merged.conflicting += 1,
                (false, true) => merged.stored += 1,
                (false, false) => merged.same += 1,
            });
        }
        let octets = state.octets();
        drop(state);
        self.count(merged, octets);
        Ok(merged)
    }

    fn count(&self, merged: Merged, octets: u64) {
        let metrics = &self.core.metrics;
        metrics.open_days_octets.set(i64::try_from(octets).unwrap_or(i64::MAX));
        let rows = &metrics.rows;
        rows.with_label_values(&["stored"]).inc_by(merged.stored);
        rows.with_label_values(&["same"]).inc_by(merged.same);
        rows.with_label_values(&["conflicting"]).inc_by(merged.conflicting);
    }

    /// Freezes what is open of a day; the sealing thread writes it. False: nothing was open,
    /// or it was done before.
    ///
    /// # Errors
    /// `recipe_unknown`.
    pub fn seal(&self, index: u64, key: DayKey, recipe: u16) -> Result<bool> {
        if recipe != RECIPE_DAY {
            return Err(Error::misuse("recipe_unknown", format!("recipe {recipe}")));
        }
        let frozen = self.core.write().seal(index, key, recipe);
        if frozen {
            self.core.notify();
        }
        Ok(frozen)
    }

    /// Values of one column of one meter with `from_s < end_s <= to_s`, in order of time.
    /// Where values differ, the first stored comes first and the others are marked `beside`.
    ///
    /// # Errors
    /// `interval_invalid`; `segment_damaged` when a sealed file cannot be trusted.
    pub fn query(
        &self,
        interval_minutes: u16,
        ordinal: u32,
        column: Column,
        from_s: i64,
        to_s: i64,
    ) -> Result<Vec<Point>> {
        let mut all = self.query_columns(interval_minutes, ordinal, &[column], from_s, to_s)?;
        Ok(all.pop().unwrap_or_default())
    }

    /// The same for several columns, in their order.
    ///
    /// # Errors
    /// Those of [`Segments::query`].
    pub fn query_columns(
        &self,
        interval_minutes: u16,
        ordinal: u32,
        columns: &[Column],
        from_s: i64,
        to_s: i64,
    ) -> Result<Vec<Vec<Point>>> {
        grid::slots(interval_minutes)?;
        let mut found = vec![Vec::new(); columns.len()];
        if from_s >= to_s {
            return Ok(found);
        }
        let span = (from_s, to_s);
        let shard = ordinal / SHARD_METERS;
        let day = |s: i64| i32::try_from(s.div_euclid(DAY_S)).unwrap_or(clamp(s));
        let key = |day| DayKey { interval_minutes, shard, day };
        let range = key(day(from_s))..=key(day(to_s.saturating_sub(1)));
        let (files, memory) = {
            let state = self.core.read();
            let files: Vec<Arc<Entry>> =
                state.sealed.range(range.clone()).flat_map(|(_, files)| files).cloned().collect();
            // Copied under the lock, so that no value is missed between memory and file.
            let mut memory = vec![Vec::new(); columns.len()];
            let frozen = state.frozen.iter().map(|frozen| &frozen.day);
            let frozen = frozen.filter(|day| range.contains(&day.key()));
            let open = state.open.range(range.clone()).map(|(_, day)| day);
            for day in frozen.chain(open) {
                for (column, out) in columns.iter().zip(&mut memory) {
                    day.points(ordinal, *column, span, out);
                }
            }
            (files, memory)
        };
        let question = Question { ordinal, columns, span };
        for entry in files {
            self.readers.points(&entry, &question, &mut found)?;
        }
        for (found, memory) in found.iter_mut().zip(memory) {
            found.extend(memory);
            join(found);
        }
        Ok(found)
    }

    /// The columns that a meter has values of, in memory or in the files of its shard.
    pub fn columns(&self, interval_minutes: u16, ordinal: u32) -> Vec<Column> {
        let shard = ordinal / SHARD_METERS;
        let key = |day| DayKey { interval_minutes, shard, day };
        let range = key(i32::MIN)..=key(i32::MAX);
        let state = self.core.read();
        let mut columns = Vec::new();
        for (_, day) in state.open.range(range.clone()) {
            day.columns_of(ordinal, &mut columns);
        }
        for frozen in state.frozen.iter().filter(|frozen| range.contains(&frozen.day.key())) {
            frozen.day.columns_of(ordinal, &mut columns);
        }
        for (_, files) in state.sealed.range(range) {
            columns.extend(files.iter().flat_map(|entry| &entry.columns));
        }
        columns.sort_unstable();
        columns.dedup();
        columns
    }

    /// Every sealed file.
    pub fn entries(&self) -> Vec<Entry> {
        let state = self.core.read();
        state.sealed.values().flatten().map(|entry| Entry::clone(entry)).collect()
    }

    /// Waits until every frozen day is a file.
    ///
    /// # Errors
    /// `seal_waits` when the deadline came first.
    pub fn settle(&self, deadline: Duration) -> Result<()> {
        if self.core.settle(deadline) {
            Ok(())
        } else {
            Err(Error::misuse("seal_waits", "days still wait for their files"))
        }
    }

    /// Freezes the days in memory as of `index`, the last entry that was merged; takes no
    /// time. Call it between two entries.
    pub fn freeze(&self, index: u64) -> Checkpoint {
        let state = self.core.read();
        Checkpoint {
            index: index.max(state.floor),
            open: state.open.clone(),
            frozen: state.frozen.clone(),
        }
    }

    /// Puts the days of a checkpoint in the place of those in memory.
    pub fn restore(&self, checkpoint: Checkpoint) {
        self.core.with_files(|| self.core.write().restore(checkpoint));
        self.core.measure();
        self.core.notify();
    }

    /// Ends the sealing thread after the file it is at.
    pub fn stop(&self) {
        self.worker.stop();
    }

    /// The file of an entry.
    pub(crate) fn path(&self, entry: &Entry) -> PathBuf {
        self.core.dir.join(entry.name())
    }

    /// Whether a file of that name and content is here.
    pub(crate) fn holds(&self, entry: &Entry) -> bool {
        self.known(entry).is_some()
    }

    fn known(&self, entry: &Entry) -> Option<Arc<Entry>> {
        let state = self.core.read();
        let same = |known: &&Arc<Entry>| {
            known.generation == entry.generation && known.content_hash == entry.content_hash
        };
        let known = state.sealed.get(&entry.key)?.iter().find(same)?.clone();
        self.path(&known).exists().then_some(known)
    }

    /// Makes exactly these files the sealed ones; those that are not here yet are moved from
    /// where `source` says. May be called again after a crash.
    pub(crate) fn adopt(
        &self,
        entries: &[Entry],
        source: &dyn Fn(&Entry) -> PathBuf,
    ) -> Result<()> {
        self.core.with_files(|| {
            let mut state = State::default();
            let mut folders: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
            for entry in self.entries() {
                folders.entry(manifest::shard_name(entry.key)).or_default();
            }
            for entry in entries {
                let entry = match self.known(entry) {
                    Some(known) => Entry::clone(&known),
                    None => {
                        self.take_file(entry, &source(entry))?;
                        entry.clone()
                    }
                };
                folders.entry(manifest::shard_name(entry.key)).or_default().push(entry.clone());
                state.sealed(entry);
            }
            let before = self.entries();
            for files in folders.values() {
                if let Some(first) = files.first() {
                    manifest::save(&self.core.dir, first.key, files)?;
                }
            }
            self.forget(&before, &state)?;
            self.core.write().sealed = state.sealed;
            Ok(())
        })?;
        self.core.measure();
        Ok(())
    }

    fn take_file(&self, entry: &Entry, from: &Path) -> Result<()> {
        let to = self.path(entry);
        if let Some(folder) = to.parent() {
            file::make_dirs(folder)?;
            if from.exists() {
                fs::rename(from, &to).map_err(Error::io("move", from))?;
                file::sync_dir(folder)?;
            }
        }
        let (octets, hash) = file::hash(&to)?;
        if (octets, hash) == (entry.octets, entry.file_hash) {
            return Ok(());
        }
        Err(Error::damaged("segment_damaged", "a received file", &to, "its hash is wrong"))
    }

    /// Removes files that are not wanted any more, and the manifests of empty shards.
    fn forget(&self, before: &[Entry], state: &State) -> Result<()> {
        for old in before {
            let files = state.sealed.get(&old.key).map_or(&[][..], Vec::as_slice);
            if !files.iter().any(|entry| entry.generation == old.generation) {
                let shard = state.sealed.values().flatten();
                let name = manifest::shard_name(old.key);
                if !shard.into_iter().any(|entry| manifest::shard_name(entry.key) == name) {
                    manifest::save(&self.core.dir, old.key, &[])?;
                }
                file::remove(&self.path(old))?;
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Segments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segments").field("dir", &self.core.dir).finish_non_exhaustive()
    }
}

/// The day of a time that no i32 counts.
fn clamp(s: i64) -> i32 {
    if s < 0 { i32::MIN } else { i32::MAX }
}

/// Puts points of one column from several places in order, oldest place first: the first value
/// of a time is the stored one, equal ones are one, others stand beside it.
fn join(points: &mut Vec<Point>) {
    points.sort_by_key(|point| point.end_s);
    let mut joined: Vec<Point> = Vec::with_capacity(points.len());
    for mut point in points.drain(..) {
        let same_time = joined.iter().rposition(|known| known.end_s != point.end_s);
        let from = same_time.map_or(0, |at| at + 1);
        let here = joined.get_mut(from..).unwrap_or_default();
        if let Some(known) = here.iter_mut().find(|known| known.value == point.value) {
            known.flag |= point.flag;
            continue;
        }
        point.beside = !here.is_empty();
        joined.push(point);
    }
    *points = joined;
}

#[cfg(test)]
mod tests;
