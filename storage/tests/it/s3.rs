//! Backups and cold months in an S3 server that others wrote (Python package `moto`, pinned in
//! `tests/s3/requirements.txt`, installed into a throw-away environment beside the build).
//!
//! The address and the credentials of a store come from the environment, so the test runs itself
//! again with them.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use storage::archive::{Place, Put};
use storage::backup::{Kind, OperatorKey, Origin, Repository};
use storage::segment::{
    DayKey, Entry, MonthKey, Point, RECIPE_DAY, RECIPE_MONTH, Row, first_day, month_of,
};
use storage::{Config, Metrics, Segments};

use crate::python;

/// Tells the inner run where the server is.
const ENDPOINT: &str = "AWS_ENDPOINT";
const SECRET: &str = "the-secret-of-the-store";

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server with an empty bucket `backups`.
fn server() -> (Server, u16) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let child = Command::new(python::environment("s3"))
        .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server(child);
    let until = Instant::now() + Duration::from_secs(60);
    while !made_bucket(port) {
        assert!(Instant::now() < until, "the S3 server does not answer");
        std::thread::sleep(Duration::from_millis(200));
    }
    (server, port)
}

fn made_bucket(port: u16) -> bool {
    use std::io::Write;
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let request = format!(
        "PUT /backups HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-length: 0\r\n\
         connection: close\r\n\r\n"
    );
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}

/// Runs `work` with a server's address in the environment; `name` is the test's own name.
fn with_server(name: &str, work: impl FnOnce()) {
    if std::env::var_os(ENDPOINT).is_some() {
        return work();
    }
    let (_server, port) = server();
    let told = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("s3::{name}"), "--nocapture"])
        .env(ENDPOINT, format!("http://127.0.0.1:{port}"))
        .envs([("AWS_ACCESS_KEY_ID", "someone"), ("AWS_SECRET_ACCESS_KEY", SECRET)])
        .env("AWS_REGION", "eu-central-1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned();
    assert!(told.status.success() && said.contains("1 passed"), "{said}");
    assert!(!said.contains(SECRET), "the secret stands in a text");
}

fn content(octets: usize) -> Vec<u8> {
    (0..octets).map(|at| (at * 7 % 251) as u8).collect()
}

#[test]
fn objects_are_created_once_read_listed_and_removed() {
    with_server("objects_are_created_once_read_listed_and_removed", || {
        let place = Place::open("s3://backups/deep/er").unwrap();
        assert_eq!(place.list("").unwrap(), []);
        // Below one part, and above two of them.
        for (name, octets) in [("x/small", 1000), ("y/large", 20 << 20)] {
            let octets = content(octets);
            assert_eq!(place.put_new(name, &mut octets.as_slice()).unwrap(), Put::Stored);
            assert_eq!(place.put_new(name, &mut &b"other"[..]).unwrap(), Put::Existed);
            let mut found = Vec::new();
            place.get(name).unwrap().read_to_end(&mut found).unwrap();
            assert!(found == octets, "{name}");
        }
        let large = ("y/large".to_owned(), 20 << 20);
        assert_eq!(place.list("").unwrap(), [("x/small".to_owned(), 1000), large.clone()]);
        assert_eq!(place.list("y/").unwrap(), [large]);
        place.remove("x/small").unwrap();
        place.remove("x/small").unwrap();
        assert_eq!(place.get("x/small").map(|_| ()).unwrap_err().code(), "not_found");
        let nowhere = Place::open("s3://no-such-bucket/x").unwrap();
        let error = nowhere.put_new("a", &mut &b"x"[..]).unwrap_err();
        assert!(error.report().contains("s3://no-such-bucket/x/a"), "{}", error.report());
    });
}

#[test]
fn a_chain_of_encrypted_backups_in_an_object_store() {
    with_server("a_chain_of_encrypted_backups_in_an_object_store", || {
        let open = |octet| {
            Repository::open("s3://backups/backups", Some(OperatorKey::new([octet; 32]))).unwrap()
        };
        let backups = open(3);
        let sizes = [500, 100_000, 9 << 20];
        for count in 1..=3 {
            let mut session = backups.begin(&count.to_string(), Kind::Incremental).unwrap();
            for octets in &sizes[..count] {
                let octets = content(*octets);
                let hash = *blake3::hash(&octets).as_bytes();
                let source = || Ok(Box::new(std::io::Cursor::new(octets.clone())) as Box<dyn Read>);
                session.add(&octets.len().to_string(), octets.len() as u64, &hash, source).unwrap();
            }
            session.finish(b"manifest", Origin::default()).unwrap();
        }
        let listed = backups.list().unwrap();
        assert_eq!(listed.len(), 3);
        for listed in &listed {
            let mut heard = 0;
            backups.verify(listed.record.as_ref().unwrap(), &mut |_| heard += 1).unwrap();
            assert!(heard > 1);
        }
        let last = backups.find(None).unwrap();
        assert_eq!(last.files.iter().filter(|file| file.new).count(), 1, "content was kept");
        assert_eq!(open(4).find(None).unwrap_err().code(), "backup_key");
        // One object is another's: found, and named.
        let place = Place::open("s3://backups/backups").unwrap();
        let objects = place.list("1/objects/").unwrap();
        let (victim, _) = objects.iter().find(|(_, octets)| *octets > 100_000).unwrap();
        let mut octets = Vec::new();
        place.get(victim).unwrap().read_to_end(&mut octets).unwrap();
        octets[70_000] ^= 1;
        place.remove(victim).unwrap();
        place.put_new(victim, &mut octets.as_slice()).unwrap();
        let error = backups.verify(&last, &mut |_| ()).unwrap_err();
        assert_eq!(error.code(), "backup_damaged");
        assert!(error.to_string().contains(victim), "{error}");
    });
}

const COLUMN: [u8; 6] = [1, 0, 1, 8, 0, 255];
/// January to March 2024.
const MONTHS: [i32; 3] = [648, 649, 650];
const WAIT: Duration = Duration::from_secs(60);

fn open(dir: &Path) -> Segments {
    Segments::open(dir, &Config::for_test(dir), &Metrics::unregistered()).unwrap()
}

fn month(number: i32) -> MonthKey {
    MonthKey { interval_minutes: 15, shard: 0, month: number }
}

/// Three folded months of 70 meters, a day each; the folds have the indexes 3, 6, 9.
fn three_months(segments: &Segments) {
    for (index, number) in (1..).step_by(3).zip(MONTHS) {
        let day = first_day(number).unwrap();
        for meter in 0..70_u32 {
            for slot in 1..=96 {
                let end_s = i64::from(day) * 86_400 + slot * 900;
                let value = i64::from(number) * 1000 + slot * i64::from(meter);
                let row = Row { ordinal: meter, end_s, flag: 0, values: &[Some(value)] };
                segments.merge(index, 15, &[COLUMN], &[row]).unwrap();
            }
        }
        let key = DayKey { interval_minutes: 15, shard: 0, day };
        assert!(segments.seal(index + 1, key, RECIPE_DAY).unwrap());
        assert!(segments.compact(index + 2, month(month_of(day)), RECIPE_MONTH).unwrap());
    }
    segments.settle(WAIT).unwrap();
}

fn all_values(segments: &Segments) -> Vec<Vec<Point>> {
    let all: Vec<u32> = (0..70).collect();
    let found = segments.query_many(15, &all, COLUMN, (0, i64::MAX)).unwrap();
    let alone = segments.query(15, 69, COLUMN, 0, i64::MAX).unwrap();
    assert_eq!(found.last(), Some(&alone));
    found
}

/// Names of the month files in a folder and in its cache.
fn month_files(dir: &Path) -> (Vec<String>, Vec<String>) {
    let names = |dir: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(dir).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".parquet")).collect()
    };
    (names(&dir.join("lp15/shard-00000")), names(&dir.join("cold")))
}

/// Waits until the local month files are gone.
fn let_go(dir: &Path) {
    let until = Instant::now() + WAIT;
    while !month_files(dir).0.is_empty() {
        assert!(Instant::now() < until, "{:?}", month_files(dir));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn cold_months_are_read_from_an_object_store() {
    with_server("cold_months_are_read_from_an_object_store", || {
        let dir = tempfile::tempdir().unwrap();
        let (here, there) = (dir.path().join("here"), dir.path().join("there"));
        let segments = open(&here);
        three_months(&segments);
        let before = all_values(&segments);
        assert_eq!(before[3].len(), 3 * 96);
        // Room for two of the three files: what was used longest ago goes.
        let room = segments.entries().iter().map(|entry| entry.octets).max().unwrap() * 5 / 2;
        segments.set_archive("s3://backups/months", room).unwrap();
        let folds = [3, 6, 9];
        let copy = |(number, index)| segments.archive(month(number), index).unwrap();
        let entries: Vec<Entry> = MONTHS.into_iter().zip(folds).map(copy).collect();
        let again: Vec<Entry> = MONTHS.into_iter().zip(folds).map(copy).collect();
        assert_eq!(entries, again, "what is there already is read back and left alone");
        let place = Place::open("s3://backups/months").unwrap();
        let objects = place.list("").unwrap();
        assert_eq!(objects.len(), 3, "{objects:?}");
        assert_eq!(segments.cool(&entries).unwrap(), Vec::<String>::new());
        let_go(&here);
        assert!(segments.entries().is_empty(), "the data folder names no month file");
        for _ in 0..2 {
            assert!(all_values(&segments) == before, "read back from the store");
            assert_eq!(month_files(&here).1.len(), 2, "the cache is bounded");
        }
        // A node that never had them answers the same, and so does one that starts again.
        let other = open(&there);
        other.set_archive("s3://backups/months", room).unwrap();
        other.cool(&entries).unwrap();
        assert!(all_values(&other) == before, "a new node");
        segments.stop();
        drop(segments);
        std::fs::remove_dir_all(here.join("cold")).unwrap();
        let segments = open(&here);
        segments.set_archive("s3://backups/months", room).unwrap();
        segments.cool(&entries).unwrap();
        assert!(all_values(&segments) == before, "after a restart with an empty cache");
        lost_and_spoilt(&place, &entries, &segments, &there);
        assert!(all_values(&segments) == before, "healed");
        for (number, entry) in MONTHS.into_iter().zip(&entries) {
            segments.forget(month(number), 100).unwrap();
            segments.remove_archived(entry).unwrap();
        }
        assert_eq!(place.list("").unwrap(), []);
        assert!(all_values(&segments).iter().all(Vec::is_empty), "forgotten");
    });
}

/// What the store lost or changed is refused by name, and served again when it is back.
fn lost_and_spoilt(place: &Place, entries: &[Entry], segments: &Segments, other: &Path) {
    let objects = place.list("").unwrap();
    let (name, _) = objects.iter().find(|(name, _)| name.contains("2024-01")).unwrap();
    let mut whole = Vec::new();
    place.get(name).unwrap().read_to_end(&mut whole).unwrap();
    assert_eq!(whole.len() as u64, entries[0].octets);
    // A node that has nothing of it in its cache.
    std::fs::remove_dir_all(other).unwrap();
    let empty = open(other);
    empty.set_archive("s3://backups/months", 0).unwrap();
    empty.cool(entries).unwrap();
    let january = |segments: &Segments| {
        let to_s = i64::from(first_day(MONTHS[1]).unwrap()) * 86_400;
        segments.query(15, 1, COLUMN, 0, to_s)
    };
    let mut spoilt = whole.clone();
    spoilt[100] ^= 1;
    for (octets, code) in [(Some(spoilt), "archive_damaged"), (None, "not_found")] {
        place.remove(name).unwrap();
        if let Some(octets) = octets {
            place.put_new(name, &mut octets.as_slice()).unwrap();
        }
        let error = january(&empty).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.report().contains(name), "{}", error.report());
        assert_eq!(month_files(other).1, Vec::<String>::new(), "nothing stays in the cache");
    }
    place.put_new(name, &mut whole.as_slice()).unwrap();
    assert_eq!(january(&empty).unwrap(), january(segments).unwrap());
}
