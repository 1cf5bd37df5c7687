//! The guide's statements, run by DuckDB on live files, against our own answers.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use storage::segment::{DayKey, RECIPE_DAY, Row};
use storage::{Config, Metrics, Store};

use crate::python;

const IMPORT: [u8; 6] = [1, 0, 1, 8, 0, 255];
const EXPORT: [u8; 6] = [1, 0, 2, 8, 0, 255];
const FIRST_DAY: i32 = 20_700;
const DAYS: i32 = 3;
const METERS: u32 = 70;

/// Register of a meter after so many quarter hours: uneven steps, one gap, one reset.
fn register(meter: u32, slot: i64) -> Option<i64> {
    if meter == 3 && (100..104).contains(&slot) {
        return None;
    }
    let count = 1000 * i64::from(meter) + (1..=slot).map(|at| 40 + at * at % 97).sum::<i64>();
    Some(if meter == 5 && slot > 200 { count - 15_000 } else { count })
}

fn filled(dir: &Path) -> Store {
    let (store, _) = Store::open(&Config::for_test(dir), 0, &Metrics::unregistered()).unwrap();
    let begin_s = i64::from(FIRST_DAY) * 86_400;
    let mut index = 0;
    let mut merge = |meter: u32, slot: i64, values: [Option<i64>; 2]| {
        index += 1;
        let row = Row { ordinal: meter, end_s: begin_s + slot * 900, flag: 0, values: &values };
        store.segments.merge(index, 15, &[IMPORT, EXPORT], &[row]).unwrap();
    };
    for meter in 0..METERS {
        for slot in 1..=i64::from(DAYS) * 96 {
            // The rows of one evening come late, one of them with another value as well.
            if meter != 7 || !(60..70).contains(&slot) {
                merge(meter, slot, [register(meter, slot), Some(5)]);
            }
        }
    }
    merge(9, 50, [Some(1), Some(5)]);
    for day in 0..DAYS {
        let key = DayKey { interval_minutes: 15, shard: 0, day: FIRST_DAY + day };
        store.segments.seal(1_000_000 + u64::try_from(day).unwrap(), key, RECIPE_DAY).unwrap();
    }
    for slot in 60..70 {
        let row = register(7, slot);
        let values = [row, Some(5)];
        let row = Row { ordinal: 7, end_s: begin_s + slot * 900, flag: 0, values: &values };
        store.segments.merge(2_000_000, 15, &[IMPORT, EXPORT], &[row]).unwrap();
    }
    let values = [Some(77), Some(5)];
    let row = Row { ordinal: 8, end_s: begin_s + 900, flag: 0, values: &values };
    store.segments.merge(2_000_000, 15, &[IMPORT, EXPORT], &[row]).unwrap();
    let key = DayKey { interval_minutes: 15, shard: 0, day: FIRST_DAY };
    store.segments.seal(2_000_001, key, RECIPE_DAY).unwrap();
    store.segments.settle(Duration::from_secs(90)).unwrap();
    store
}

/// Our own answers, in the form of the script's.
fn expected(store: &Store) -> Value {
    let (mut registers, mut energy) = (Vec::new(), Vec::new());
    for meter in 0..METERS {
        let points = store.segments.query(15, meter, IMPORT, 0, i64::MAX).unwrap();
        let first: Vec<_> = points.iter().filter(|point| !point.beside).collect();
        let sum: i64 = first.iter().map(|point| point.value).sum();
        registers.push(json!([meter, first.len(), sum]));
        let at = |end_s: i64| first.iter().find(|point| point.end_s == end_s);
        let whole = first.iter().filter(|point| point.end_s % 3600 == 0);
        let hours = whole.filter_map(|point| Some(point.value - at(point.end_s - 3600)?.value));
        let hours: Vec<i64> = hours.filter(|energy| *energy >= 0).collect();
        energy.push(json!([meter, hours.len(), hours.iter().sum::<i64>()]));
    }
    json!({"registers": registers, "energy": energy})
}

#[test]
fn duckdb_reads_live_files_by_the_guide_and_finds_our_sums() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path());
    let expect = expected(&store);
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guide/history-with-duckdb.md");
    // The store stays open: these are the files of a running node.
    let told = Command::new(python::environment("duckdb"))
        .arg(python::folder("duckdb").join("run.py"))
        .arg(guide)
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let found: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(found["registers"], expect["registers"]);
    assert_eq!(found["energy"], expect["energy"]);
    assert_eq!(found["missing"], json!([[3, 4]]));
    // What the guide warns of: about a quarter is lost.
    let sum = |rows: &Value, at: usize| -> i64 {
        rows.as_array().unwrap().iter().map(|row| row[at].as_i64().unwrap()).sum()
    };
    let (naive, right) = (sum(&found["naive"], 1), sum(&found["energy"], 2));
    assert!(naive * 100 < right * 85, "naive {naive}, right {right}");
}
