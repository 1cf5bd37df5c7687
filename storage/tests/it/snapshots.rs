//! A snapshot of the tables is that of before and what changed since.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use storage::snapshot::{Kind, Manifest, Months};
use storage::{Config, Metrics, Put, Store};

use crate::model::{Random, seed};

type Map = BTreeMap<(u8, Vec<u8>), Vec<u8>>;

fn open(dir: &Path) -> Store {
    Store::open(&Config::for_test(dir), 0, &Metrics::unregistered()).unwrap().0
}

fn put(table: u8, key: &str, value: Option<&str>) -> Put {
    let value = value.map(|value| value.as_bytes().to_vec());
    Put { table, key: key.as_bytes().to_vec(), value }
}

fn snapshot(store: &Store, index: u64) -> Manifest {
    let frozen = store.snapshots.freeze(index, vec![]).unwrap();
    store.snapshots.write(frozen).unwrap()
}

fn contents(store: &Store) -> Map {
    let mut map = Map::new();
    let mut visit = |table, key: &[u8], value: &[u8]| {
        map.insert((table, key.to_vec()), value.to_vec());
        Ok(())
    };
    store.tables.dump(&mut visit).unwrap();
    map
}

/// Names of the parts of the tables.
fn parts(manifest: &Manifest) -> Vec<String> {
    let parts = manifest.items.iter().filter(|item| item.kind != Kind::OpenDays);
    parts.map(|item| item.name.clone()).collect()
}

/// Pulls a snapshot into another store; the octets that came.
fn send(from: &Store, to: &Store, manifest: &Manifest) -> u64 {
    let mut incoming = to.snapshots.receive(manifest.clone(), Months::Now).unwrap();
    let mut sent = 0;
    for (item, mut offset) in incoming.missing() {
        while offset < item.octets {
            let read = from.snapshots.read(manifest.index, &item.name, offset, 1 << 16);
            let piece = read.unwrap();
            incoming.receive(&item.name, offset, &piece).unwrap();
            offset += piece.len() as u64;
            sent += piece.len() as u64;
        }
    }
    to.snapshots.install(incoming).unwrap();
    sent
}

#[test]
fn a_snapshot_shares_the_parts_of_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let name = |number: u32| format!("{number:06}");
    let all: Vec<Put> = (0..20_000).map(|at| put(1, &name(at), Some(&name(at)))).collect();
    store.tables.commit(&all).unwrap();
    let first = snapshot(&store, 10);
    assert_eq!(parts(&first), ["tables"]);
    store.tables.commit(&[put(1, &name(7), None), put(2, "new", Some("value"))]).unwrap();
    let frozen = store.snapshots.freeze(20, vec![]).unwrap();
    let expect = contents(&store);
    // What is written after the freeze is not in it.
    store.tables.commit(&[put(1, &name(8), Some("later"))]).unwrap();
    let second = store.snapshots.write(frozen).unwrap();
    assert_eq!(parts(&second), ["tables", "tables-1"]);
    assert!(second.items[1].octets < 200, "{:?}", second.items[1]);
    assert_eq!(second.items[0], first.items[0]);
    let file = |index: u64| {
        let folder = dir.path().join(format!("snapshots/g0/{index:020}"));
        fs::metadata(folder.join("tables")).unwrap().ino()
    };
    assert_eq!(file(10), file(20), "one file, two names");
    let decoded = Manifest::decode(&second.encode()).unwrap();
    assert_eq!(decoded, second);
    let other = tempfile::tempdir().unwrap();
    let to = open(other.path());
    send(&store, &to, &second);
    assert_eq!(contents(&to), expect);
    // The receiver goes on from the same parts, and is sent no more than the changes.
    let third = snapshot(&store, 30);
    assert_eq!(parts(&third), ["tables", "tables-1", "tables-2"]);
    let sent = send(&store, &to, &third);
    assert!(sent < third.items[0].octets / 10, "{sent} octets of {}", third.items[0].octets);
    assert_eq!(contents(&to), contents(&store));
    to.tables.commit(&[put(5, "own", Some("x"))]).unwrap();
    assert_eq!(parts(&snapshot(&to, 31)).len(), 4);
}

#[test]
fn random_changes_and_restarts_end_in_equal_tables() {
    let mut random = Random(seed());
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (mut from, mut to) = (open(dirs[0].path()), open(dirs[1].path()));
    let mut model = Map::new();
    let (mut folded, mut before) = (0, 0);
    for round in 1..=80 {
        for _ in 0..random.below(60) {
            let (table, key) = (u8::try_from(random.below(3)).unwrap(), random.below(150));
            let key = format!("{key:03}");
            let value = (random.below(3) > 0).then(|| format!("{key}-{round}"));
            from.tables.commit(&[put(table, &key, value.as_deref())]).unwrap();
            let place = (table, key.into_bytes());
            match value {
                Some(value) => model.insert(place, value.into_bytes()),
                None => model.remove(&place),
            };
        }
        let manifest = snapshot(&from, round);
        let count = parts(&manifest).len();
        folded += usize::from(count == 1 && before > 2);
        before = count;
        if random.below(12) == 0 {
            drop(from);
            from = open(dirs[0].path());
        }
        if random.below(3) == 0 {
            send(&from, &to, &manifest);
            assert_eq!(contents(&to), model, "round {round}");
        }
        if random.below(15) == 0 {
            drop(to);
            to = open(dirs[1].path());
            assert!(to.snapshots.rebuild().is_ok());
        }
    }
    assert_eq!(contents(&from), model);
    from.snapshots.rebuild().unwrap();
    assert_eq!(contents(&from), model, "the newest snapshot holds all");
    assert!(folded > 0, "no parts were folded");
}

#[test]
fn after_a_start_and_after_a_failure_a_snapshot_holds_all() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let flip = |index: u64, name: &str| {
        let path = dir.path().join(format!("snapshots/g0/{index:020}")).join(name);
        let mut octets = fs::read(&path).unwrap();
        let middle = octets.len() / 2;
        octets[middle] ^= 0x10;
        fs::write(&path, octets).unwrap();
    };
    store.tables.commit(&[put(1, "a", Some("1"))]).unwrap();
    assert_eq!(parts(&snapshot(&store, 1)), ["tables"]);
    drop(store);
    let store = open(dir.path());
    store.tables.commit(&[put(1, "b", Some("2"))]).unwrap();
    assert_eq!(parts(&snapshot(&store, 2)), ["tables"], "what changed before is not known");
    store.tables.commit(&[put(1, "c", Some("3"))]).unwrap();
    assert_eq!(parts(&snapshot(&store, 3)), ["tables", "tables-1"]);
    // A part that rots is met when the parts are folded, and not carried on.
    flip(3, "tables");
    let large = "x".repeat(3000);
    let mut random = Random(seed());
    let noise = |random: &mut Random| -> String {
        large.chars().map(|_| char::from(b'a' + u8::try_from(random.below(26)).unwrap())).collect()
    };
    let many: Vec<_> = (0..1000).map(|at| (format!("k{at}"), noise(&mut random))).collect();
    let many: Vec<Put> = many.iter().map(|(key, value)| put(2, key, Some(value))).collect();
    store.tables.commit(&many).unwrap();
    let frozen = store.snapshots.freeze(4, vec![]).unwrap();
    assert_eq!(store.snapshots.write(frozen).unwrap_err().code(), "snapshot_damaged");
    assert_eq!(parts(&snapshot(&store, 5)), ["tables"]);
    let expect = contents(&store);
    store.snapshots.rebuild().unwrap();
    assert_eq!(contents(&store), expect);
}
