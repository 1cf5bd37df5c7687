//! Random operations on the log, the tables and the segments, and on plain maps beside them;
//! now and then everything is closed and opened again. After every step both must agree.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use storage::log::Record;
use storage::segment::{DayKey, MonthKey, RECIPE_DAY, RECIPE_MONTH, Row};
use storage::{Backend, Config, Log, Metrics, Put, Segments, Store, Tables};

const COLUMNS: [[u8; 6]; 3] = [[1, 0, 1, 8, 0, 255], [1, 0, 2, 8, 0, 255], [1, 0, 32, 7, 0, 255]];

/// Two days of January 1970 and two of February: two months are folded.
const FIRST_DAY: i32 = 29;
const START_S: i64 = 29 * 86_400;

pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    fn octets(&mut self, bound: u64) -> Vec<u8> {
        let length = self.below(bound);
        (0..length).map(|_| u8::try_from(self.below(256)).unwrap()).collect()
    }
}

pub fn seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seed = std::env::var("HOLDFAST_SEED").ok().map(|text| text.parse().unwrap());
    let seed = seed.unwrap_or(u64::from(now.subsec_nanos()) + 1);
    println!("seed {seed}");
    seed
}

/// What the log has to hold.
#[derive(Default)]
struct LogModel {
    records: BTreeMap<u64, Bytes>,
    purged: Option<u64>,
    metas: BTreeMap<u8, Vec<u8>>,
}

impl LogModel {
    fn next(&self) -> u64 {
        let last = self.records.last_key_value().map(|(index, _)| *index);
        last.max(self.purged).map_or(1, |index| index + 1)
    }

    fn agree(&self, log: &Log, random: &mut Random) {
        assert_eq!(log.first_index(), self.records.keys().next().copied());
        assert_eq!(log.last_index(), self.records.keys().next_back().copied());
        assert_eq!(log.purged_index(), self.purged);
        let from = self.next().saturating_sub(random.below(300));
        let to = from + random.below(300);
        let found = log.read(from..to, usize::MAX).unwrap();
        let expect: Vec<Record> = self
            .records
            .range(from..to)
            .map(|(index, payload)| Record { index: *index, payload: payload.clone() })
            .collect();
        assert_eq!(found, expect);
        for (key, value) in &self.metas {
            assert_eq!(log.meta(*key).as_ref(), Some(value));
        }
    }

    fn step(&mut self, log: &Log, random: &mut Random) {
        let next = self.next();
        match random.below(12) {
            0 => {
                let floor = self.purged.unwrap_or(0);
                let after = floor + random.below(next - floor + 1);
                log.truncate_after(Some(after)).unwrap();
                self.records.split_off(&(after + 1));
            }
            1 => {
                let to = next.saturating_sub(random.below(60)).max(1);
                log.purge_to(to).unwrap();
                self.purged = self.purged.max(Some(to));
                let kept = self.purged.unwrap() + 1;
                self.records = self.records.split_off(&kept);
            }
            2 => {
                let (key, value) = (u8::try_from(random.below(5)).unwrap(), random.octets(50));
                log.save_meta(key, &value).unwrap();
                self.metas.insert(key, value);
            }
            _ => {
                let (send, receive) = mpsc::channel();
                let count = 1 + random.below(20);
                let mut records = Vec::new();
                for index in next..next + count {
                    let payload = Bytes::from(random.octets(2000));
                    self.records.insert(index, payload.clone());
                    records.push(Record { index, payload });
                }
                let done = move |result: std::io::Result<()>| {
                    result.unwrap();
                    // Not everybody waits.
                    let _ = send.send(());
                };
                log.append(records, Box::new(done));
                if random.below(2) == 0 {
                    receive.recv().unwrap();
                }
            }
        }
    }
}

#[test]
fn the_log_is_a_map() {
    let mut random = Random(seed());
    let dir = tempfile::tempdir().unwrap();
    let open = || Log::open(dir.path(), &Config::for_test("x"), 0, &Metrics::unregistered());
    let mut model = LogModel::default();
    let mut log = open().unwrap().0;
    for _ in 0..1500 {
        model.step(&log, &mut random);
        if random.below(40) == 0 {
            log.stop();
            drop(log);
            log = open().unwrap().0;
        }
        model.agree(&log, &mut random);
    }
}

#[test]
fn a_tail_torn_anywhere_keeps_what_stands_before_it() {
    let mut random = Random(seed());
    for _ in 0..60 {
        let dir = tempfile::tempdir().unwrap();
        let open = || Log::open(dir.path(), &Config::for_test("x"), 0, &Metrics::unregistered());
        let mut model = LogModel::default();
        let log = open().unwrap().0;
        for _ in 0..6 {
            let (send, receive) = mpsc::channel();
            let index = model.next();
            let payload = Bytes::from(random.octets(900));
            model.records.insert(index, payload.clone());
            let records = vec![Record { index, payload }];
            log.append(records, Box::new(move |result| send.send(result).unwrap()));
            receive.recv().unwrap().unwrap();
        }
        drop(log);
        // The last frame was never synced: any octet of it may be anything.
        let path = dir.path().join("0000000001.wal");
        let mut octets = std::fs::read(&path).unwrap();
        let used = octets.iter().rposition(|octet| *octet != 0).unwrap() + 1;
        let frame = 32 + model.records[&6].len();
        let from = used.saturating_sub(frame) + usize::try_from(random.below(20)).unwrap();
        for octet in octets.iter_mut().skip(from).take(frame) {
            *octet = u8::try_from(random.below(256)).unwrap();
        }
        std::fs::write(&path, octets).unwrap();
        let (log, found) = open().unwrap();
        assert!(found.cut_octets > 0, "{found:?}");
        let last = found.last.unwrap();
        assert_eq!(last, 5);
        model.records.split_off(&(last + 1));
        model.agree(&log, &mut random);
    }
}

#[test]
fn the_tables_are_a_map_on_sled() {
    the_tables_are_a_map(Backend::Sled);
}

#[test]
fn the_tables_are_a_map_on_fjall() {
    the_tables_are_a_map(Backend::Fjall);
}

fn the_tables_are_a_map(tables_backend: Backend) {
    let mut random = Random(seed());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tables");
    let config = Config { tables_backend, ..Config::for_test("x") };
    let open = || Tables::open(&path, &config, &Metrics::unregistered()).unwrap().0;
    let mut model: BTreeMap<(u8, Vec<u8>), Vec<u8>> = BTreeMap::new();
    let mut tables = open();
    for _ in 0..400 {
        let mut batch = Vec::new();
        for _ in 0..random.below(12) {
            let table = u8::try_from(random.below(3)).unwrap();
            let key = random.octets(3);
            let value = (random.below(3) > 0).then(|| random.octets(40));
            match &value {
                Some(value) => model.insert((table, key.clone()), value.clone()),
                None => model.remove(&(table, key.clone())),
            };
            batch.push(Put { table, key, value });
        }
        tables.commit(&batch).unwrap();
        let table = u8::try_from(random.below(3)).unwrap();
        let (from, to) = (random.octets(3), random.octets(3));
        let limit = usize::try_from(random.below(9)).unwrap();
        let mut expect = Vec::new();
        if from < to {
            let range = (table, from.clone())..(table, to.clone());
            let pairs = model.range(range).map(|((_, key), value)| (key.clone(), value.clone()));
            expect.extend(pairs.take(limit));
        }
        assert_eq!(tables.scan(table, &from, &to, limit).unwrap(), expect);
        assert_eq!(tables.get(table, &from).unwrap(), model.get(&(table, from)).cloned());
        if random.below(50) == 0 {
            tables.stop().unwrap();
            drop(tables);
            tables = open();
            let mut found = BTreeMap::new();
            let mut visit = |table, key: &[u8], value: &[u8]| {
                found.insert((table, key.to_vec()), value.to_vec());
                Ok(())
            };
            tables.dump(&mut visit).unwrap();
            assert_eq!(found, model);
        }
    }
}

/// First value of a place, and the others in the order they came.
type Values = BTreeMap<(u16, u32, [u8; 6], i64), Vec<i64>>;

fn agree(segments: &Segments, model: &Values, random: &mut Random) {
    let interval = [0, 15, 60][usize::try_from(random.below(3)).unwrap()];
    let ordinal = [0, 63, 64, 9000][usize::try_from(random.below(4)).unwrap()];
    let column = COLUMNS[usize::try_from(random.below(3)).unwrap()];
    let from = START_S + 3600 * i64::try_from(random.below(80)).unwrap();
    let to = from + 3600 * i64::try_from(random.below(80)).unwrap();
    let found = segments.query(interval, ordinal, column, from, to).unwrap();
    let found: Vec<(i64, i64, bool)> =
        found.iter().map(|point| (point.end_s, point.value, point.beside)).collect();
    let mut expect = Vec::new();
    for ((_, _, _, end_s), values) in model
        .range(
            (interval, ordinal, column, from + 1)..=(interval, ordinal, column, to.max(from + 1)),
        )
        .filter(|((_, _, _, end_s), _)| *end_s <= to)
    {
        expect.extend(values.iter().enumerate().map(|(at, value)| (*end_s, *value, at > 0)));
    }
    assert_eq!(found, expect, "{interval} minutes, meter {ordinal}");
}

fn reopen(dir: &Path) -> (Store, u64) {
    let (store, opening) =
        Store::open(&Config::for_test(dir), 0, &Metrics::unregistered()).unwrap();
    (store, opening.floor)
}

#[test]
fn the_segments_are_a_map() {
    let mut random = Random(seed());
    let dir = tempfile::tempdir().unwrap();
    let mut model = Values::new();
    let mut entries: Vec<Entry> = Vec::new();
    let (mut store, _) = reopen(dir.path());
    for index in 1..=1200 {
        let entry = Entry::random(&mut random);
        entry.apply(&store.segments, index);
        entry.note(&mut model);
        entries.push(entry);
        match random.below(150) {
            0 => store.checkpoint(index).unwrap(),
            1 => {
                let frozen = store.snapshots.freeze(index, vec![]).unwrap();
                store.snapshots.write(frozen).unwrap();
            }
            2 | 3 => {
                // Closed without a word: what the checkpoint lacks is applied again.
                drop(store);
                let (opened, floor) = reopen(dir.path());
                store = opened;
                for (entry, index) in entries.iter().zip(1..) {
                    if index > floor {
                        entry.apply(&store.segments, index);
                    }
                }
            }
            _ => {}
        }
        agree(&store.segments, &model, &mut random);
    }
    store.segments.settle(Duration::from_secs(90)).unwrap();
    let found = store.segments.entries();
    assert!(found.len() > 5, "nothing was sealed");
    assert!(found.iter().any(|entry| entry.level == 2), "nothing was folded");
    // Replicas of other timing, without a crash, have the same contents in the same files.
    for every in [1, 60] {
        let dir = tempfile::tempdir().unwrap();
        let (replica, _) = reopen(dir.path());
        for (entry, index) in entries.iter().zip(1..) {
            entry.apply(&replica.segments, index);
            if index % every == 0 {
                replica.segments.settle(Duration::from_secs(90)).unwrap();
            }
        }
        replica.segments.settle(Duration::from_secs(90)).unwrap();
        assert_files_equal(&replica.segments, &store.segments);
    }
}

/// The first file that differs is enough to look at.
fn assert_files_equal(one: &Segments, two: &Segments) {
    let (left, right) = (one.entries(), two.entries());
    for (left, right) in left.iter().zip(&right) {
        assert!(
            left.name() == right.name() && left.file_hash == right.file_hash,
            "{} ({} rows) and {} ({} rows) differ",
            left.name(),
            left.rows,
            right.name(),
            right.rows
        );
    }
    assert_eq!(left.len(), right.len());
    assert!(one.digest() == two.digest(), "the digests of equal files differ");
}

/// What one entry of the log does to the segments.
enum Entry {
    Row { interval: u16, ordinal: u32, end_s: i64, values: [Option<i64>; 3] },
    Seal(DayKey),
    Compact(MonthKey),
}

impl Entry {
    fn random(random: &mut Random) -> Self {
        let interval = [0, 15, 60][usize::try_from(random.below(3)).unwrap()];
        if random.below(25) == 0 {
            let shard = u32::try_from(random.below(2)).unwrap();
            if random.below(4) == 0 {
                let month = i32::try_from(random.below(2)).unwrap();
                return Self::Compact(MonthKey { interval_minutes: interval, shard, month });
            }
            let day = FIRST_DAY + i32::try_from(random.below(4)).unwrap();
            return Self::Seal(DayKey { interval_minutes: interval, shard, day });
        }
        let ordinal = [0, 63, 64, 9000][usize::try_from(random.below(4)).unwrap()];
        let step = i64::from(interval) * 60;
        let end_s = START_S + i64::try_from(random.below(4 * 86_400)).unwrap() + 1;
        let end_s = if step > 0 { (end_s / step + 1) * step } else { end_s / 9000 * 9000 + 1 };
        let mut value = || (random.below(3) > 0).then(|| i64::try_from(random.below(3)).unwrap());
        Self::Row { interval, ordinal, end_s, values: [value(), value(), value()] }
    }

    fn apply(&self, segments: &Segments, index: u64) {
        match self {
            Self::Row { interval, ordinal, end_s, values } => {
                let row = Row { ordinal: *ordinal, end_s: *end_s, flag: 0, values };
                segments.merge(index, *interval, &COLUMNS, &[row]).unwrap();
            }
            Self::Seal(key) => {
                segments.seal(index, *key, RECIPE_DAY).unwrap();
            }
            Self::Compact(month) => {
                segments.compact(index, *month, RECIPE_MONTH).unwrap();
            }
        }
    }

    fn note(&self, model: &mut Values) {
        let Self::Row { interval, ordinal, end_s, values } = self else { return };
        for (column, value) in COLUMNS.iter().zip(values) {
            let Some(value) = value else { continue };
            let place = model.entry((*interval, *ordinal, *column, *end_s)).or_default();
            if !place.contains(value) {
                place.push(*value);
            }
        }
    }
}
