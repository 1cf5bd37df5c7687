//! Questions about many meters, the newest value and a month's bounds, held against the question
//! about one meter, on a made-up load over days in every state.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::{Bounds, Column, DayKey, MonthKey, RECIPE_DAY, RECIPE_MONTH, Row, Segments, month_of};
use crate::config::Config;
use crate::metrics::Metrics;

pub(super) const A: Column = [1, 0, 1, 8, 0, 255];
pub(super) const B: Column = [1, 0, 2, 8, 0, 255];
/// The first of January 2024.
pub(super) const FIRST: i32 = 19_723;
pub(super) const DAY_S: i64 = 86_400;
pub(super) const WAIT: Duration = Duration::from_secs(60);

pub(super) fn open(dir: &Path) -> Segments {
    Segments::open(dir, &Config::for_test(dir), &Metrics::unregistered()).unwrap()
}

/// Small numbers that look random, the same for one seed.
pub(super) struct Dice(pub u64);

impl Dice {
    fn roll(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// Fills a day: most of the first 100 meters and some of the next shard, holes, conflicts.
pub(super) fn fill(segments: &Segments, dice: &mut Dice, index: u64, day: i32) {
    for meter in (0..100).chain([8191, 8192, 8200]) {
        for slot in 1..=24 {
            if dice.roll(10) == 0 {
                continue;
            }
            let base = i64::from(day - FIRST) * 1000 + i64::from(meter) * 7 + slot;
            let value = base + i64::from(dice.roll(50) == 0);
            let values = [Some(value), (meter % 3 == 0).then_some(-value)];
            let (end_s, flag) = (i64::from(day) * DAY_S + slot * 3600, u8::from(dice.roll(9) == 0));
            let row = Row { ordinal: meter, end_s, flag, values: &values };
            segments.merge(index, 60, &[A, B], &[row]).unwrap();
        }
    }
    let row = Row { ordinal: 5, end_s: i64::from(day) * DAY_S + 77, flag: 0, values: &[Some(1)] };
    segments.merge(index, 0, &[A], &[row]).unwrap();
}

pub(super) fn seal(segments: &Segments, index: u64, day: i32) {
    for shard in [0, 1] {
        let key = DayKey { interval_minutes: 60, shard, day };
        assert!(segments.seal(index, key, RECIPE_DAY).unwrap());
    }
}

/// A folded January with late rows beside it, sealed days of February, two of them with late
/// rows, and an open day.
pub(super) fn history(segments: &Segments, seed: u64) {
    let mut dice = Dice(seed);
    let mut index = 1;
    for day in [0, 1, 2, 30] {
        fill(segments, &mut dice, index, FIRST + day);
        seal(segments, index + 1, FIRST + day);
        index += 2;
    }
    for shard in [0, 1] {
        let month = MonthKey { interval_minutes: 60, shard, month: month_of(FIRST) };
        assert!(segments.compact(index, month, RECIPE_MONTH).unwrap());
        index += 1;
    }
    for day in [31, 32, 1, 32, 33] {
        fill(segments, &mut dice, index, FIRST + day);
        if day != 33 {
            seal(segments, index + 1, FIRST + day);
        }
        index += 2;
    }
    segments.settle(WAIT).unwrap();
}

pub(super) fn spans() -> [(i64, i64); 5] {
    let at = |day: i32, s: i64| i64::from(FIRST + day) * DAY_S + s;
    [
        (0, i64::MAX),
        (at(1, 0), at(2, 0)),
        (at(0, 5400), at(31, 7200)),
        (at(32, 3 * 3600), at(33, 4 * 3600)),
        (at(50, 0), at(51, 0)),
    ]
}

#[test]
fn many_meters_at_once_answer_as_one_by_one() {
    for seed in [1, 77, 4242] {
        let dir = tempfile::tempdir().unwrap();
        let segments = open(dir.path());
        history(&segments, seed);
        let every: Vec<u32> = (0..130).chain([8192, 8191, 8200, 8201, 20_000]).collect();
        let few = vec![99, 3, 64, 3];
        for interval in [60, 0] {
            for ordinals in [&every, &few] {
                for (span, column) in spans().into_iter().flat_map(|span| [(span, A), (span, B)]) {
                    let found = segments.query_many(interval, ordinals, column, span).unwrap();
                    assert_eq!(found.len(), ordinals.len());
                    for (ordinal, points) in ordinals.iter().zip(found) {
                        let alone =
                            segments.query(interval, *ordinal, column, span.0, span.1).unwrap();
                        assert_eq!(points, alone, "seed {seed}, meter {ordinal}, {span:?}");
                    }
                }
            }
        }
        let all = segments.query_many(60, &every, A, (0, i64::MAX)).unwrap();
        assert!(all.iter().flatten().any(|point| point.beside), "the load has conflicts");
    }
}

#[test]
fn the_newest_value_is_the_last_of_all() {
    let dir = tempfile::tempdir().unwrap();
    let check = |segments: &Segments| {
        for ordinal in (0..100).chain([8191, 8192, 8200, 5000]) {
            for (interval, column) in [(60, A), (60, B), (0, A)] {
                let all = segments.query(interval, ordinal, column, 0, i64::MAX).unwrap();
                let newest = all.iter().rfind(|point| !point.beside).copied();
                let last_s = newest.map_or(1, |point| point.end_s);
                let found = segments.latest(interval, ordinal, column, last_s).unwrap();
                assert_eq!(found, newest, "meter {ordinal}, interval {interval}");
            }
        }
    };
    let segments = open(dir.path());
    history(&segments, 9);
    check(&segments);
    assert!(segments.latest_octets() > 0);
    // After a restart the open days tell most, and the rest is read from its file.
    let checkpoint = segments.freeze(1000);
    segments.stop();
    drop(segments);
    let segments = open(dir.path());
    segments.restore(checkpoint);
    check(&segments);
    // A day that was sealed with the newest values stays right when late ones disagree.
    seal(&segments, 1001, FIRST + 33);
    segments.settle(WAIT).unwrap();
    fill(&segments, &mut Dice(5), 1002, FIRST + 33);
    check(&segments);
}

#[test]
fn a_months_bounds_are_its_least_and_greatest_values() {
    let dir = tempfile::tempdir().unwrap();
    let segments = open(dir.path());
    let mut dice = Dice(3);
    for (index, day) in (1..).zip([0, 4, 30]) {
        fill(&segments, &mut dice, index * 2, FIRST + day);
        seal(&segments, index * 2 + 1, FIRST + day);
    }
    let month = MonthKey { interval_minutes: 60, shard: 0, month: month_of(FIRST) };
    segments.settle(WAIT).unwrap();
    assert_eq!(segments.month_bounds(month, A).unwrap(), None, "it is not folded");
    assert!(segments.compact(100, month, RECIPE_MONTH).unwrap());
    segments.settle(WAIT).unwrap();
    for column in [A, B] {
        let found = segments.month_bounds(month, column).unwrap().expect("one file");
        let mut expect = BTreeMap::new();
        for ordinal in 0..8192 {
            let all = segments.query(60, ordinal, column, 0, i64::MAX).unwrap();
            let values = || all.iter().map(|point| point.value);
            if let (Some(least), Some(greatest)) = (values().min(), values().max()) {
                expect.insert(ordinal, Bounds { ordinal, least, greatest });
            }
        }
        assert!(!expect.is_empty());
        assert_eq!(found, expect.into_values().collect::<Vec<_>>());
    }
    assert_eq!(segments.month_bounds(month, [9; 6]).unwrap(), Some(vec![]));
    fill(&segments, &mut dice, 101, FIRST + 4);
    assert_eq!(segments.month_bounds(month, A).unwrap(), None, "late rows stand beside it");
}

/// A value of any size: small steps, wild ones, the least and the greatest.
fn any_value(dice: &mut Dice, slot: i64) -> i64 {
    match dice.roll(12) {
        0 => i64::MIN,
        1 => i64::MAX,
        2 => -i64::from(u32::MAX) * slot,
        3 | 4 => dice.roll(u64::MAX).cast_signed() >> dice.roll(60),
        _ => slot * 1000 + dice.roll(7).cast_signed(),
    }
}

/// Files are read by a decoder of our own: what was in memory must come back, whatever it was.
#[test]
fn any_values_come_back_from_day_and_month_files() {
    for seed in 1..=6 {
        let dir = tempfile::tempdir().unwrap();
        let segments = open(dir.path());
        let mut dice = Dice(seed * 977);
        let density = [1, 2, 10, 1000][dice.roll(4) as usize];
        for meter in 0..70 {
            let tame = meter % 4 == 0;
            for slot in 1..=96 {
                let held = meter % 9 != 0 && dice.roll(density) > 0 || density == 1;
                let wild = if tame { slot } else { any_value(&mut dice, slot) };
                let values = [held.then_some(wild), (meter != 5).then_some(slot / 30)];
                let flag = if dice.roll(3) == 0 { dice.roll(256) as u8 } else { 0 };
                let end_s = i64::from(FIRST) * DAY_S + slot * 900;
                let row = Row { ordinal: meter, end_s, flag, values: &values };
                segments.merge(1, 15, &[A, B], &[row]).unwrap();
            }
        }
        let all: Vec<u32> = (0..70).collect();
        let from_s = i64::from(FIRST) * DAY_S;
        let answers = || {
            let spans = [(0, i64::MAX), (from_s + 900, from_s + 5400), (from_s + 86_399, i64::MAX)];
            let ask = |column, span| segments.query_many(15, &all, column, span).unwrap();
            let one = |meter| segments.query(15, meter, A, 0, i64::MAX).unwrap();
            let many = [A, B].map(|column| spans.map(|span| ask(column, span)));
            (many, [0, 1, 63, 64].map(one))
        };
        let expect = answers();
        let key = DayKey { interval_minutes: 15, shard: 0, day: FIRST };
        assert!(segments.seal(2, key, RECIPE_DAY).unwrap());
        segments.settle(WAIT).unwrap();
        assert!(answers() == expect, "the day file, seed {seed}");
        let month = MonthKey { interval_minutes: 15, shard: 0, month: month_of(FIRST) };
        assert!(segments.compact(3, month, RECIPE_MONTH).unwrap());
        segments.settle(WAIT).unwrap();
        assert!(answers() == expect, "the month file, seed {seed}");
    }
}
