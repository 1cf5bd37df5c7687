//! Writes the golden files of the recipes of today into a folder.
//!
//! `cargo run -p storage --example golden DIR`. The files stand in `tests/fixtures` and are
//! opened by the tests for ever. A folder there is never written anew: a new recipe or a new
//! form of a manifest gets a folder of its own.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use storage::segment::{DayKey, MonthKey, RECIPE_DAY, RECIPE_MONTH, Row, month_of};
use storage::{Config, Metrics, Segments};

type Outcome<T> = Result<T, Box<dyn Error>>;

const COLUMNS: [[u8; 6]; 2] = [[1, 0, 1, 8, 0, 255], [1, 0, 2, 8, 0, 255]];
const METERS: [u32; 4] = [0, 1, 65, 8191];
const DAY: i32 = 20_727;
const WAIT: Duration = Duration::from_secs(30);

fn main() -> Outcome<()> {
    let dir = std::env::args().nth(1).ok_or("usage: golden DIR")?;
    let dir = PathBuf::from(dir);
    let segments =
        Segments::open(&dir.join("segments"), &Config::default(), &Metrics::unregistered())?;
    let start_s = i64::from(DAY) * 86_400;
    for meter in METERS {
        for slot in 1..=2 * 96 {
            if slot % 11 != 0 {
                put(&segments, 1, meter, start_s + slot * 900, 0)?;
            }
        }
        irregular(&segments, 2, meter, start_s + 17, 5)?;
    }
    put(&segments, 3, 65, start_s + 900, 7)?;
    irregular(&segments, 3, 65, start_s + 17, 6)?;
    for (index, interval_minutes, day) in [(4, 15, DAY), (5, 15, DAY + 1), (6, 0, DAY)] {
        segments.seal(index, DayKey { interval_minutes, shard: 0, day }, RECIPE_DAY)?;
    }
    for interval_minutes in [15, 0] {
        let month = MonthKey { interval_minutes, shard: 0, month: month_of(DAY) };
        segments.compact(7, month, RECIPE_MONTH)?;
    }
    // Late: slot 11 was missing, slot 1 comes with another value.
    put(&segments, 8, 1, start_s + 11 * 900, 0)?;
    put(&segments, 8, 1, start_s + 900, 9)?;
    segments.seal(9, DayKey { interval_minutes: 15, shard: 0, day: DAY }, RECIPE_DAY)?;
    segments.settle(WAIT)?;
    put(&segments, 10, 0, start_s + 193 * 900, 0)?;
    segments.freeze(10).write(&dir.join("open-days"))?;
    Ok(())
}

/// A register's reading that anybody can reckon again: see the tests.
fn put(segments: &Segments, index: u64, meter: u32, end_s: i64, wrong: i64) -> Outcome<()> {
    let slot = end_s / 900;
    let import = slot * 25 + slot % 7 + i64::from(meter) + wrong;
    let export = (meter != 1).then_some(slot / 3);
    let flag = u8::from(slot % 13 == 0);
    let row = Row { ordinal: meter, end_s, flag, values: &[Some(import), export] };
    segments.merge(index, 15, &COLUMNS, &[row])?;
    Ok(())
}

fn irregular(segments: &Segments, index: u64, ordinal: u32, end_s: i64, value: i64) -> Outcome<()> {
    let row = Row { ordinal, end_s, flag: 0, values: &[Some(value)] };
    segments.merge(index, 0, &COLUMNS[..1], &[row])?;
    Ok(())
}
