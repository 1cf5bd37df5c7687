//! Tests of month files, damage and healing through the public calls of the segments.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{
    Checkpoint, Column, DayKey, Entry, LEVEL_MONTH, MonthKey, Point, RECIPE_DAY, RECIPE_MONTH, Row,
    Segments, month_of,
};
use crate::config::Config;
use crate::metrics::Metrics;

const A: Column = [1, 0, 1, 8, 0, 255];
const B: Column = [1, 0, 2, 8, 0, 255];
/// The first of February 2024, a month of 29 days.
pub(super) const FIRST: i32 = 19_754;
const START_S: i64 = 19_754 * 86_400;
pub(super) const WAIT: Duration = Duration::from_secs(60);
const METERS: [u32; 4] = [0, 63, 64, 8191];

pub(super) fn open(dir: &Path) -> Segments {
    Segments::open(dir, &Config::for_test(dir), &Metrics::unregistered()).unwrap()
}

pub(super) fn month(interval_minutes: u16) -> MonthKey {
    MonthKey { interval_minutes, shard: 0, month: month_of(FIRST) }
}

pub(super) fn put(
    segments: &Segments,
    index: u64,
    meter: u32,
    slot: i64,
    values: [Option<i64>; 2],
) {
    let flag = u8::from(slot % 5 == 0);
    let row = Row { ordinal: meter, end_s: START_S + slot * 900, flag, values: &values };
    segments.merge(index, 15, &[A, B], &[row]).unwrap();
}

fn irregular(segments: &Segments, index: u64, meter: u32, second: i64, value: i64) {
    let row = Row { ordinal: meter, end_s: START_S + second, flag: 2, values: &[Some(value)] };
    segments.merge(index, 0, &[A], &[row]).unwrap();
}

pub(super) fn seal(segments: &Segments, index: u64, interval_minutes: u16, day: i32) {
    let key = DayKey { interval_minutes, shard: 0, day };
    assert!(segments.seal(index, key, RECIPE_DAY).unwrap());
}

/// What a log of a month does; `rest` is called between two entries.
pub(super) fn february(segments: &Segments, rest: &dyn Fn(&Segments, u64)) {
    for (index, day) in (1..).zip([0, 1, 14, 28]) {
        for meter in METERS {
            for slot in 1..=96 {
                if (slot + day) % 7 != 0 {
                    let b = (meter != 63).then_some(slot);
                    put(segments, index, meter, day * 96 + slot, [Some(day * 1000 + slot), b]);
                }
            }
            irregular(segments, index, meter, day * 86_400 + 17, day);
        }
        rest(segments, index);
    }
    put(segments, 5, 64, 1, [Some(-1), None]);
    irregular(segments, 5, 64, 17, 99);
    for (index, day) in (6..).zip([0, 1, 14, 28]) {
        seal(segments, index, 15, FIRST + day);
        seal(segments, index, 0, FIRST + day);
        rest(segments, index);
    }
    // Late: a hole filled, a value unlike the stored one, the same again, a new meter.
    put(segments, 10, 0, 7, [Some(7), None]);
    put(segments, 10, 0, 1, [Some(-5), Some(1)]);
    put(segments, 10, 64, 1, [Some(-1), None]);
    put(segments, 10, 700, 2, [Some(3), None]);
    irregular(segments, 10, 64, 17, 98);
    seal(segments, 11, 15, FIRST);
    seal(segments, 11, 0, FIRST);
    rest(segments, 11);
}

pub(super) fn fold(segments: &Segments, index: u64) {
    assert!(segments.compact(index, month(15), RECIPE_MONTH).unwrap());
    assert!(segments.compact(index, month(0), RECIPE_MONTH).unwrap());
}

/// Interval, ordinal, and of each column its points: end, value, whether it stands beside.
pub(super) type Answer = (u16, u32, Vec<Vec<(i64, i64, bool)>>);

/// Values with their times; flags are the row's in one file and the value's over several.
pub(super) fn answers(segments: &Segments) -> Vec<Answer> {
    let mut answers = Vec::new();
    for interval in [15, 0] {
        for meter in [0, 1, 63, 64, 700, 8191, 8192] {
            for (from, to) in [(0, i64::MAX), (START_S + 43_200, START_S + 86_400 * 15)] {
                let found = segments.query_columns(interval, meter, &[B, A], from, to).unwrap();
                let plain = |point: Point| (point.end_s, point.value, point.beside);
                let found = found.into_iter().map(|all| all.into_iter().map(plain).collect());
                answers.push((interval, meter, found.collect()));
            }
        }
    }
    answers
}

fn names(segments: &Segments) -> Vec<String> {
    segments.entries().iter().map(Entry::name).collect()
}

pub(super) fn until(what: &str, check: impl Fn() -> bool) {
    let end = Instant::now() + WAIT;
    while !check() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_folded_month_answers_as_its_days() {
    let dir = tempfile::tempdir().unwrap();
    let segments = open(dir.path());
    february(&segments, &|_, _| {});
    segments.settle(WAIT).unwrap();
    let before = answers(&segments);
    let (days, columns) = (names(&segments), segments.columns(15, 0));
    assert_eq!(days.len(), 10);
    fold(&segments, 12);
    segments.settle(WAIT).unwrap();
    assert_eq!(answers(&segments), before);
    assert_eq!(segments.columns(15, 0), columns);
    let months =
        ["irregular/shard-00000/2024-02.12.parquet", "lp15/shard-00000/2024-02.12.parquet"];
    assert_eq!(names(&segments), months);
    until("folded files go", || !days.iter().any(|name| dir.path().join(name).exists()));
    assert!(!segments.compact(12, month(15), RECIPE_MONTH).unwrap(), "it is done");
    assert!(!segments.compact(13, month(15), RECIPE_MONTH).unwrap(), "nothing is new");
    assert!(!segments.compact(13, month(60), RECIPE_MONTH).unwrap(), "nothing is there");
    let flags = |segments: &Segments| {
        let points = segments.query(15, 0, A, START_S, START_S + 900 * 6).unwrap();
        points.iter().map(|point| (point.value, point.flag)).collect::<Vec<_>>()
    };
    assert_eq!(flags(&segments), [(1, 0), (-5, 0), (2, 0), (3, 0), (4, 0), (5, 1), (6, 0)]);
    drop(segments);
    let segments = open(dir.path());
    assert_eq!(answers(&segments), before);
    // What comes later makes a file beside the month's, until it is folded in too.
    put(&segments, 14, 0, 14, [Some(14), None]);
    put(&segments, 14, 0, 1, [Some(-6), None]);
    seal(&segments, 15, 15, FIRST);
    segments.settle(WAIT).unwrap();
    let before = answers(&segments);
    assert_eq!(before[0].2[1].iter().filter(|point| point.2).count(), 2);
    assert!(segments.compact(16, month(15), RECIPE_MONTH).unwrap());
    segments.settle(WAIT).unwrap();
    assert_eq!(answers(&segments), before);
    assert_eq!(names(&segments)[1], "lp15/shard-00000/2024-02.16.parquet");
    let rows: Vec<u64> = segments.entries().iter().map(|entry| entry.rows).collect();
    assert_eq!(rows[0], 4 * 4 + 2);
}

#[test]
fn replicas_with_other_timings_have_equal_files() {
    let run = |rest: &dyn Fn(&Segments, u64)| {
        let dir = tempfile::tempdir().unwrap();
        let segments = open(dir.path());
        february(&segments, rest);
        fold(&segments, 12);
        rest(&segments, 12);
        put(&segments, 13, 0, 14, [Some(14), None]);
        seal(&segments, 14, 15, FIRST);
        rest(&segments, 14);
        assert!(segments.compact(15, month(15), RECIPE_MONTH).unwrap());
        segments.settle(WAIT).unwrap();
        let files: Vec<_> = segments.entries().iter().map(|entry| entry.file_hash).collect();
        (segments.digest(), files)
    };
    let quick = run(&|segments, _| segments.settle(WAIT).unwrap());
    assert_eq!(quick.0.sealed.len(), 2);
    assert_eq!(run(&|_, _| {}), quick);
    assert_eq!(
        run(&|segments, index| {
            if index % 4 == 0 {
                segments.settle(WAIT).unwrap();
            }
        }),
        quick
    );
}

#[test]
fn a_restart_folds_what_waited_and_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let saved = dir.path().join("open-days");
    let folder = dir.path().join("segments");
    let segments = open(&folder);
    february(&segments, &|segments, index| {
        if index == 3 {
            segments.freeze(3).write(&saved).unwrap();
        }
    });
    segments.settle(WAIT).unwrap();
    let expect = answers(&segments);
    // The thread is gone, so the fold waits in the checkpoint.
    segments.stop();
    fold(&segments, 12);
    let late = dir.path().join("later");
    segments.freeze(12).write(&late).unwrap();
    drop(segments);
    let segments = open(&folder);
    segments.restore(Checkpoint::read(&late).unwrap());
    segments.settle(WAIT).unwrap();
    assert_eq!(names(&segments).len(), 2);
    assert_eq!(answers(&segments), expect);
    let digest = segments.digest();
    drop(segments);
    // From an older checkpoint all of it is applied again: it finds the months.
    let segments = open(&folder);
    segments.restore(Checkpoint::read(&saved).unwrap());
    for (index, day) in (6..).zip([0, 1, 14, 28]) {
        for interval_minutes in [15, 0] {
            let key = DayKey { interval_minutes, shard: 0, day: FIRST + day };
            assert!(!segments.seal(index, key, RECIPE_DAY).unwrap());
        }
    }
    assert!(!segments.compact(12, month(15), RECIPE_MONTH).unwrap());
    segments.settle(WAIT).unwrap();
    assert_eq!((segments.digest(), answers(&segments)), (digest, expect));
    for length in [30, fs::metadata(&late).unwrap().len() - 1] {
        let octets = fs::read(&late).unwrap();
        let cut = dir.path().join("cut");
        fs::write(&cut, &octets[..usize::try_from(length).unwrap()]).unwrap();
        assert_eq!(Checkpoint::read(&cut).unwrap_err().code(), "open_days_damaged");
    }
}

#[test]
fn pinned_files_outlive_their_folding() {
    let dir = tempfile::tempdir().unwrap();
    let segments = open(dir.path());
    february(&segments, &|_, _| {});
    segments.settle(WAIT).unwrap();
    let (entries, pin) = segments.pinned(11);
    fold(&segments, 12);
    segments.settle(WAIT).unwrap();
    let all =
        |there: bool| entries.iter().all(|entry| dir.path().join(entry.name()).exists() == there);
    std::thread::sleep(Duration::from_millis(50));
    assert!(all(true));
    // Another process finds them by the list alone, and sweeps them when nobody names them.
    segments.stop();
    drop((segments, pin));
    let segments = open(dir.path());
    let pin = segments.pin(&entries);
    segments.sweep().unwrap();
    assert!(all(true));
    segments.stop();
    drop((segments, pin));
    let segments = open(dir.path());
    segments.sweep().unwrap();
    assert!(all(false));
    assert_eq!(names(&segments).len(), 2);
}

fn spoil(dir: &Path, name: &str) {
    let path = dir.join(name);
    let mut octets = fs::read(&path).unwrap();
    let middle = octets.len() / 2;
    octets[middle] ^= 1;
    fs::write(&path, octets).unwrap();
}

/// Fetches what one lacks from another, as a node does from a peer.
fn heal(from: &Segments, to: &Segments) -> usize {
    let mut healed = 0;
    for want in to.wants() {
        let Some(entry) = from.offer(&want) else { continue };
        // Healing one file may have made another unneeded.
        if !to.wants().contains(&want) {
            continue;
        }
        let mut healing = to.heal(&want, entry.clone()).unwrap();
        while let Some(offset) = healing.next_offset() {
            healing.receive(&from.read_piece(&entry, offset, 1000).unwrap()).unwrap();
        }
        healing.finish().unwrap();
        healed += 1;
    }
    healed
}

#[test]
fn a_flipped_byte_is_found_and_healed() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [one, other] = [open(dirs[0].path()), open(dirs[1].path())];
    for segments in [&one, &other] {
        february(segments, &|_, _| {});
        segments.settle(WAIT).unwrap();
    }
    let expect = answers(&one);
    let name = "lp15/shard-00000/2024-02-15.8.parquet";
    spoil(dirs[0].path(), name);
    until("the scrubber finds it", || !one.damaged().is_empty());
    assert_eq!(one.damage()[0].0, name);
    let aside = dirs[0].path().join("quarantine").join(name.replace('/', "_"));
    until("it is moved aside", || aside.exists());
    let error = one.query(15, 0, A, 0, i64::MAX).unwrap_err();
    assert_eq!(error.code(), "segment_damaged");
    assert!(error.to_string().contains(name), "{error}");
    // What other files hold is served.
    assert_eq!(one.query(15, 0, A, START_S, START_S + 86_400).unwrap().len(), 96 - 13 + 1 + 1);
    let want = one.wants().remove(0);
    let mut wrong = other.offer(&want).unwrap();
    wrong.content_hash = [9; 32];
    assert_eq!(one.heal(&want, wrong).err().unwrap().code(), "segment_unknown");
    let entry = other.offer(&want).unwrap();
    let mut healing = one.heal(&want, entry.clone()).unwrap();
    healing.receive(&vec![0; usize::try_from(entry.octets).unwrap()]).unwrap();
    assert_eq!(healing.receive(&[0]).unwrap_err().code(), "segment_piece");
    assert_eq!(healing.finish().unwrap_err().code(), "segment_hash");
    assert_eq!(heal(&other, &one), 1);
    assert_eq!((one.damaged(), answers(&one)), (vec![], expect.clone()));
    // A file that is gone is found at the next start.
    drop(one);
    fs::remove_file(dirs[0].path().join(name)).unwrap();
    let one = open(dirs[0].path());
    assert_eq!(one.damaged().len(), 1);
    assert_eq!(heal(&other, &one), 1);
    assert_eq!(answers(&one), expect);
}

#[test]
fn a_month_with_a_damaged_source_comes_from_a_peer() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [one, other] = [open(dirs[0].path()), open(dirs[1].path())];
    for segments in [&one, &other] {
        february(segments, &|_, _| {});
        segments.settle(WAIT).unwrap();
    }
    spoil(dirs[0].path(), "lp15/shard-00000/2024-02-29.9.parquet");
    fold(&one, 12);
    fold(&other, 12);
    one.settle(WAIT).unwrap();
    other.settle(WAIT).unwrap();
    let source = dirs[1].path().join("lp15/shard-00000/2024-02-29.9.parquet");
    until("the peer's source goes", || !source.exists());
    let waits = one.wants();
    assert!(waits.iter().any(|want| want.level == LEVEL_MONTH && want.generation == 12));
    assert_eq!((one.digest().waiting, other.digest().waiting), (1, 0));
    // Its days are folded at the peer, so the month comes as a whole.
    assert_eq!(heal(&other, &one), 1);
    assert_eq!((one.wants(), one.digest()), (vec![], other.digest()));
    assert_eq!(answers(&one), answers(&other));
}
