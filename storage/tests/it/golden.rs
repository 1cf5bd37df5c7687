//! Files of every recipe and of earlier forms, kept in `tests/fixtures`: they open for ever.
//!
//! `v1`: day files numbered 0 and 1, and a checkpoint without folds, as the first version wrote
//! them. `v2`: numbers are log indexes; a month file of each kind beside later days. What they
//! hold can be reckoned: see `examples/golden.rs`. `snapshots/v1`: two snapshots of one store, the
//! second with a part of changes: see `examples/golden_snapshot.rs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use storage::segment::{Checkpoint, MonthKey, RECIPE_MONTH, month_of};
use storage::snapshot::{Kind, Manifest, Months};
use storage::{Config, Metrics, Segments, Store};

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

/// A store without tables beside the golden snapshots, of which only those up to `last` are left.
fn with_snapshots(dir: &Path, last: u64) -> Store {
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    copy(&fixtures.join("snapshots/v1"), dir);
    if last < 20 {
        fs::remove_dir_all(dir.join(format!("snapshots/g0/{:020}", 20))).unwrap();
    }
    Store::open(&Config::for_test(dir), 0, &Metrics::unregistered()).unwrap().0
}

/// What the store held at an index, reckoned as it was written.
fn holds(store: &Store, index: u64) {
    let value = |at: u32| -> Vec<u8> { (0..at % 90).map(|o| ((at + o * 7) % 251) as u8).collect() };
    let mut expect: Vec<(u8, Vec<u8>, Vec<u8>)> =
        (0..4000_u32).map(|at| (1, at.to_be_bytes().to_vec(), value(at))).collect();
    if index == 20 {
        expect[8].2 = b"later".to_vec();
        expect.remove(7);
        expect.push((2, b"new".to_vec(), b"one".to_vec()));
    }
    expect.push((7, vec![], vec![]));
    expect.push((7, b"\x00\xff".to_vec(), b"\xff\x00".to_vec()));
    let mut found = Vec::new();
    let mut visit = |table, key: &[u8], value: &[u8]| {
        found.push((table, key.to_vec(), value.to_vec()));
        Ok(())
    };
    store.tables.dump(&mut visit).unwrap();
    assert!(found == expect, "the tables at {index}");
    for meter in 0..4 {
        let points = store.segments.query(15, meter, COLUMNS[0], 0, i64::MAX).unwrap();
        let found: Vec<i64> = points.iter().map(|point| point.value).collect();
        let slots = 1..=if meter == 2 && index == 20 { 101 } else { 100 };
        let mut expect: Vec<i64> = slots.map(|slot| slot * 25).collect();
        match (meter, index) {
            (3, _) => expect.clear(),
            (2, 20) => expect.insert(1, 30),
            _ => {}
        }
        assert_eq!(found, expect, "meter {meter} at {index}");
    }
}

#[test]
fn snapshots_open_and_can_be_sent() {
    for index in [10, 20] {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let store = with_snapshots(dirs[0].path(), index);
        let manifest = store.snapshots.rebuild().unwrap().unwrap();
        assert_eq!((manifest.index, manifest.meta.as_slice()), (index, &[1, 2, 3][..]));
        let changes = manifest.items.iter().filter(|item| item.kind == Kind::Changes).count();
        assert_eq!(changes, usize::from(index == 20));
        holds(&store, index);
        // Over the wire, and written anew by today's program.
        let file = dirs[0].path().join(format!("snapshots/g0/{index:020}/manifest"));
        let sent = Manifest::decode(&fs::read(file).unwrap()).unwrap();
        assert_eq!(sent, manifest);
        let config = Config::for_test(dirs[1].path());
        let to = Store::open(&config, 0, &Metrics::unregistered()).unwrap().0;
        let mut incoming = to.snapshots.receive(sent, Months::Now).unwrap();
        for (item, offset) in incoming.missing() {
            let read = store.snapshots.read(index, &item.name, offset, 1 << 24);
            incoming.receive(&item.name, offset, &read.unwrap()).unwrap();
        }
        to.snapshots.install(incoming).unwrap();
        holds(&to, index);
        let frozen = to.snapshots.freeze(30, vec![]).unwrap();
        to.snapshots.write(frozen).unwrap();
        to.snapshots.rebuild().unwrap();
        holds(&to, index);
    }
}

#[test]
fn a_golden_snapshot_with_a_wrong_octet_is_refused() {
    for name in ["tables", "tables-1", "open-days"] {
        let dir = tempfile::tempdir().unwrap();
        drop(with_snapshots(dir.path(), 20));
        let path = dir.path().join(format!("snapshots/g0/{:020}", 20)).join(name);
        let mut octets = fs::read(&path).unwrap();
        let middle = octets.len() / 2;
        octets[middle] ^= 1;
        fs::write(&path, octets).unwrap();
        let opened = Store::open(&Config::for_test(dir.path()), 0, &Metrics::unregistered());
        let code = match opened {
            Ok((store, _)) => store.snapshots.rebuild().unwrap_err().code(),
            Err(error) => error.code(),
        };
        assert!(["snapshot_damaged", "open_days_damaged"].contains(&code), "{name}: {code}");
    }
}
