//! Questions to memory and files at once.
//!
//! Invariants: the lock is held only to copy what is in memory and the list of files, so that a
//! scan does not hold up a merge; a value is never missed between memory and file; a damaged
//! file is told by its name, never left out in silence.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::grid::{self, DAY_S, SHARD_METERS};
use super::manifest::{Entry, LEVEL_COLD};
use super::open::month_key;
use super::reader::Question;
use super::{Column, DayKey, Point, Segments};
use crate::error::{Error, Result};

impl Segments {
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
        let range = days_of(interval_minutes, shard, span);
        let months = month_key(*range.start())..=*range.end();
        let (files, memory) = {
            let state = self.core.read();
            let days = state.sealed.range(range.clone()).flat_map(|(_, files)| files);
            let cold = state.cold_in(*range.start(), *range.end());
            let months = state.months.range(months).map(|(_, month)| month).chain(cold);
            // Months first: what they hold was sealed before any day file beside them.
            let files: Vec<Arc<Entry>> = months.chain(days).cloned().collect();
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
            self.sound(&entry, || self.core.readers.points(&entry, &question, &mut found))?;
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
        let days = state.sealed.range(range.clone()).flat_map(|(_, files)| files);
        let cold = state.cold_in(*range.start(), *range.end());
        let files = days.chain(state.months.range(range).map(|(_, month)| month)).chain(cold);
        columns.extend(files.flat_map(|entry| &entry.columns));
        columns.sort_unstable();
        columns.dedup();
        columns
    }

    /// Reads a file for an answer. When that fails the file is compared with its hash, and
    /// quarantined if it is not what was sealed.
    pub(super) fn sound<T>(&self, entry: &Entry, read: impl FnOnce() -> Result<T>) -> Result<T> {
        if entry.level == LEVEL_COLD {
            return self.of_cold(entry, read);
        }
        let name = entry.name();
        if let Some(detail) = self.core.read().damaged.get(&name) {
            let path = self.path(entry);
            return Err(Error::damaged("segment_damaged", "a segment file", &path, detail));
        }
        read().or_else(|error| {
            let missing = error.code() == "not_found";
            if matches!(error, Error::Damaged { .. }) || missing {
                self.core.readers.close(entry);
                self.core.examine(entry)?;
            }
            Err(error)
        })
    }
}

/// The days of a shard that can hold values with `from_s < end_s <= to_s`.
pub(super) fn days_of(
    interval_minutes: u16,
    shard: u32,
    (from_s, to_s): (i64, i64),
) -> RangeInclusive<DayKey> {
    let day = |s: i64| i32::try_from(s.div_euclid(DAY_S)).unwrap_or(clamp(s));
    let key = |day| DayKey { interval_minutes, shard, day };
    key(day(from_s))..=key(day(to_s.saturating_sub(1)))
}

/// The day of a time that no i32 counts.
fn clamp(s: i64) -> i32 {
    if s < 0 { i32::MIN } else { i32::MAX }
}

/// Puts points of one column from several places in order, oldest place first: the first value
/// of a time is the stored one, equal ones are one, others stand beside it.
pub(super) fn join(points: &mut Vec<Point>) {
    // Nearly always: one place has them all, in order and each time once.
    if points.is_sorted_by(|one, next| one.end_s < next.end_s) {
        return;
    }
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
