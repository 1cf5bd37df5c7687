//! Writes the golden snapshots of today's form into a folder.
//!
//! `cargo run -p storage --example golden_snapshot DIR`. They stand in `tests/fixtures/snapshots`
//! and are opened by the tests for ever. A folder there is never written anew: a new form of a
//! manifest, a part of the tables or the open days gets a folder of its own.
//!
//! Two snapshots of one store: at 10 all of the tables, at 20 the same part and one of changes.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use storage::segment::{DayKey, RECIPE_DAY, Row};
use storage::{Config, Metrics, Put, Store};

type Outcome<T> = Result<T, Box<dyn Error>>;

const COLUMN: [u8; 6] = [1, 0, 1, 8, 0, 255];
const DAY: i32 = 20_727;
/// More than one block of a part.
const KEYS: u32 = 4000;

fn main() -> Outcome<()> {
    let dir = PathBuf::from(std::env::args().nth(1).ok_or("usage: golden_snapshot DIR")?);
    let (store, _) = Store::open(&Config::for_test(&dir), 0, &Metrics::unregistered())?;
    let all: Vec<Put> = (0..KEYS).map(|at| put(1, &at.to_be_bytes(), Some(&value(at)))).collect();
    store.tables.commit(&all)?;
    store.tables.commit(&[put(7, b"", Some(b"")), put(7, b"\x00\xff", Some(b"\xff\x00"))])?;
    for meter in 0..3 {
        for slot in 1..=100 {
            merge(&store, 1, meter, slot, 0)?;
        }
    }
    store.segments.seal(2, DayKey { interval_minutes: 15, shard: 0, day: DAY }, RECIPE_DAY)?;
    store.segments.settle(Duration::from_secs(30))?;
    snapshot(&store, 10)?;
    store.tables.commit(&[
        put(1, &7_u32.to_be_bytes(), None),
        put(1, &8_u32.to_be_bytes(), Some(b"later")),
        put(2, b"new", Some(b"one")),
    ])?;
    merge(&store, 11, 2, 101, 0)?;
    merge(&store, 12, 2, 1, 5)?;
    snapshot(&store, 20)?;
    store.stop()?;
    drop(store);
    for name in ["wal", "tables", "open-days"] {
        std::fs::remove_dir_all(dir.join(name))?;
    }
    for name in ["lock", "tables.backend", "tables.synced"] {
        std::fs::remove_file(dir.join(name))?;
    }
    Ok(())
}

fn put(table: u8, key: &[u8], value: Option<&[u8]>) -> Put {
    Put { table, key: key.to_vec(), value: value.map(<[u8]>::to_vec) }
}

/// Anybody can reckon it again.
fn value(at: u32) -> Vec<u8> {
    (0..at % 90).map(|octet| u8::try_from((at + octet * 7) % 251).unwrap_or_default()).collect()
}

fn merge(store: &Store, index: u64, ordinal: u32, slot: i64, wrong: i64) -> Outcome<()> {
    let end_s = i64::from(DAY) * 86_400 + slot * 900;
    let row = Row { ordinal, end_s, flag: 0, values: &[Some(slot * 25 + wrong)] };
    store.segments.merge(index, 15, &[COLUMN], &[row])?;
    Ok(())
}

fn snapshot(store: &Store, index: u64) -> Outcome<()> {
    let frozen = store.snapshots.freeze(index, vec![1, 2, 3])?;
    store.snapshots.write(frozen)?;
    Ok(())
}
