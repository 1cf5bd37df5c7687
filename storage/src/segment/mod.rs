//! Interval values: open days in memory, sealed days and folded months as plain Parquet files.
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
//! 4. A month file takes the place of the files that earlier entries sealed; a query does not
//!    see the difference. 5. What a damaged file held is refused, never left out in silence.
//! 6. Merging entries again after a restart changes nothing: entries at or below the floor
//!    (the restored checkpoint's index) are skipped, the others find their values there.
//!
//! Only this folder names the crate `parquet`.

mod calendar;
mod cold;
mod conflicts;
mod damage;
mod dense;
mod digest;
mod grid;
mod image;
mod install;
mod latest;
mod manifest;
mod many;
mod month;
mod open;
mod packed;
mod query;
mod reader;
mod recipe;
mod scrub;
mod worker;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::file;
use crate::metrics::Metrics;
use grid::Day;
use open::{Fold, State};
use recipe::Recipe;
use scrub::Scrubber;
use worker::{Core, Worker};

pub use calendar::{first_day, month_of};
pub use conflicts::{Conflict, Search, Spot};
pub use damage::{Healing, Want};
pub use digest::{Digest, Place, Sealed};
pub use grid::DAY_S;
pub use install::Pin;
pub use manifest::{Entry, LEVEL_DAY, LEVEL_MONTH};
pub use many::Bounds;
pub use open::Checkpoint;
pub use recipe::{RECIPE_DAY, RECIPE_MONTH};
pub use writer::column_name;

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

/// A month of a shard of one interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MonthKey {
    /// Minutes of an interval; 0: irregular values.
    pub interval_minutes: u16,
    /// Ordinal / 8192.
    pub shard: u32,
    /// Months since 1970-01, UTC.
    pub month: i32,
}

/// Open and sealed days, and months; cheap to clone.
#[derive(Clone)]
pub struct Segments {
    core: Arc<Core>,
    worker: Arc<Worker>,
    scrubber: Arc<Scrubber>,
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
        let core = Arc::new(Core::new(dir.to_path_buf(), metrics.clone(), config, state));
        core.look_for_all();
        core.measure();
        let worker = Arc::new(Worker::start(core.clone())?);
        let scrubber = Arc::new(Scrubber::start(core.clone(), config)?);
        Ok(Self { core, worker, scrubber })
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
            let newest = !state.has_more(*key);
            let state = &mut *state;
            let day = match state.open.entry(*key) {
                std::collections::btree_map::Entry::Occupied(day) => day.into_mut(),
                std::collections::btree_map::Entry::Vacant(place) => {
                    place.insert(Arc::new(Day::new(*key)?))
                }
            };
            let day = Arc::make_mut(day);
            day.merge(columns, now, &mut |taken| match (taken.conflicting, taken.stored) {
                (true, _) => merged.conflicting += 1,
                (false, true) => merged.stored += 1,
                (false, false) => merged.same += 1,
            });
            if newest {
                state.latest.take(day, columns, now);
            } else {
                state.latest.forget(day, columns, now);
            }
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
        Recipe::of_day(recipe)?;
        let frozen = self.core.write().seal(index, key, recipe);
        if frozen {
            self.core.measure();
            self.core.notify();
        }
        Ok(frozen)
    }

    /// Folds all that earlier entries sealed of a month into one file; the sealing thread does
    /// it, after the seals before it. False: there is nothing to fold, or it was done before.
    ///
    /// # Errors
    /// `recipe_unknown`; `month_invalid` when no month has that number.
    pub fn compact(&self, index: u64, month: MonthKey, recipe: u16) -> Result<bool> {
        Recipe::of_month(recipe)?;
        let MonthKey { interval_minutes, shard, month } = month;
        let days = calendar::month(month)
            .ok_or_else(|| Error::misuse("month_invalid", format!("month {month}")))?;
        let key = DayKey { interval_minutes, shard, day: days.first };
        let noted = self.core.write().fold(Fold { index, key, recipe });
        if noted {
            self.core.measure();
            self.core.notify();
        }
        Ok(noted)
    }

    /// Every sealed file: days, then months.
    pub fn entries(&self) -> Vec<Entry> {
        self.core.read().files().map(|entry| Entry::clone(entry)).collect()
    }

    /// Waits until every frozen day is a file and every month that can be folded is.
    ///
    /// # Errors
    /// `seal_waits` when the deadline came first.
    pub fn settle(&self, deadline: Duration) -> Result<()> {
        if self.core.settle(deadline) {
            Ok(())
        } else {
            Err(Error::misuse("seal_waits", "days or months still wait for their files"))
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
            folding: state.folding.clone(),
        }
    }

    /// Puts the days of a checkpoint in the place of those in memory.
    pub fn restore(&self, checkpoint: Checkpoint) {
        self.core.with_files(|| self.core.write().restore(checkpoint));
        self.core.measure();
        self.core.notify();
    }

    /// Ends the threads, the sealing one after the file it is at.
    pub fn stop(&self) {
        self.scrubber.stop();
        self.worker.stop();
    }
}

impl std::fmt::Debug for Segments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segments").field("dir", &self.core.dir).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod month_tests;

#[cfg(test)]
mod many_tests;

#[cfg(test)]
mod cold_tests;

#[cfg(test)]
mod conflict_tests;
