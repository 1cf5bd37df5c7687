//! Tests of the segments through their public calls: memory, files, restarts, damage.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::{
    Checkpoint, Column, DayKey, Merged, MonthKey, Point, RECIPE_DAY, RECIPE_MONTH, Row, Segments,
};
use crate::config::Config;
use crate::metrics::Metrics;

const A: Column = [1, 0, 1, 8, 0, 255];
const B: Column = [1, 0, 2, 8, 0, 255];
const DAY: i32 = 20_000;
const MIDNIGHT: i64 = 20_000 * 86_400;
const WAIT: Duration = Duration::from_secs(10);

fn open(dir: &Path) -> Segments {
    Segments::open(dir, &Config::for_test(dir), &Metrics::unregistered()).unwrap()
}

fn key(interval_minutes: u16, shard: u32) -> DayKey {
    DayKey { interval_minutes, shard, day: DAY }
}

fn put(segments: &Segments, index: u64, ordinal: u32, slot: i64, value: i64) -> Merged {
    let values = [Some(value), Some(-value)];
    let row = Row { ordinal, end_s: MIDNIGHT + slot * 900, flag: 1, values: &values };
    segments.merge(index, 15, &[A, B], &[row]).unwrap()
}

fn seal(segments: &Segments, index: u64, key: DayKey) {
    assert!(segments.seal(index, key, RECIPE_DAY).unwrap());
    segments.settle(WAIT).unwrap();
}

fn values(segments: &Segments, ordinal: u32, column: Column) -> Vec<(i64, i64, bool)> {
    let points =
        segments.query(15, ordinal, column, MIDNIGHT, MIDNIGHT + 86_400).unwrap().into_iter();
    points.map(|point: Point| ((point.end_s - MIDNIGHT) / 900, point.value, point.beside)).collect()
}

#[test]
fn a_sealed_day_answers_as_the_open_one() {
    let dir = tempfile::tempdir().unwrap();
    let segments = open(dir.path());
    for ordinal in [0, 1, 63, 64, 700, 8191, 8192] {
        for slot in 1..=96 {
            if slot % 7 != 0 {
                put(&segments, 1, ordinal, slot, slot * 1000 + i64::from(ordinal));
            }
        }
    }
    let ask = |segments: &Segments| {
        let mut answers = Vec::new();
        for ordinal in [0, 1, 2, 63, 64, 65, 700, 8191, 8192, 20_000] {
            let found = segments.query_columns(15, ordinal, &[B, A, [9; 6]], 0, i64::MAX);
            answers.push(found.unwrap());
        }
        answers
    };
    let before = ask(&segments);
    assert_eq!(before[0][1].len(), 96 - 13);
    assert_eq!(before[2], [vec![], vec![], vec![]]);
    for shard in 0..2 {
        seal(&segments, 2, key(15, shard));
    }
    assert_eq!(ask(&segments), before);
    assert_eq!(segments.entries().len(), 2);
    let again = open(dir.path());
    assert_eq!(ask(&again), before);
    let noon = again.query(15, 64, A, MIDNIGHT + 900, MIDNIGHT + 2700).unwrap();
    let found: Vec<i64> = noon.iter().map(|point| point.value).collect();
    assert_eq!(found, [2064, 3064]);
}

#[test]
fn late_rows_make_generations_and_conflicts_stay_beside() {
    let dir = tempfile::tempdir().unwrap();
    let segments = open(dir.path());
    let stored = Merged { stored: 1, ..Merged::default() };
    assert_eq!(put(&segments, 1, 5, 1, 100), stored);
    assert_eq!(put(&segments, 2, 5, 1, 100), Merged { same: 1, ..Merged::default() });
    assert_eq!(put(&segments, 3, 5, 1, 101), Merged { conflicting: 1, ..Merged::default() });
    seal(&segments, 4, key(15, 0));
    // What was sealed is not looked at when rows come: equal on every replica.
    assert_eq!(put(&segments, 5, 5, 1, 100), stored);
    put(&segments, 6, 5, 2, 200);
    seal(&segments, 7, key(15, 0));
    put(&segments, 8, 5, 1, 102);
    let expect = [(1, 100, false), (1, 101, true), (1, 102, true), (2, 200, false)];
    assert_eq!(values(&segments, 5, A), expect);
    let names: Vec<String> = segments.entries().iter().map(super::Entry::name).collect();
    let name = "lp15/shard-00000/2024-10-04";
    assert_eq!(names, [format!("{name}.4.parquet"), format!("{name}.7.parquet")]);
    assert_eq!(segments.columns(15, 5), [A, B]);
    assert!(!segments.seal(9, key(60, 0), RECIPE_DAY).unwrap(), "nothing is open there");
}

#[test]
fn irregular_values_are_sealed_too() {
    let dir = tempfile::tempdir().unwrap();
    let segments = open(dir.path());
    let row = |end_s, value| {
        let values = [Some(value)];
        segments.merge(1, 0, &[A], &[Row { ordinal: 9, end_s, flag: 0, values: &values }]).unwrap()
    };
    row(MIDNIGHT + 17, 5);
    row(MIDNIGHT + 17, 6);
    row(MIDNIGHT + 11, 4);
    let ask = || {
        let points = segments.query(0, 9, A, MIDNIGHT, MIDNIGHT + 17).unwrap().into_iter();
        points.map(|point| (point.value, point.beside)).collect::<Vec<_>>()
    };
    assert_eq!(ask(), [(4, false), (5, false), (6, true)]);
    seal(&segments, 2, key(0, 0));
    assert_eq!(ask(), [(4, false), (5, false), (6, true)]);
    assert_eq!(segments.query(0, 9, B, 0, i64::MAX).unwrap(), []);
}

#[test]
fn the_content_hash_does_not_know_the_way() {
    let hash = |order: &[i64]| {
        let dir = tempfile::tempdir().unwrap();
        let segments = open(dir.path());
        for slot in order {
            put(&segments, 1, 3, *slot, *slot);
        }
        seal(&segments, 2, key(15, 0));
        let entry = segments.entries().remove(0);
        (entry.content_hash, entry.file_hash)
    };
    assert_eq!(hash(&[1, 2, 3]), hash(&[3, 1, 2, 2]));
    assert_ne!(hash(&[1, 2, 3]).0, hash(&[1, 2, 4]).0);
}

#[test]
fn a_restart_merges_and_seals_again_without_a_trace() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = dir.path().join("open-days");
    let folder = dir.path().join("segments");
    let entries: Vec<(u64, i64)> = (1..=40).map(|index| (index, i64::from(index as u32))).collect();
    let run = |segments: &Segments| {
        for (index, slot) in &entries {
            put(segments, *index, 3, *slot, *slot * 10);
            if *index == 20 || *index == 30 {
                segments.seal(*index, key(15, 0), RECIPE_DAY).unwrap();
            }
        }
        segments.settle(WAIT).unwrap();
    };
    let segments = open(&folder);
    for (index, slot) in entries.iter().take(10) {
        put(&segments, *index, 3, *slot, *slot * 10);
    }
    segments.freeze(10).write(&checkpoint).unwrap();
    run(&segments);
    let before = (segments.entries(), values(&segments, 3, A));
    assert_eq!(before.1.len(), 40);
    drop(segments);
    // A second start goes on from the checkpoint, with both files already there.
    let segments = open(&folder);
    segments.restore(Checkpoint::read(&checkpoint).unwrap());
    assert_eq!(segments.floor(), 10);
    run(&segments);
    assert_eq!((segments.entries(), values(&segments, 3, A)), before);
}

#[test]
fn a_checkpoint_keeps_days_that_wait_for_their_file() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = dir.path().join("open-days");
    let segments = open(&dir.path().join("one"));
    put(&segments, 1, 3, 5, 50);
    // The worker is gone, so the day stays frozen.
    segments.stop();
    assert!(segments.seal(2, key(15, 0), RECIPE_DAY).unwrap());
    assert_eq!(segments.settle(Duration::from_millis(1)).unwrap_err().code(), "seal_waits");
    put(&segments, 3, 3, 6, 60);
    segments.freeze(3).write(&checkpoint).unwrap();
    let segments = open(&dir.path().join("two"));
    segments.restore(Checkpoint::read(&checkpoint).unwrap());
    segments.settle(WAIT).unwrap();
    assert_eq!(segments.entries()[0].sealed_index, 2);
    assert_eq!(values(&segments, 3, A), [(5, 50, false), (6, 60, false)]);
    for length in [0, 10, 23, 30] {
        let octets = fs::read(&checkpoint).unwrap();
        let cut = dir.path().join("cut");
        fs::write(&cut, &octets[..length]).unwrap();
        assert_eq!(Checkpoint::read(&cut).unwrap_err().code(), "open_days_damaged");
    }
}

#[test]
fn a_file_that_cannot_be_written_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let segments = open(dir.path());
    put(&segments, 1, 3, 5, 50);
    let blocked = dir.path().join("lp15");
    fs::write(&blocked, b"a file where a folder has to be").unwrap();
    segments.seal(2, key(15, 0), RECIPE_DAY).unwrap();
    assert!(segments.settle(Duration::from_millis(150)).is_err());
    assert_eq!(values(&segments, 3, A), [(5, 50, false)]);
    fs::remove_file(&blocked).unwrap();
    segments.settle(WAIT).unwrap();
    assert_eq!(segments.entries().len(), 1);
}

#[test]
fn a_damaged_file_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let segments = open(dir.path());
    put(&segments, 1, 3, 5, 50);
    seal(&segments, 2, key(15, 0));
    let path = dir.path().join(segments.entries()[0].name());
    let mut octets = fs::read(&path).unwrap();
    octets[20] ^= 1;
    fs::write(&path, octets).unwrap();
    let segments = open(dir.path());
    let error = segments.query(15, 3, A, 0, i64::MAX).unwrap_err();
    assert_eq!(error.code(), "segment_damaged");
}

#[test]
fn bad_rows_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let segments = open(dir.path());
    let check = |interval, end_s, values: &[Option<i64>], expect: &str| {
        let good = Row { ordinal: 3, end_s: 900, flag: 0, values: &[Some(1)] };
        let bad = Row { ordinal: 3, end_s, flag: 0, values };
        let error = segments.merge(1, interval, &[A], &[good, bad]).unwrap_err();
        assert_eq!(error.code(), expect);
    };
    check(15, 901, &[Some(1)], "row_unaligned");
    check(15, 900, &[Some(1), None], "row_columns");
    check(7, 420, &[Some(1)], "interval_invalid");
    check(15, i64::MAX / 900 * 900, &[Some(1)], "row_time");
    assert_eq!(segments.query(15, 3, A, 0, i64::MAX).unwrap(), []);
    assert_eq!(segments.query(15, 3, A, 9, 9).unwrap(), []);
    let error = segments.seal(1, key(15, 0), 9).unwrap_err();
    assert_eq!(error.code(), "recipe_unknown");
    let month = MonthKey { interval_minutes: 15, shard: 0, month: 656 };
    assert_eq!(segments.compact(1, month, RECIPE_DAY).unwrap_err().code(), "recipe_unknown");
    let month = MonthKey { month: i32::MAX, ..month };
    assert_eq!(segments.compact(1, month, RECIPE_MONTH).unwrap_err().code(), "month_invalid");
}
