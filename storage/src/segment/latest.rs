//! The newest value of every series, in arrays by ordinal: asked for without reading a file.
//!
//! Filled by merges, and at a start from the open days. It may lack a series (a meter that has
//! been silent since before the open days) and it never guesses: who asks says when the newest
//! value ended, as the tables know it, and what is lacking is read from its file once and kept.
//!
//! Invariants: a newer value replaces an older one, never the other way; of one time the open
//! day says which value counts, so days that have files already are left out; memory is 13 octets
//! a meter and column, in pieces of a shard, and no more than [`MAX_COLUMNS`] columns are kept.

use std::collections::BTreeMap;

use super::grid::{Day, SHARD_METERS};
use super::{Column, Point, Row};

/// The most columns that are kept, over all intervals; more are read from their files.
const MAX_COLUMNS: usize = 64;
/// Meters of a shard.
const METERS: usize = SHARD_METERS as usize;

/// All of it.
#[derive(Debug, Default)]
pub struct Latest {
    columns: BTreeMap<(u16, Column), Vec<Option<Box<Piece>>>>,
}

/// One shard of one column. An end of 0 says that nothing is known.
#[derive(Debug)]
struct Piece {
    ends: Vec<u32>,
    values: Vec<i64>,
    flags: Vec<u8>,
}

impl Piece {
    fn new() -> Self {
        Self { ends: vec![0; METERS], values: vec![0; METERS], flags: vec![0; METERS] }
    }

    fn note(&mut self, place: usize, point: &Point) {
        let Ok(end) = u32::try_from(point.end_s) else { return };
        let (Some(known), Some(value), Some(flag)) =
            (self.ends.get_mut(place), self.values.get_mut(place), self.flags.get_mut(place))
        else {
            return;
        };
        // Of one time the day is asked, which knows the first value and all its flags.
        if end >= *known {
            (*known, *value, *flag) = (end, point.value, point.flag);
        }
    }
}

impl Latest {
    /// Octets of memory, roughly.
    pub fn octets(&self) -> u64 {
        let pieces = self.columns.values().flatten().flatten().count();
        pieces as u64 * METERS as u64 * 13
    }

    fn piece(&mut self, interval_minutes: u16, name: Column, shard: u32) -> Option<&mut Piece> {
        let key = (interval_minutes, name);
        if self.columns.len() >= MAX_COLUMNS && !self.columns.contains_key(&key) {
            return None;
        }
        let shard = usize::try_from(shard).ok()?;
        let pieces = self.columns.entry(key).or_default();
        if pieces.len() <= shard {
            pieces.resize_with(shard + 1, || None);
        }
        Some(pieces.get_mut(shard)?.get_or_insert_with(|| Box::new(Piece::new())))
    }

    /// Takes what a day holds at the places of rows that were just merged into it.
    pub fn take(&mut self, day: &Day, columns: &[Column], rows: &[Row<'_>]) {
        let key = day.key();
        for row in rows {
            day.held(row.ordinal, row.end_s, columns, &mut |name, point| {
                self.keep(key.interval_minutes, row.ordinal, name, &point);
            });
        }
    }

    /// Forgets what a day with files of its own has at the places of rows that were just merged:
    /// only day and files together tell what counts there.
    pub fn forget(&mut self, day: &Day, columns: &[Column], rows: &[Row<'_>]) {
        let key = day.key();
        for row in rows {
            day.held(row.ordinal, row.end_s, columns, &mut |name, point| {
                let piece = self.piece(key.interval_minutes, name, key.shard);
                let place = (row.ordinal % SHARD_METERS) as usize;
                let end = piece.and_then(|piece| piece.ends.get_mut(place));
                if let Some(end) = end.filter(|end| i64::from(**end) <= point.end_s) {
                    *end = 0;
                }
            });
        }
    }

    /// Takes the newest values of a whole day.
    pub fn take_day(&mut self, day: &Day) {
        let key = day.key();
        day.newest(&mut |name, ordinal, point| {
            self.keep(key.interval_minutes, ordinal, name, &point);
        });
    }

    /// Keeps one value, unless a newer one is known.
    pub fn keep(&mut self, interval_minutes: u16, ordinal: u32, name: Column, point: &Point) {
        if let Some(piece) = self.piece(interval_minutes, name, ordinal / SHARD_METERS) {
            piece.note((ordinal % SHARD_METERS) as usize, point);
        }
    }

    /// The newest value that is known of a series.
    pub fn get(&self, interval_minutes: u16, ordinal: u32, name: Column) -> Option<Point> {
        let shard = usize::try_from(ordinal / SHARD_METERS).ok()?;
        let piece = self.columns.get(&(interval_minutes, name))?.get(shard)?.as_ref()?;
        let place = (ordinal % SHARD_METERS) as usize;
        let end = piece.ends.get(place).copied().filter(|end| *end > 0)?;
        Some(Point {
            end_s: i64::from(end),
            value: *piece.values.get(place)?,
            flag: *piece.flags.get(place)?,
            beside: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Latest, MAX_COLUMNS};
    use crate::segment::grid::Day;
    use crate::segment::{DayKey, Point, Row};

    const IMPORT: [u8; 6] = [1, 0, 1, 8, 0, 255];
    const EXPORT: [u8; 6] = [1, 0, 2, 8, 0, 255];

    fn point(end_s: i64, value: i64, flag: u8) -> Point {
        Point { end_s, value, flag, beside: false }
    }

    #[test]
    fn the_newest_wins_and_of_one_time_what_the_day_says() {
        let key = DayKey { interval_minutes: 15, shard: 1, day: 0 };
        let mut day = Day::new(key).unwrap();
        let mut latest = Latest::default();
        let mut take = |name, end_s, value, flag| {
            let (columns, values) = ([name], [Some(value)]);
            let rows = [Row { ordinal: 8200, end_s, flag, values: &values }];
            day.merge(&columns, &rows, &mut |_| {});
            latest.take(&day, &columns, &rows);
            latest.get(15, 8200, IMPORT)
        };
        assert_eq!(take(IMPORT, 1800, 5, 0), Some(point(1800, 5, 0)));
        assert_eq!(take(IMPORT, 900, 4, 1), Some(point(1800, 5, 0)), "an older one is nothing");
        assert_eq!(take(IMPORT, 1800, 6, 2), Some(point(1800, 5, 0)), "a conflict is nothing");
        assert_eq!(take(IMPORT, 1800, 5, 4), Some(point(1800, 5, 4)), "a doubt stays");
        assert_eq!(take(EXPORT, 1800, 1, 8), Some(point(1800, 5, 12)), "a doubt is of the row");
        assert_eq!(take(IMPORT, 2700, 7, 0), Some(point(2700, 7, 0)));
        let mut again = Latest::default();
        again.take_day(&day);
        for (ordinal, name) in [(8200, IMPORT), (8200, EXPORT), (8201, IMPORT)] {
            assert_eq!(again.get(15, ordinal, name), latest.get(15, ordinal, name));
        }
        assert_eq!(latest.get(30, 8200, IMPORT), None);
        assert_eq!(latest.octets(), 2 * 13 * 8192, "two columns of one shard");
    }

    #[test]
    fn memory_is_bounded_whatever_meters_send() {
        let mut latest = Latest::default();
        for number in 0..=255 {
            latest.keep(15, 1, [1, 0, number, 8, 0, 255], &point(900, 1, 0));
        }
        assert_eq!(latest.octets(), MAX_COLUMNS as u64 * 13 * 8192);
        assert_eq!(latest.get(15, 1, [1, 0, 200, 8, 0, 255]), None);
    }
}
