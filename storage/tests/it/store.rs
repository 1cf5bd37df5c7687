//! One data directory: its lock, its rights, and snapshots that go from one store to another.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use storage::log::Record;
use storage::segment::{DayKey, RECIPE_DAY, Row};
use storage::snapshot::{Incoming, Kind, Manifest, Months};
use storage::tables::Opened;
use storage::{Config, Metrics, Opening, Put, Store};

const A: [u8; 6] = [1, 0, 1, 8, 0, 255];

fn open(dir: &Path) -> (Store, Opening) {
    Store::open(&Config::for_test(dir), 0, &Metrics::unregistered()).unwrap()
}

fn append(store: &Store, index: u64) -> io::Result<()> {
    let (send, receive) = mpsc::channel();
    let records = vec![Record { index, payload: Bytes::from(vec![7; 100]) }];
    store.log.append(records, Box::new(move |result| send.send(result).unwrap()));
    receive.recv().unwrap()
}

/// Entry `index`: a row, and its index in the tables.
fn apply(store: &Store, index: u64) {
    let end_s = 900 * i64::try_from(index).unwrap();
    let values = [Some(end_s * 3)];
    let row = Row { ordinal: 100, end_s, flag: 0, values: &values };
    store.segments.merge(index, 15, &[A], &[row]).unwrap();
    let value = Some(index.to_be_bytes().to_vec());
    let key = format!("{index:06}").into_bytes();
    store.tables.commit(&[Put { table: 3, key, value }]).unwrap();
}

fn seal(store: &Store, index: u64, day: i32) {
    let key = DayKey { interval_minutes: 15, shard: 0, day };
    store.segments.seal(index, key, RECIPE_DAY).unwrap();
}

type Contents = (Vec<(u8, Vec<u8>, Vec<u8>)>, Vec<storage::segment::Point>);

fn contents(store: &Store) -> Contents {
    let mut tables = Vec::new();
    let mut visit = |table, key: &[u8], value: &[u8]| {
        tables.push((table, key.to_vec(), value.to_vec()));
        Ok(())
    };
    store.tables.dump(&mut visit).unwrap();
    (tables, store.segments.query(15, 100, A, 0, i64::MAX).unwrap())
}

/// 250 entries over three days; the first two are sealed, one of them twice.
fn filled(dir: &Path) -> (Store, Manifest) {
    let (store, _) = open(dir);
    for index in 1..=250 {
        apply(&store, index);
        match index {
            120 | 130 => seal(&store, index, 0),
            230 => seal(&store, index, 1),
            _ => {}
        }
        if index == 125 {
            // A late row of the sealed day.
            let row = Row { ordinal: 100, end_s: 60 * 900, flag: 4, values: &[Some(-5)] };
            store.segments.merge(index, 15, &[A], &[row]).unwrap();
        }
    }
    store.segments.settle(Duration::from_secs(90)).unwrap();
    let frozen = store.snapshots.freeze(250, b"meta".to_vec()).unwrap();
    apply(&store, 251);
    let manifest = store.snapshots.write(frozen).unwrap();
    (store, manifest)
}

fn pull(from: &Store, incoming: &mut Incoming, pieces: usize) {
    let index = incoming.manifest().index;
    for (item, mut offset) in incoming.missing() {
        for _ in 0..pieces {
            let piece = from.snapshots.read(index, &item.name, offset, 300).unwrap();
            if piece.is_empty() {
                break;
            }
            incoming.receive(&item.name, offset, &piece).unwrap();
            offset += piece.len() as u64;
        }
    }
}

#[test]
fn a_second_process_is_told_who_has_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let (store, opening) = open(dir.path());
    assert_eq!((opening.floor, opening.tables), (0, Opened::Fresh));
    let config = Config::for_test(dir.path());
    let error = Store::open(&config, 0, &Metrics::unregistered()).unwrap_err();
    let expect = format!("data directory is in use by pid {}", std::process::id());
    assert!(error.to_string().starts_with(&expect), "{error}");
    assert_eq!(error.code(), "storage_in_use");
    store.stop().unwrap();
    drop(store);
    open(dir.path());
}

#[test]
fn a_directory_that_cannot_be_made_is_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"x").unwrap();
    let config = Config::for_test(file.join("data"));
    let error = Store::open(&config, 0, &Metrics::unregistered()).unwrap_err();
    assert!(error.to_string().starts_with("cannot make folder"), "{error}");
    let proc = Config::for_test("/proc/holdfast");
    let error = Store::open(&proc, 0, &Metrics::unregistered()).unwrap_err();
    assert_eq!(error.code(), "not_found");
    let none = Config::for_test("");
    let error = Store::open(&none, 0, &Metrics::unregistered()).unwrap_err();
    assert_eq!(error.code(), "storage_config");
}

#[test]
fn a_full_disk_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    // Whatever is written to this device does not fit.
    std::os::unix::fs::symlink("/dev/full", dir.path().join("x.tmp")).unwrap();
    let error = storage::file::write_atomic(&path, b"octets").unwrap_err();
    assert_eq!(error.code(), "disk_full");
    assert!(!path.exists());
}

#[test]
fn a_snapshot_makes_an_equal_store() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (from, manifest) = filled(dirs[0].path());
    assert_eq!(manifest.segments.len(), 3);
    let decoded = Manifest::decode(&manifest.encode()).unwrap();
    assert_eq!(decoded, manifest);
    let (to, _) = open(dirs[1].path());
    for index in 1..=5 {
        append(&to, index).unwrap();
        apply(&to, index);
    }
    // Pull a little, lose the connection, stop, go on with what is left.
    let mut incoming = to.snapshots.receive(decoded.clone(), Months::Now).unwrap();
    assert_eq!(incoming.missing().len(), 5);
    pull(&from, &mut incoming, 2);
    assert!(to.snapshots.install(incoming).is_err(), "files are missing");
    drop(to);
    let (to, _) = open(dirs[1].path());
    let mut incoming = to.snapshots.receive(decoded, Months::Now).unwrap();
    assert!(incoming.missing().iter().any(|(_, offset)| *offset > 0));
    pull(&from, &mut incoming, usize::MAX);
    assert_eq!(to.snapshots.install(incoming).unwrap(), manifest);
    apply(&to, 251);
    to.log.purge_to(250).unwrap();
    let expect = contents(&from);
    assert_eq!(expect.1.len(), 252);
    assert_eq!(contents(&to), expect);
    assert_eq!(to.snapshots.newest().unwrap().meta, b"meta");
    to.stop().unwrap();
    drop(to);
    let (to, opening) = open(dirs[1].path());
    assert_eq!(
        (opening.floor, opening.tables, opening.log.purged),
        (250, Opened::Existing, Some(250))
    );
    apply(&to, 251);
    assert_eq!(contents(&to), expect);
    // Of a second snapshot of the same history only what changed since is missing.
    let again = from.snapshots.write(from.snapshots.freeze(251, vec![]).unwrap()).unwrap();
    let incoming = to.snapshots.receive(again, Months::Now).unwrap();
    let kinds: Vec<Kind> = incoming.missing().iter().map(|(item, _)| item.kind).collect();
    assert_eq!(kinds, [Kind::Changes, Kind::OpenDays]);
}

#[test]
fn an_installation_that_was_cut_short_is_finished() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (from, manifest) = filled(dirs[0].path());
    let (to, _) = open(dirs[1].path());
    let mut incoming = to.snapshots.receive(manifest, Months::Now).unwrap();
    pull(&from, &mut incoming, usize::MAX);
    drop(incoming);
    to.stop().unwrap();
    drop(to);
    // As if the process had died behind the first step, with the tables half loaded.
    let snapshots = dirs[1].path().join("snapshots/g0");
    fs::rename(snapshots.join("incoming"), snapshots.join("installing")).unwrap();
    fs::write(dirs[1].path().join("tables.loading"), b"x").unwrap();
    let (to, opening) = open(dirs[1].path());
    assert_eq!((opening.floor, opening.tables), (250, Opened::Existing));
    apply(&to, 251);
    assert_eq!(contents(&to), contents(&from));
}

#[test]
fn two_senders_at_once_do_not_mix_their_snapshots() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (from, first) = filled(dirs[0].path());
    for index in 252..=260 {
        apply(&from, index);
    }
    let frozen = from.snapshots.freeze(260, b"meta".to_vec()).unwrap();
    let second = from.snapshots.write(frozen).unwrap();
    let (to, _) = open(dirs[1].path());

    // A sender that is still at it when another begins is told so and spoils nothing.
    let mut slow = to.snapshots.receive(first.clone(), Months::Now).unwrap();
    pull(&from, &mut slow, 1);
    let (item, offset) = slow.missing()[0].clone();
    let mut whole = to.snapshots.receive(first.clone(), Months::Now).unwrap();
    let piece = from.snapshots.read(250, &item.name, offset, 300).unwrap();
    let late = slow.receive(&item.name, offset, &piece).unwrap_err();
    assert_eq!(late.code(), "snapshot_superseded");
    assert_eq!(slow.seal().unwrap_err().code(), "snapshot_incomplete");
    pull(&from, &mut whole, usize::MAX);

    // What is whole and waits is not touched by the next one, which another leader sends.
    whole.seal().unwrap();
    let mut next = to.snapshots.receive(second.clone(), Months::Now).unwrap();
    pull(&from, &mut next, 1);
    assert_eq!(to.snapshots.install(whole).unwrap(), first);
    assert_eq!(to.snapshots.newest().unwrap().index, 250);
    pull(&from, &mut next, usize::MAX);
    next.seal().unwrap();

    // A stop before the installation: it is not asked for again.
    std::mem::forget(next);
    to.stop().unwrap();
    drop(to);
    let (to, _) = open(dirs[1].path());
    let again = to.snapshots.receive(second.clone(), Months::Now).unwrap();
    assert!(again.missing().is_empty());
    assert_eq!(to.snapshots.install(again).unwrap(), second);
    assert_eq!(contents(&to), contents(&from));
    let left = fs::read_dir(dirs[1].path().join("snapshots/g0")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("received")), "{left:?}");
}

#[test]
fn wrong_pieces_are_refused() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (from, manifest) = filled(dirs[0].path());
    let (to, _) = open(dirs[1].path());
    let mut incoming = to.snapshots.receive(manifest.clone(), Months::Now).unwrap();
    let code = |result: storage::Result<()>| result.unwrap_err().code();
    assert_eq!(code(incoming.receive("../../etc/passwd", 0, b"x")), "snapshot_piece");
    assert_eq!(code(incoming.receive("tables", 5, b"x")), "snapshot_piece");
    let octets = manifest.items[0].octets;
    let zeros = vec![0; usize::try_from(octets).unwrap()];
    assert_eq!(code(incoming.receive("tables", 0, &zeros)), "snapshot_hash");
    let again = incoming.missing().iter().any(|(item, at)| item.name == "tables" && *at == 0);
    assert!(again, "a wrong file begins anew");
    pull(&from, &mut incoming, usize::MAX);
    assert!(incoming.missing().is_empty());
    let unknown = from.snapshots.read(250, "lock", 0, 10).unwrap_err();
    assert_eq!(unknown.code(), "snapshot_unknown");
    for length in [0, 5, 12, 40] {
        let cut = &manifest.encode()[..length];
        assert_eq!(Manifest::decode(cut).unwrap_err().code(), "snapshot_invalid");
    }
}

#[test]
fn damaged_tables_come_back_from_the_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = filled(dir.path());
    let expect = contents(&store);
    store.stop().unwrap();
    drop(store);
    fs::write(dir.path().join("tables/db"), b"this is no database").unwrap();
    let (store, opening) = open(dir.path());
    assert!(matches!(opening.tables, Opened::Rebuild { .. }));
    let manifest = store.snapshots.rebuild().unwrap().unwrap();
    assert_eq!(manifest.index, 250);
    apply(&store, 251);
    assert_eq!(contents(&store), expect);
}

#[test]
fn old_snapshots_go() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    for index in 1..=5 {
        apply(&store, index);
        store.snapshots.write(store.snapshots.freeze(index, vec![]).unwrap()).unwrap();
    }
    let kept: Vec<u64> = store.snapshots.list().iter().map(|manifest| manifest.index).collect();
    assert_eq!(kept, [4, 5]);
    assert_eq!(fs::read_dir(dir.path().join("snapshots/g0")).unwrap().count(), 2);
}
