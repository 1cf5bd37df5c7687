//! A disk that is really full: each test runs itself again on a small tmpfs of its own, in a
//! mount namespace that ends with the process.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use storage::log::Record;
use storage::{Backend, Config, Error, Metrics, Put, Store};

/// Tells the inner run where its small disk is.
const DISK: &str = "HOLDFAST_SMALL_DISK";

/// Runs `work` on a tmpfs of that size; `name` is the test's own name below this module.
fn on_a_small_disk(name: &str, size: &str, work: impl FnOnce(&Path)) {
    if let Some(disk) = std::env::var_os(DISK) {
        return work(&PathBuf::from(disk));
    }
    let disk = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o "size=$1" tmpfs "$2" && shift 2 && exec "$@""#;
    let told = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", size])
        .arg(disk.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("full_disk::{name}"), "--nocapture"])
        .env(DISK, disk.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned();
    assert!(told.status.success() && said.contains("1 passed"), "{said}");
}

fn open(dir: &Path) -> Store {
    open_on(dir, Backend::Sled)
}

fn open_on(dir: &Path, tables_backend: Backend) -> Store {
    let config = Config { tables_backend, ..Config::for_test(dir) };
    Store::open(&config, 0, &Metrics::unregistered()).unwrap().0
}

fn append(store: &Store, index: u64) -> io::Result<()> {
    let (send, receive) = mpsc::channel();
    let records = vec![Record { index, payload: Bytes::from(vec![7; 8000]) }];
    store.log.append(records, Box::new(move |result| send.send(result).unwrap()));
    receive.recv().unwrap()
}

/// Takes all of the disk that is left; removing the file gives it back.
fn fill(disk: &Path) -> PathBuf {
    let path = disk.join("ballast");
    let mut file = fs::File::create(&path).unwrap();
    let piece = [1; 4096];
    while io::Write::write_all(&mut file, &piece).is_ok() {}
    path
}

fn named(error: &Error, below: &Path) {
    let report = error.report();
    assert_eq!(error.code(), "disk_full", "{report}");
    assert!(report.contains(&below.display().to_string()), "{report}");
    assert!(report.contains("No space left on device"), "{report}");
}

#[test]
fn the_log_says_so_and_keeps_what_it_acknowledged() {
    on_a_small_disk("the_log_says_so_and_keeps_what_it_acknowledged", "4m", |disk| {
        let data = disk.join("data");
        let store = open(&data);
        let ballast = fill(disk);
        let mut acknowledged = 0;
        let error = loop {
            match append(&store, acknowledged + 1) {
                Ok(()) => acknowledged += 1,
                Err(error) => break error,
            }
        };
        assert!(acknowledged > 0, "the preallocated file takes some");
        let inner = error.get_ref().unwrap().downcast_ref::<Error>().unwrap();
        named(inner, &data.join("wal"));
        assert_eq!(store.fault().unwrap().code(), "disk_full");
        fs::remove_file(ballast).unwrap();
        assert!(append(&store, acknowledged + 1).is_err(), "the first fault is sticky");
        drop(store);
        let store = open(&data);
        let held = store.log.read(1..u64::MAX, usize::MAX).unwrap();
        assert_eq!(held.len() as u64, acknowledged);
    });
}

#[test]
fn tables_on_sled_say_so() {
    on_a_small_disk("tables_on_sled_say_so", "8m", |disk| the_tables_say_so(disk, Backend::Sled));
}

#[test]
fn tables_on_fjall_say_so() {
    // Its journal is preallocated as 64 MiB of a sparse file.
    on_a_small_disk("tables_on_fjall_say_so", "8m", |disk| the_tables_say_so(disk, Backend::Fjall));
}

fn the_tables_say_so(disk: &Path, backend: Backend) {
    let data = disk.join("data");
    let store = open_on(&data, backend);
    fill(disk);
    let begun = Instant::now();
    let mut row = 0_u64;
    // The flusher or a commit meets it, whichever comes first.
    while store.fault().is_none() && begun.elapsed() < Duration::from_secs(60) {
        row += 1;
        let key = spread(row);
        let put = Put { table: 3, key, value: Some(vec![row as u8; 2000]) };
        if store.tables.commit(&[put]).is_err() {
            break;
        }
    }
    named(&store.fault().unwrap(), &data.join("tables"));
    assert_eq!(store.tables.flush().unwrap_err().code(), "disk_full");
}

/// A key that spreads rows over all pages.
fn spread(row: u64) -> Vec<u8> {
    row.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes().to_vec()
}

#[test]
fn a_snapshot_says_so_and_leaves_no_half_of_one() {
    on_a_small_disk("a_snapshot_says_so_and_leaves_no_half_of_one", "8m", |disk| {
        let data = disk.join("data");
        let store = open(&data);
        let value = |row: u64| Some(spread(row).repeat(40));
        let puts: Vec<_> =
            (0..500).map(|row| Put { table: 3, key: spread(row), value: value(row) }).collect();
        store.tables.commit(&puts).unwrap();
        store.tables.flush().unwrap();
        append(&store, 1).unwrap();
        let frozen = store.snapshots.freeze(1, b"meta".to_vec()).unwrap();
        let ballast = fill(disk);
        named(&store.snapshots.write(frozen).unwrap_err(), &data);
        assert!(store.snapshots.newest().is_none());
        drop(store);
        fs::remove_file(ballast).unwrap();
        assert!(open(&data).snapshots.newest().is_none());
    });
}

/// A drill: nobody's disk is touched, and it ends by itself.
#[test]
fn a_pretended_full_disk_looks_like_one_and_ends_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let becomes = |full: bool| {
        let until = Instant::now() + Duration::from_secs(60);
        while store.space.is_full() != full {
            assert!(Instant::now() < until, "it does not become {full}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    becomes(false);
    store.space.pretend_full(Duration::from_secs(100));
    becomes(true);
    store.space.pretend_full(Duration::ZERO);
    becomes(false);
    store.space.pretend_full(Duration::from_millis(500));
    becomes(true);
    becomes(false);
    append(&store, 1).unwrap();
}
