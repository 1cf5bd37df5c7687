//! Conflicts: times for which several values came, the first of them stored and the others kept
//! beside it.
//!
//! A value stands beside another in one file, or in a later file or an open day than the first.
//! So what is looked at is what files say stands beside, and the meters of whatever came after
//! something else of the same day; their values decide.
//!
//! Invariants: a page follows from the files and the place behind which it begins, never from the
//! whole history; what one page looks at is bounded, so a page may be short, or empty, and still
//! have a next one; the points of a conflict are those that [`Segments::query`] gives.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::grid::{self, DAY_S, SHARD_METERS};
use super::manifest::Entry;
use super::open::month_key;
use super::query::days_of;
use super::{Column, DayKey, Point, Segments};
use crate::error::Result;

/// Meters' days that one page looks at.
const LOOKED: usize = 1000;

/// Where a conflict is, in the order of pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// Minutes of an interval; 0: irregular values.
    pub interval_minutes: u16,
    /// The meter.
    pub ordinal: u32,
    /// End of the interval, seconds UTC.
    pub end_s: i64,
    /// The column.
    pub column: Column,
}

/// Several values of one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Where.
    pub spot: Spot,
    /// The stored one, then the others as they came.
    pub points: Vec<Point>,
}

/// Which conflicts; what is none does not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Search {
    /// Minutes of an interval.
    pub interval_minutes: Option<u16>,
    /// The meter.
    pub ordinal: Option<u32>,
    /// The column.
    pub column: Option<Column>,
    /// Ends of intervals, seconds UTC: after, up to.
    pub span: (i64, i64),
}

/// A meter's day.
type MeterDay = (u32, i32);

impl Segments {
    /// At most `limit` conflicts behind a spot, in order; and where the next page begins, unless
    /// this is the last one.
    ///
    /// # Errors
    /// Those of [`Segments::query`].
    pub fn conflicts(
        &self,
        search: &Search,
        after: Option<Spot>,
        limit: usize,
    ) -> Result<(Vec<Conflict>, Option<Spot>)> {
        let (mut page, mut looked) = (Vec::new(), 0);
        if search.span.0 >= search.span.1 {
            return Ok((page, None));
        }
        for (interval_minutes, shard) in self.shards(search, after) {
            let days = self.doubtful(interval_minutes, shard, search)?;
            let behind = after.filter(|spot| spot.interval_minutes == interval_minutes);
            let first = behind.map(|spot| (spot.ordinal, day_of(spot.end_s)));
            for (ordinal, day) in days.into_iter().filter(|day| Some(*day) >= first) {
                looked += 1;
                for conflict in self.of_day(interval_minutes, (ordinal, day), search)? {
                    if after.is_some_and(|after| conflict.spot <= after) {
                        continue;
                    }
                    page.push(conflict);
                    if page.len() > limit {
                        page.pop();
                        let last = page.last().map(|conflict| conflict.spot);
                        return Ok((page, last.or(after)));
                    }
                }
                if looked >= LOOKED {
                    let end_s = (i64::from(day) + 1) * DAY_S;
                    let column = [u8::MAX; 6];
                    return Ok((page, Some(Spot { interval_minutes, ordinal, end_s, column })));
                }
            }
        }
        Ok((page, None))
    }

    /// The shards that hold anything, with their intervals, in the order of pages.
    fn shards(&self, search: &Search, after: Option<Spot>) -> BTreeSet<(u16, u32)> {
        let state = self.core.read();
        let frozen = state.frozen.iter().map(|frozen| frozen.day.key());
        let keys = state.open.keys().chain(state.sealed.keys()).chain(state.months.keys());
        let keys = keys.chain(state.cold.keys()).copied().chain(frozen);
        let shard_of = |ordinal: u32| ordinal / SHARD_METERS;
        let first = after.map(|spot| (spot.interval_minutes, shard_of(spot.ordinal)));
        keys.map(|key| (key.interval_minutes, key.shard))
            .filter(|(minutes, _)| search.interval_minutes.is_none_or(|wanted| wanted == *minutes))
            .filter(|(_, shard)| search.ordinal.is_none_or(|wanted| shard_of(wanted) == *shard))
            .filter(|shard| Some(*shard) >= first)
            .collect()
    }

    /// The meters' days of a shard in which values may stand beside each other.
    fn doubtful(
        &self,
        interval_minutes: u16,
        shard: u32,
        search: &Search,
    ) -> Result<BTreeSet<MeterDay>> {
        let range = days_of(interval_minutes, shard, search.span);
        let mut found = BTreeSet::new();
        // Files that may say of themselves what stands beside, and those that came later than
        // something else of their day.
        let (mut own, mut late) = (Vec::new(), Vec::new());
        {
            let state = self.core.read();
            let months = month_key(*range.start())..=*range.end();
            let months = state.months.range(months).map(|(_, month)| month);
            let months: Vec<&Arc<Entry>> =
                months.chain(state.cold_in(*range.start(), *range.end())).collect();
            let folded: BTreeMap<DayKey, ()> = months.iter().map(|month| (month.key, ())).collect();
            own.extend(months.into_iter().cloned());
            let mut seen = BTreeSet::new();
            let mut is_late =
                |key: DayKey| !seen.insert(key.day) || folded.contains_key(&month_key(key));
            for entry in state.sealed.range(range.clone()).flat_map(|(_, files)| files) {
                own.push(entry.clone());
                if is_late(entry.key) {
                    late.push(entry.clone());
                }
            }
            let frozen = state.frozen.iter().map(|frozen| &frozen.day);
            let frozen = frozen.filter(|day| range.contains(&day.key()));
            for day in frozen.chain(state.open.range(range.clone()).map(|(_, day)| day)) {
                let number = day.key().day;
                let mut note = |ordinal| found.extend([(ordinal, number)]);
                day.with_besides(&mut note);
                if is_late(day.key()) {
                    day.meters(&mut note);
                }
            }
        }
        for entry in own {
            self.sound(&entry, || self.besides(&entry, &mut found))?;
        }
        for entry in late {
            let meters = self.sound(&entry, || self.core.readers.meters(&entry))?;
            found.extend(meters.into_iter().map(|ordinal| (ordinal, entry.key.day)));
        }
        let first = search.ordinal.map_or(u32::MIN, |ordinal| ordinal);
        let last = search.ordinal.map_or(u32::MAX, |ordinal| ordinal);
        let (from, to) = (range.start().day, range.end().day);
        found
            .retain(|(ordinal, day)| (first..=last).contains(ordinal) && (from..=to).contains(day));
        Ok(found)
    }

    /// What a file itself says stands beside.
    fn besides(&self, entry: &Entry, found: &mut BTreeSet<MeterDay>) -> Result<()> {
        let lines = match entry.key.interval_minutes {
            0 => self.core.readers.lines(entry)?,
            _ => self.core.readers.besides(entry)?,
        };
        let lines = lines.into_iter().filter(|line| line.beside);
        found.extend(lines.map(|line| (line.ordinal, day_of(line.end_s))));
        Ok(())
    }

    /// The conflicts of a meter's day, in order.
    fn of_day(
        &self,
        interval_minutes: u16,
        (ordinal, day): MeterDay,
        search: &Search,
    ) -> Result<Vec<Conflict>> {
        let columns = match search.column {
            Some(column) => vec![column],
            None => self.columns(interval_minutes, ordinal),
        };
        let start_s = i64::from(day) * DAY_S;
        let from_s = search.span.0.max(start_s);
        let to_s = search.span.1.min(start_s + DAY_S);
        let all = self.query_columns(interval_minutes, ordinal, &columns, from_s, to_s)?;
        let mut found = Vec::new();
        for (column, points) in columns.iter().zip(all) {
            for points in points.chunk_by(|one, next| one.end_s == next.end_s) {
                let [first, _, ..] = points else { continue };
                let (column, end_s) = (*column, first.end_s);
                let spot = Spot { interval_minutes, ordinal, end_s, column };
                found.push(Conflict { spot, points: points.to_vec() });
            }
        }
        found.sort_by_key(|conflict| conflict.spot);
        Ok(found)
    }
}

/// The day that a time belongs to: its slots end in (00:00, 24:00].
fn day_of(end_s: i64) -> i32 {
    let day = end_s.saturating_sub(1).div_euclid(grid::DAY_S);
    i32::try_from(day).unwrap_or(if day < 0 { i32::MIN } else { i32::MAX })
}
