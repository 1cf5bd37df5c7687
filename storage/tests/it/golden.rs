//! Files of every recipe and of earlier forms, kept in `tests/fixtures`: they open for ever.
//!
//! `v1`: day files numbered 0 and 1, and a checkpoint without folds, as the first version wrote
//! them. `v2`: numbers are log indexes; a month file of each kind beside later days. What they
//! hold can be reckoned: see `examples/golden.rs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use storage::segment::{Checkpoint, MonthKey, RECIPE_MONTH, month_of};
use storage::{Config, Metrics, Segments};

const COLUMNS: [[u8; 6]; 2] = [[1, 0, 1, 8, 0, 255], [1, 0, 2, 8, 0, 255]];
const DAY: i32 = 20_727;
const WAIT: Duration = Duration::from_secs(60);

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn open(version: &str, dir: &Path) -> Segments {
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    copy(&fixtures.join(version), dir);
    let folder = dir.join("segments");
    Segments::open(&folder, &Config::for_test(dir), &Metrics::unregistered()).unwrap()
}

fn restore(segments: &Segments, dir: &Path) {
    segments.restore(Checkpoint::read(&dir.join("open-days")).unwrap());
}

fn agrees(segments: &Segments) {
    let start_s = i64::from(DAY) * 86_400;
    for meter in [0_u32, 1, 65, 8191] {
        let mut imports = Vec::new();
        let mut exports = Vec::new();
        for slot in 1..=193 {
            let late = meter == 1 && slot == 11;
            let open = meter == 0 && slot == 193;
            if (slot % 11 == 0 && !late) || (slot == 193 && !open) {
                continue;
            }
            let (end_s, of_all) = (start_s + slot * 900, start_s / 900 + slot);
            let import = of_all * 25 + of_all % 7 + i64::from(meter);
            imports.push((end_s, import, false));
            let wrong = [(1, 9), (65, 7)].into_iter().find(|(of, _)| *of == meter);
            if let (1, Some((_, wrong))) = (slot, wrong) {
                imports.push((end_s, import + wrong, true));
            }
            if meter != 1 {
                exports.push((end_s, of_all / 3, false));
            }
        }
        let found = segments.query_columns(15, meter, &COLUMNS, 0, i64::MAX).unwrap();
        let plain = |column: usize| -> Vec<(i64, i64, bool)> {
            found[column].iter().map(|point| (point.end_s, point.value, point.beside)).collect()
        };
        assert_eq!((plain(0), plain(1)), (imports, exports), "meter {meter}");
        let found = segments.query(0, meter, COLUMNS[0], 0, i64::MAX).unwrap();
        let values: Vec<i64> = found.iter().map(|point| point.value).collect();
        assert_eq!(values, if meter == 65 { vec![5, 6] } else { vec![5] });
    }
}

#[test]
fn files_of_the_first_version_open_and_can_be_folded() {
    let dir = tempfile::tempdir().unwrap();
    let segments = open("v1", dir.path());
    restore(&segments, dir.path());
    assert_eq!(segments.entries().len(), 4);
    agrees(&segments);
    for interval_minutes in [15, 0] {
        let month = MonthKey { interval_minutes, shard: 0, month: month_of(DAY) };
        assert!(segments.compact(20, month, RECIPE_MONTH).unwrap());
    }
    segments.settle(WAIT).unwrap();
    assert_eq!(segments.entries().len(), 2);
    agrees(&segments);
}

#[test]
fn month_files_open() {
    let dir = tempfile::tempdir().unwrap();
    let segments = open("v2", dir.path());
    restore(&segments, dir.path());
    let levels: Vec<u8> = segments.entries().iter().map(|entry| entry.level).collect();
    assert_eq!(levels, [1, 2, 2]);
    agrees(&segments);
}

/// The encoder of today writes the octets of the golden files. When it does not (another
/// version of the crate or of zstd), its recipe needs another number and new golden files.
#[test]
fn the_encoder_is_that_of_the_recipes() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let days = open("v1", dirs[0].path());
    let months = open("v2", dirs[1].path());
    let golden = |interval: u16| {
        let entries = months.entries();
        entries.into_iter().find(|one| one.level == 2 && one.key.interval_minutes == interval)
    };
    for interval_minutes in [15, 0] {
        let month = MonthKey { interval_minutes, shard: 0, month: month_of(DAY) };
        let golden = golden(interval_minutes).unwrap();
        // The golden month was folded before the late day was sealed.
        assert!(days.compact(8, month, RECIPE_MONTH).unwrap());
        days.settle(WAIT).unwrap();
        let entries = days.entries();
        let made = entries
            .iter()
            .find(|one| one.level == 2 && one.key.interval_minutes == interval_minutes);
        let made = made.unwrap();
        assert_eq!(made.content_hash, golden.content_hash, "{interval_minutes} minutes");
        assert_eq!(made.file_hash, golden.file_hash, "{interval_minutes} minutes");
    }
}
