//! Tests of the log through its public calls, with files broken on purpose.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use bytes::Bytes;

use super::{Log, Record, Recovered};
use crate::config::Config;
use crate::error::Error;
use crate::metrics::Metrics;

fn open(dir: &Path) -> (Log, Recovered) {
    try_open(dir).unwrap()
}

fn try_open(dir: &Path) -> crate::Result<(Log, Recovered)> {
    Log::open(dir, &Config::for_test(dir), 3, &Metrics::unregistered())
}

fn payload(index: u64, octets: usize) -> Bytes {
    let mut text = format!("record {index} ").into_bytes();
    text.resize(octets.max(text.len()), u8::try_from(index % 251).unwrap());
    Bytes::from(text)
}

fn records(from: u64, to: u64, octets: usize) -> Vec<Record> {
    (from..=to).map(|index| Record { index, payload: payload(index, octets) }).collect()
}

fn append(log: &Log, records: Vec<Record>) -> io::Result<()> {
    let (send, receive) = mpsc::channel();
    log.append(records, Box::new(move |result| send.send(result).unwrap()));
    receive.recv().unwrap()
}

fn code(error: &io::Error) -> &'static str {
    error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()).map_or("none", Error::code)
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn expect(log: &Log, from: u64, to: u64, octets: usize) {
    assert_eq!(log.read(from..to + 1, usize::MAX).unwrap(), records(from, to, octets));
}

#[test]
fn records_are_there_at_once_and_after_a_new_opening() {
    let dir = tempfile::tempdir().unwrap();
    let (log, found) = open(dir.path());
    assert_eq!(found, Recovered { first: None, last: None, purged: None, cut_octets: 0 });
    append(&log, records(1, 300, 700)).unwrap();
    log.save_meta(1, b"vote").unwrap();
    log.save_meta(1, b"newer vote").unwrap();
    expect(&log, 1, 300, 700);
    drop(log);
    assert!(files(dir.path()).len() > 2, "several files are needed for this test");
    let (log, found) = open(dir.path());
    assert_eq!((found.first, found.last), (Some(1), Some(300)));
    expect(&log, 1, 300, 700);
    assert_eq!(log.meta(1).unwrap(), b"newer vote");
    assert_eq!(log.meta(2), None);
}

#[test]
fn reads_are_bounded_but_never_empty() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    append(&log, records(5, 54, 1000)).unwrap();
    let count = |from, to, max| log.read(from..to, max).unwrap().len();
    assert_eq!(count(5, 55, 1), 1);
    assert_eq!(count(5, 55, 3500), 3);
    assert_eq!(count(0, 1000, usize::MAX), 50);
    assert_eq!(count(55, 100, usize::MAX), 0);
    assert_eq!(count(20, 20, usize::MAX), 0);
}

#[test]
fn a_noted_value_goes_out_with_the_next_work_and_at_the_stop() {
    let dir = tempfile::tempdir().unwrap();
    let written = |dir: &Path| {
        let copy = tempfile::tempdir().unwrap();
        for path in files(dir) {
            fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
        open(copy.path()).0.meta(5)
    };
    let (log, _) = open(dir.path());
    log.note_meta(5, b"first").unwrap();
    log.note_meta(5, b"second").unwrap();
    assert_eq!(log.meta(5).unwrap(), b"second");
    assert_eq!(written(dir.path()), None, "nothing else was written yet");
    append(&log, records(1, 2, 10)).unwrap();
    assert_eq!(written(dir.path()).unwrap(), b"second");
    log.note_meta(5, b"third").unwrap();
    log.save_meta(5, b"fourth").unwrap();
    assert_eq!(written(dir.path()).unwrap(), b"fourth", "an older note must not overtake it");
    log.note_meta(5, b"last").unwrap();
    log.stop();
    assert_eq!(written(dir.path()).unwrap(), b"last");
    assert!(log.note_meta(5, &[0; 5000]).is_err());
}

#[test]
fn reads_from_memory_are_whole_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    append(&log, records(1, 9, 100)).unwrap();
    let cached = log.read_cached(3..7, usize::MAX).unwrap().unwrap();
    assert_eq!(cached, log.read(3..7, usize::MAX).unwrap());
    assert_eq!(log.read_cached(3..7, 1).unwrap().unwrap().len(), 1);
    log.stop();
    drop(log);
    let (log, _) = open(dir.path());
    assert_eq!(log.read(3..7, usize::MAX).unwrap(), cached);
    assert_eq!(log.read_cached(3..7, usize::MAX).unwrap(), None, "now it is on disk alone");
}

#[test]
fn callbacks_come_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    let (send, receive) = mpsc::channel();
    for index in 1..=500 {
        let send = send.clone();
        let done = move |result: io::Result<()>| {
            result.unwrap();
            send.send(index).unwrap();
        };
        log.append(records(index, index, 100), Box::new(done));
    }
    for index in 1..=500 {
        assert_eq!(receive.recv().unwrap(), index);
    }
}

#[test]
fn gaps_and_large_records_are_refused_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    append(&log, records(1, 3, 10)).unwrap();
    assert_eq!(code(&append(&log, records(5, 5, 10)).unwrap_err()), "wal_gap");
    assert_eq!(code(&append(&log, records(3, 3, 10)).unwrap_err()), "wal_gap");
    assert_eq!(code(&append(&log, records(4, 4, 17 * 1024)).unwrap_err()), "record_too_large");
    assert_eq!(code(&log.save_meta(1, &[0; 5000]).unwrap_err()), "wal_meta");
    append(&log, records(4, 4, 10)).unwrap();
    expect(&log, 1, 4, 10);
}

#[test]
fn truncated_records_stay_away() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    append(&log, records(1, 200, 900)).unwrap();
    log.truncate_after(Some(50)).unwrap();
    assert_eq!(log.last_index(), Some(50));
    append(&log, records(51, 60, 300)).unwrap();
    log.truncate_after(Some(70)).unwrap();
    drop(log);
    let (log, found) = open(dir.path());
    assert_eq!((found.first, found.last), (Some(1), Some(60)));
    expect(&log, 1, 50, 900);
    expect(&log, 51, 60, 300);
    log.truncate_after(None).unwrap();
    assert_eq!(log.last_index(), None);
    append(&log, records(9, 9, 10)).unwrap();
    drop(log);
    assert_eq!(open(dir.path()).1.first, Some(9));
}

#[test]
fn a_purge_is_exact_and_frees_files() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    log.save_meta(7, b"kept").unwrap();
    for from in (1..=1000).step_by(50) {
        append(&log, records(from, from + 49, 1000)).unwrap();
    }
    let before = files(dir.path()).len();
    log.purge_to(777).unwrap();
    append(&log, records(1001, 1001, 10)).unwrap();
    let after = files(dir.path()).len();
    assert!(after < before / 2, "{before} files became {after}");
    assert_eq!(log.first_index(), Some(778));
    drop(log);
    let (log, found) = open(dir.path());
    assert_eq!((found.first, found.last, found.purged), (Some(778), Some(1001), Some(777)));
    expect(&log, 778, 1000, 1000);
    assert_eq!(log.meta(7).unwrap(), b"kept");
    let below = log.truncate_after(Some(700)).unwrap_err();
    assert_eq!(code(&below), "wal_truncate");
}

#[test]
fn a_purge_behind_the_end_sets_the_next_index() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    append(&log, records(1, 5, 10)).unwrap();
    log.purge_to(100).unwrap();
    assert_eq!((log.first_index(), log.last_index()), (None, None));
    assert_eq!(code(&append(&log, records(100, 100, 10)).unwrap_err()), "wal_gap");
    append(&log, records(101, 105, 10)).unwrap();
    drop(log);
    let (log, found) = open(dir.path());
    assert_eq!((found.first, found.purged), (Some(101), Some(100)));
    expect(&log, 101, 105, 10);
}

#[test]
fn many_openings_leave_few_files() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..20 {
        open(dir.path());
    }
    assert_eq!(files(dir.path()).len(), 1);
}

/// Writes 40 records in four synced batches, then breaks the newest file.
fn broken(at_end: usize, octets: &[u8]) -> (tempfile::TempDir, crate::Result<(Log, Recovered)>) {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    for from in [1, 11, 21, 31] {
        append(&log, records(from, from + 9, 200)).unwrap();
    }
    drop(log);
    let path = files(dir.path()).pop().unwrap();
    let mut file = fs::read(&path).unwrap();
    let used = file.iter().rposition(|octet| *octet != 0).unwrap() + 1;
    let at = used - at_end;
    file.splice(at..at + octets.len(), octets.iter().copied());
    fs::write(&path, file).unwrap();
    let found = try_open(dir.path());
    (dir, found)
}

#[test]
fn a_torn_tail_is_cut() {
    let (dir, found) = broken(300, &[0x55; 30]);
    let (log, found) = found.unwrap();
    assert_eq!(found.last, Some(38));
    assert!(found.cut_octets > 200, "{found:?}");
    append(&log, records(39, 39, 5)).unwrap();
    drop(log);
    let (log, found) = open(dir.path());
    assert_eq!((found.last, found.cut_octets), (Some(39), 0));
    expect(&log, 1, 38, 200);
}

#[test]
fn a_lost_page_in_the_last_batch_is_cut() {
    let (_dir, found) = broken(1800, &[0; 600]);
    assert_eq!(found.unwrap().1.last, Some(32));
}

#[test]
fn damage_below_the_synced_mark_is_refused() {
    for octets in [&[0x55; 30][..], &[0; 600][..]] {
        let (_dir, found) = broken(4000, octets);
        let error = found.unwrap_err();
        assert_eq!(error.code(), "wal_damaged", "{error}");
    }
}

#[test]
fn damage_of_an_older_file_is_refused() {
    let spoil = |change: &dyn Fn(&Path)| {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = open(dir.path());
        append(&log, records(1, 300, 900)).unwrap();
        drop(log);
        change(&files(dir.path())[1]);
        assert_eq!(try_open(dir.path()).unwrap_err().code(), "wal_damaged");
    };
    spoil(&|path| {
        let mut file = fs::read(path).unwrap();
        let last = file.len() - 100;
        file[last] ^= 1;
        fs::write(path, file).unwrap();
    });
    spoil(&|path| {
        let file = fs::read(path).unwrap();
        fs::write(path, &file[..file.len() - 500]).unwrap();
    });
    spoil(&|path| fs::remove_file(path).unwrap());
}

#[test]
fn a_log_of_another_group_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let other = Log::open(dir.path(), &Config::for_test(dir.path()), 4, &Metrics::unregistered());
    assert_eq!(other.unwrap_err().code(), "wal_damaged");
}

#[test]
fn the_first_fault_is_sticky() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("wal");
    let (log, _) = open(&path);
    append(&log, records(1, 10, 100)).unwrap();
    fs::remove_dir_all(&path).unwrap();
    // The next file cannot be made, so a batch that needs one fails.
    let first = append(&log, records(11, 100, 1000)).unwrap_err();
    assert_eq!(code(&first), "not_found");
    fs::create_dir_all(&path).unwrap();
    let second = append(&log, records(101, 101, 1)).unwrap_err();
    assert_eq!(second.to_string(), first.to_string());
    assert_eq!(code(&log.read(1..5, 100).unwrap_err()), "not_found");
}

#[test]
fn a_stopped_log_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    append(&log, records(1, 10, 100)).unwrap();
    log.stop();
    assert_eq!(code(&append(&log, records(11, 11, 1)).unwrap_err()), "storage_stopped");
    expect(&log, 1, 10, 100);
}
