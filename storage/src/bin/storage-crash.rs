//! A process that is meant to be killed: it writes through all stores, says on its standard
//! output what was acknowledged, and in its other role checks what is left afterwards.
//!
//! `storage-crash work DIR SEED` writes until it is killed. It says, a line each:
//! `W index` (records up to here are synced), `X index` (records after it are being dropped
//! and written anew), `T index` (tables flushed up to here), `C index` (open days
//! checkpointed), `S index` (snapshot complete).
//! `storage-crash check DIR W T C S` opens what is left and fails when anything said is gone.
//!
//! `HOLDFAST_TABLES` names the engine of the tables.
//!
//! Not part of the product. Index i means: one record, three keys in one batch, one row.

use std::env;
use std::error::Error;
use std::io::Write;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use storage::log::Record;
use storage::segment::{DayKey, LEVEL_MONTH, MonthKey, RECIPE_DAY, RECIPE_MONTH, Row, month_of};
use storage::tables::Opened;
use storage::{Backend, Config, Metrics, Put, Store};

type Outcome<T> = Result<T, Box<dyn Error>>;

const METERS: u64 = 70;
const REGISTER: [u8; 6] = [1, 0, 1, 8, 0, 255];
/// Keys that are overwritten again and again.
const SPREAD: u64 = 512;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let number = |at: usize| -> Outcome<u64> {
        Ok(arguments.get(at).ok_or("an argument is missing")?.parse()?)
    };
    let dir = arguments.get(1).ok_or("usage: storage-crash work|check DIR ...")?;
    match arguments.first().map(String::as_str) {
        Some("work") => Worker::open(dir, number(2)?)?.run(),
        Some("check") => check(dir, [number(2)?, number(3)?, number(4)?, number(5)?]),
        _ => Err("usage: storage-crash work|check DIR ...".into()),
    }
}

/// A small generator, so that a seed tells the whole run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

fn payload(index: u64) -> Bytes {
    let mut octets = index.to_be_bytes().to_vec();
    let length = 40 + usize::try_from(index * 37 % 900).unwrap_or_default();
    let fill = u8::try_from(index % 255).unwrap_or_default();
    octets.resize(length, fill);
    Bytes::from(octets)
}

fn place(index: u64) -> (u32, i64) {
    let ordinal = u32::try_from(index % METERS).unwrap_or_default();
    (ordinal, 900 * (1 + i64::try_from(index / METERS).unwrap_or_default()))
}

fn apply_tables(store: &Store, index: u64) -> Outcome<()> {
    let put = |table, key: Vec<u8>| {
        let mut value = index.to_be_bytes().to_vec();
        value.resize(120, 7);
        Put { table, key, value: Some(value) }
    };
    let spread = (index % SPREAD).to_be_bytes().to_vec();
    store.tables.commit(&[
        put(1, b"first".to_vec()),
        put(200, spread),
        put(9, b"last".to_vec()),
    ])?;
    Ok(())
}

fn apply_rows(store: &Store, index: u64) -> Outcome<()> {
    let (ordinal, end_s) = place(index);
    let values = [Some(i64::try_from(index)?)];
    let row = Row { ordinal, end_s, flag: 0, values: &values };
    store.segments.merge(index, 15, &[REGISTER], &[row])?;
    if index.is_multiple_of(150) {
        let day = i32::try_from((end_s - 1) / 86_400)?;
        let key = DayKey { interval_minutes: 15, shard: 0, day };
        store.segments.seal(index, key, RECIPE_DAY)?;
    }
    if index.is_multiple_of(400) {
        let day = i32::try_from((end_s - 1) / 86_400)?;
        let key = MonthKey { interval_minutes: 15, shard: 0, month: month_of(day) };
        store.segments.compact(index, key, RECIPE_MONTH)?;
    }
    Ok(())
}

fn applied(store: &Store) -> Outcome<u64> {
    let read = |table, key: &[u8]| -> Outcome<u64> {
        let value = store.tables.get(table, key)?;
        let head = value.as_deref().and_then(|octets| octets.first_chunk::<8>());
        Ok(head.map_or(0, |octets| u64::from_be_bytes(*octets)))
    };
    let (first, last) = (read(1, b"first")?, read(9, b"last")?);
    if first != last {
        return Err(format!("a torn batch: {first} and {last}").into());
    }
    for back in 0..SPREAD.min(first) {
        let index = first - back;
        let found = read(200, &(index % SPREAD).to_be_bytes())?;
        if found != index {
            return Err(format!("key of entry {index} holds {found}, applied {first}").into());
        }
    }
    Ok(first)
}

/// Opens the stores and applies again what they lack, as the product does.
fn open(dir: &str) -> Outcome<(Store, storage::Opening, u64)> {
    let engine = env::var("HOLDFAST_TABLES").unwrap_or_else(|_| "sled".to_owned());
    let tables_backend = Backend::from_name(&engine).ok_or("no such engine")?;
    let config = Config { tables_backend, ..Config::for_test(dir) };
    let (store, opening) = Store::open(&config, 0, &Metrics::unregistered())?;
    if let Opened::Rebuild { moved_to } = &opening.tables {
        eprintln!("REBUILD {}", moved_to.display());
        store.snapshots.rebuild()?;
    }
    let before = applied(&store)?;
    let last = store.log.last_index().or(store.log.purged_index()).unwrap_or(0);
    let from = before.min(store.segments.floor()) + 1;
    if store.log.first_index().is_some_and(|first| first > from) {
        return Err(format!("entries {from} and later are needed, but purged").into());
    }
    for index in from..=last {
        apply_rows(&store, index)?;
        if index > before {
            apply_tables(&store, index)?;
        }
    }
    Ok((store, opening, before))
}

struct Worker {
    store: Store,
    random: Random,
    applied: u64,
    next: u64,
}

impl Worker {
    fn open(dir: &str, seed: u64) -> Outcome<Self> {
        let (store, _, _) = open(dir)?;
        let last = store.log.last_index().or(store.log.purged_index()).unwrap_or(0);
        let random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        Ok(Self { store, random, applied: last, next: last + 1 })
    }

    fn run(mut self) -> Outcome<()> {
        let (send, receive) = mpsc::channel();
        let mut waiting = 0;
        loop {
            while waiting < 6 {
                let count = 1 + self.random.below(12);
                let records: Vec<Record> = (self.next..self.next + count)
                    .map(|index| Record { index, payload: payload(index) })
                    .collect();
                let (last, send) = (self.next + count - 1, send.clone());
                self.next += count;
                waiting += 1;
                let done = move |result: std::io::Result<()>| {
                    let _ = send.send(result.map(|()| last));
                };
                self.store.log.append(records, Box::new(done));
            }
            let acknowledged = receive.recv_timeout(Duration::from_secs(10))??;
            waiting -= 1;
            say('W', acknowledged)?;
            if self.random.below(40) == 0 {
                while waiting > 0 {
                    receive.recv_timeout(Duration::from_secs(10))??;
                    waiting -= 1;
                }
                say('X', self.applied)?;
                self.store.log.truncate_after(Some(self.applied))?;
                self.next = self.applied + 1;
            } else {
                self.apply(acknowledged)?;
            }
        }
    }

    fn apply(&mut self, to: u64) -> Outcome<()> {
        for index in self.applied + 1..=to {
            apply_rows(&self.store, index)?;
            apply_tables(&self.store, index)?;
        }
        self.applied = self.applied.max(to);
        self.store.log.save_meta_then(1, &self.applied.to_be_bytes(), Box::new(|_| {}));
        match self.random.below(60) {
            0 => {
                self.store.tables.flush()?;
                say('T', self.applied)?;
            }
            1 => {
                self.store.checkpoint(self.applied)?;
                say('C', self.applied)?;
            }
            2 => {
                let frozen = self.store.snapshots.freeze(self.applied, vec![1, 2, 3])?;
                let manifest = self.store.snapshots.write(frozen)?;
                say('S', manifest.index)?;
                self.store.log.purge_to(manifest.index.saturating_sub(20).max(1))?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Says what is acknowledged, unbuffered: a killed process keeps no word back.
fn say(what: char, index: u64) -> Outcome<()> {
    let mut out = std::io::stdout();
    out.write_all(format!("{what} {index}\n").as_bytes())?;
    Ok(out.flush()?)
}

fn check(dir: &str, [written, flushed, checkpointed, complete]: [u64; 4]) -> Outcome<()> {
    let (store, opening, before) = open(dir)?;
    let need = |what: &str, found: u64, said: u64| -> Outcome<()> {
        if found >= said {
            return Ok(());
        }
        Err(format!("{what}: {said} was acknowledged, {found} is there").into())
    };
    let last = opening.log.last.or(opening.log.purged).unwrap_or(0);
    need("records", last, written)?;
    let snapshot = store.snapshots.newest().map_or(0, |manifest| manifest.index);
    need("snapshots", snapshot, complete)?;
    need("open days", opening.floor, checkpointed.max(complete))?;
    let rebuilt = matches!(opening.tables, Opened::Rebuild { .. });
    // Damaged tables come back from the snapshot and the log; others keep what was flushed.
    need("tables", before, if rebuilt { complete } else { flushed.max(complete) })?;
    if let (Some(first), Some(last)) = (store.log.first_index(), store.log.last_index()) {
        let records = store.log.read(first..last + 1, usize::MAX)?;
        let whole = records
            .iter()
            .zip(first..)
            .all(|(record, index)| record.index == index && record.payload == payload(index));
        if !whole || records.len() as u64 != last - first + 1 {
            return Err("a record is not what was written".into());
        }
    }
    need("applied", applied(&store)?, last)?;
    store.segments.settle(Duration::from_secs(60))?;
    check_rows(&store, last)?;
    let months = store.segments.entries().iter().filter(|entry| entry.level == LEVEL_MONTH).count();
    println!("OK last={last} cut={} rebuilt={rebuilt} months={months}", opening.log.cut_octets);
    store.stop()?;
    Ok(())
}

fn check_rows(store: &Store, last: u64) -> Outcome<()> {
    for meter in 0..METERS {
        let ordinal = u32::try_from(meter)?;
        let points = store.segments.query(15, ordinal, REGISTER, 0, i64::MAX)?;
        let mut expect = (0..=last).filter(|index| *index > 0 && index % METERS == meter);
        for point in &points {
            let index = expect.next().ok_or("a row too many")?;
            if (point.value, point.end_s, point.beside)
                != (i64::try_from(index)?, place(index).1, false)
            {
                return Err(format!("row of entry {index} is {point:?}").into());
            }
        }
        if let Some(index) = expect.next() {
            return Err(format!("row of entry {index} is missing").into());
        }
    }
    Ok(())
}
