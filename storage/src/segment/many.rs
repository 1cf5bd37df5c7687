//! Questions about many meters at once, and about the newest value.
//!
//! Meters of a block of 64 are asked for together, so that their pages are read at once.
//! Invariants: the lock is held only to share what is in memory and
//! the list of files; the answers are those that [`Segments::query`] gives meter by meter; a
//! damaged file is told by its name.

use std::sync::Arc;

use super::dense::Asked;
use super::grid::{self, BLOCK, Day, SHARD_METERS};
use super::manifest::Entry;
use super::open::month_key;
use super::query::{days_of, join};
use super::reader::Question;
use super::{Column, DayKey, MonthKey, Point, Segments, calendar};
use crate::error::{Error, Result};

/// The least and the greatest value of a meter in a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The meter.
    pub ordinal: u32,
    /// The least stored value.
    pub least: i64,
    /// The greatest stored value.
    pub greatest: i64,
}

/// What a question about many meters needs of one shard: shared, not copied.
struct Shared {
    files: Vec<Arc<Entry>>,
    days: Vec<Arc<Day>>,
}

impl Segments {
    /// Values of one column of many meters with `from_s < end_s <= to_s`: one list for each
    /// ordinal, in their order, each as [`Segments::query`] gives it.
    ///
    /// # Errors
    /// `interval_invalid`; `segment_damaged` when a sealed file cannot be trusted.
    pub fn query_many(
        &self,
        interval_minutes: u16,
        ordinals: &[u32],
        column: Column,
        (from_s, to_s): (i64, i64),
    ) -> Result<Vec<Vec<Point>>> {
        grid::slots(interval_minutes)?;
        let mut found = vec![Vec::new(); ordinals.len()];
        if from_s >= to_s {
            return Ok(found);
        }
        if interval_minutes == 0 {
            // Irregular values are few and not worth sharing: a merge would copy them all.
            for (ordinal, points) in ordinals.iter().zip(&mut found) {
                *points = self.query(interval_minutes, *ordinal, column, from_s, to_s)?;
            }
            return Ok(found);
        }
        let mut order: Vec<(u32, usize)> =
            ordinals.iter().enumerate().map(|(at, ordinal)| (*ordinal, at)).collect();
        order.sort_unstable();
        for shard in order.chunk_by(|one, next| one.0 / SHARD_METERS == next.0 / SHARD_METERS) {
            let Some(number) = shard.first().map(|(ordinal, _)| ordinal / SHARD_METERS) else {
                continue;
            };
            let shared = self.share(interval_minutes, number, (from_s, to_s));
            for block in shard.chunk_by(|one, next| one.0 / BLOCK == next.0 / BLOCK) {
                self.of_block(&shared, block, column, (from_s, to_s), &mut found)?;
            }
        }
        for points in &mut found {
            join(points);
        }
        Ok(found)
    }

    fn share(&self, interval_minutes: u16, shard: u32, span: (i64, i64)) -> Shared {
        let range = days_of(interval_minutes, shard, span);
        let months = month_key(*range.start())..=*range.end();
        let state = self.core.read();
        let days = state.sealed.range(range.clone()).flat_map(|(_, files)| files);
        let cold = state.cold_in(*range.start(), *range.end());
        let months = state.months.range(months).map(|(_, month)| month);
        let files = months.chain(cold).chain(days).cloned();
        let frozen = state.frozen.iter().map(|frozen| &frozen.day);
        let frozen = frozen.filter(|day| range.contains(&day.key()));
        let open = state.open.range(range.clone()).map(|(_, day)| day);
        Shared { files: files.collect(), days: frozen.chain(open).cloned().collect() }
    }

    /// Adds what some meters of one block have.
    fn of_block(
        &self,
        shared: &Shared,
        block: &[(u32, usize)],
        column: Column,
        span: (i64, i64),
        found: &mut [Vec<Point>],
    ) -> Result<()> {
        let columns = [column];
        for entry in &shared.files {
            if entry.besides == 0 {
                let asked = Asked { meters: block, column, span };
                self.sound(entry, || self.core.readers.of_block(entry, &asked, found))?;
                continue;
            }
            // Values beside others stand elsewhere in the file: meter by meter.
            for (ordinal, at) in block {
                let question = Question { ordinal: *ordinal, columns: &columns, span };
                let Some(out) = found.get_mut(*at) else { continue };
                let out = std::slice::from_mut(out);
                self.sound(entry, || self.core.readers.points(entry, &question, out))?;
            }
        }
        for day in &shared.days {
            for (ordinal, at) in block {
                if let Some(out) = found.get_mut(*at) {
                    day.points(*ordinal, column, span, out);
                }
            }
        }
        Ok(())
    }

    /// The least and greatest value of a column in a month, of every meter of a shard that has
    /// any, from the statistics of the month file's pages: no value is decoded. None when the
    /// answer is not in one month file alone (it is not folded yet, or late rows stand beside it).
    ///
    /// For a register that only rises these are its readings at the month's two ends.
    ///
    /// # Errors
    /// `month_invalid`; `segment_damaged` when the file cannot be trusted.
    pub fn month_bounds(&self, month: MonthKey, column: Column) -> Result<Option<Vec<Bounds>>> {
        let MonthKey { interval_minutes, shard, month } = month;
        let days = calendar::month(month)
            .ok_or_else(|| Error::misuse("month_invalid", format!("month {month}")))?;
        let key = DayKey { interval_minutes, shard, day: days.first };
        let last = DayKey { day: days.first.saturating_add(i32::from(days.days) - 1), ..key };
        let file = {
            let state = self.core.read();
            let waits = |day: &Arc<Day>| (key..=last).contains(&day.key());
            let more = state.sealed.range(key..=last).next().is_some()
                || state.open.range(key..=last).next().is_some()
                || state.frozen.iter().any(|frozen| waits(&frozen.day));
            let file = state.months.get(&key).or_else(|| state.cold.get(&key));
            file.filter(|file| !more && file.besides == 0).cloned()
        };
        let Some(file) = file else { return Ok(None) };
        self.sound(&file, || self.core.readers.bounds(&file, column)).map(Some)
    }

    /// The newest value of a series that ended at `last_s`, as the tables know it: from memory,
    /// or from the one page that holds it. None when nothing is stored.
    ///
    /// # Errors
    /// Those of [`Segments::query`].
    pub fn latest(
        &self,
        interval_minutes: u16,
        ordinal: u32,
        column: Column,
        last_s: i64,
    ) -> Result<Option<Point>> {
        let known = self.core.read().latest.get(interval_minutes, ordinal, column);
        if known.is_some_and(|point| point.end_s >= last_s) {
            return Ok(known);
        }
        let span = (last_s.saturating_sub(1), last_s);
        let found = self.query(interval_minutes, ordinal, column, span.0, span.1)?;
        let Some(point) = found.into_iter().find(|point| !point.beside) else {
            // The tables are a moment ahead of the rows: what came before is the newest here.
            return Ok(known);
        };
        self.core.write().latest.keep(interval_minutes, ordinal, column, &point);
        Ok(Some(point))
    }

    /// Octets of memory that the newest values take, roughly.
    pub fn latest_octets(&self) -> u64 {
        self.core.read().latest.octets()
    }
}
