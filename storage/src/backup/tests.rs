//! Chains, catalogues and damage, against a folder.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::{Kind, OperatorKey, Origin, Record, Repository};
use crate::error::{Error, Result};

fn open(dir: &Path, key: Option<u8>) -> Repository {
    let key = key.map(|octet| OperatorKey::new([octet; 32]));
    Repository::open(dir.to_str().unwrap(), key).unwrap()
}

/// A file's octets by its name: a few pieces long.
fn content(name: &str) -> Vec<u8> {
    name.bytes().cycle().take(name.len() * 20_000).collect()
}

fn take(repository: &Repository, id: &str, kind: Kind, names: &[&str]) -> Result<Record> {
    let mut session = repository.begin(id, kind)?;
    for name in names {
        let octets = content(name);
        let hash = *blake3::hash(&octets).as_bytes();
        let length = octets.len() as u64;
        session.add(name, length, &hash, || Ok(Box::new(std::io::Cursor::new(octets))))?;
    }
    let origin = Origin { index: names.len() as u64, ..Origin::default() };
    session.finish(format!("manifest of {id}").as_bytes(), origin)
}

fn good(repository: &Repository, record: &Record) {
    let mut heard = 0;
    repository.verify(record, &mut |_| heard += 1).unwrap();
    assert_eq!(heard, record.files.len() + 1);
    for file in &record.files {
        let mut octets = Vec::new();
        let mut piece = |piece: &[u8]| {
            octets.extend_from_slice(piece);
            Ok(())
        };
        repository.read(record, file, &mut piece).unwrap();
        assert_eq!(octets, content(&file.name));
    }
    let expect = format!("manifest of {}", record.id);
    assert_eq!(repository.manifest(record).unwrap(), expect.as_bytes());
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

#[test]
fn an_incremental_backup_stores_what_the_chain_lacks() {
    for key in [None, Some(7)] {
        let dir = tempfile::tempdir().unwrap();
        let backups = open(dir.path(), key);
        let first = take(&backups, "1", Kind::Incremental, &["a", "bb"]).unwrap();
        assert_eq!(first.kind, Kind::Full, "there was no chain to add to");
        let second = take(&backups, "2", Kind::Incremental, &["a", "bb", "ccc"]).unwrap();
        assert_eq!((second.kind, second.base.as_deref()), (Kind::Incremental, Some("1")));
        let new: Vec<bool> = second.files.iter().map(|file| file.new).collect();
        assert_eq!(new, [false, false, true]);
        let third = take(&backups, "3", Kind::Incremental, &["a", "ccc", "dddd"]).unwrap();
        assert_eq!((third.chain.as_str(), third.base.as_deref()), ("1", Some("2")));
        let listed = backups.list().unwrap();
        let listed: Vec<&Record> = listed.iter().map(|one| one.record.as_ref().unwrap()).collect();
        assert_eq!(listed, [&first, &second, &third]);
        assert_eq!(backups.find(None).unwrap(), third);
        for record in [&first, &second, &third] {
            good(&backups, record);
        }
        let full = take(&backups, "4", Kind::Full, &["a"]).unwrap();
        assert!(full.files.iter().all(|file| file.new), "a full backup stands alone");
        assert_eq!(take(&backups, "4", Kind::Full, &[]).unwrap_err().code(), "backup_exists");
    }
}

#[test]
fn nothing_readable_is_stored_under_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let record = take(&open(dir.path(), Some(7)), "1", Kind::Full, &["secret"]).unwrap();
    let hash = record.files[0].hash.clone();
    for path in files(dir.path()) {
        let octets = fs::read(&path).unwrap();
        let holds = |what: &[u8]| octets.windows(what.len()).any(|window| window == what);
        assert!(!holds(b"secret") && !holds(hash.as_bytes()), "{}", path.display());
        assert!(!path.to_str().unwrap().contains(&hash), "a name tells the content");
    }
}

#[test]
fn a_wrong_key_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let record = take(&open(dir.path(), Some(7)), "1", Kind::Full, &["a"]).unwrap();
    let before = files(dir.path());
    for key in [Some(8), None] {
        let other = open(dir.path(), key);
        assert_eq!(other.find(None).unwrap_err().code(), "backup_key");
        assert_eq!(other.verify(&record, &mut |_| ()).unwrap_err().code(), "backup_key");
        assert_eq!(take(&other, "2", Kind::Incremental, &[]).unwrap_err().code(), "backup_key");
        assert!(other.list().unwrap()[0].record.as_ref().unwrap_err().contains("backup_key"));
    }
    assert_eq!(files(dir.path()), before);
    let plain = tempfile::tempdir().unwrap();
    take(&open(plain.path(), None), "1", Kind::Full, &["a"]).unwrap();
    let keyed = open(plain.path(), Some(7));
    assert_eq!(take(&keyed, "2", Kind::Incremental, &[]).unwrap_err().code(), "backup_key");
}

/// Whether a backup is refused, with the file that is to blame.
fn refused(backups: &Repository, record: &Record) -> Error {
    let found = backups.find(Some(&record.id));
    found.and_then(|record| backups.verify(&record, &mut |_| ())).unwrap_err()
}

#[test]
fn one_flipped_octet_in_any_file_is_found_and_the_file_named() {
    for key in [None, Some(7)] {
        let dir = tempfile::tempdir().unwrap();
        let backups = open(dir.path(), key);
        let record = take(&backups, "1", Kind::Full, &["a", "bb", "ccc"]).unwrap();
        let all = files(dir.path());
        assert_eq!(all.len(), 6, "head, record, manifest, three files");
        for path in all {
            let whole = fs::read(&path).unwrap();
            for at in [0, whole.len() / 2, whole.len() - 1] {
                let mut octets = whole.clone();
                octets[at] ^= 0x10;
                fs::write(&path, octets).unwrap();
                let error = refused(&backups, &record);
                assert_eq!(error.code(), "backup_damaged", "{error}");
                assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
            }
            fs::write(&path, whole).unwrap();
        }
        good(&backups, &record);
    }
}

#[test]
fn a_missing_cut_or_swapped_file_is_found() {
    for key in [None, Some(7)] {
        let dir = tempfile::tempdir().unwrap();
        let backups = open(dir.path(), key);
        let record = take(&backups, "1", Kind::Full, &["xyz", "abc"]).unwrap();
        let is_object = |path: &PathBuf| path.to_str().unwrap().contains("/objects/");
        let objects: Vec<PathBuf> = files(dir.path()).into_iter().filter(is_object).collect();
        for path in &objects {
            let whole = fs::read(path).unwrap();
            fs::write(path, &whole[..whole.len() - 1]).unwrap();
            assert!(backups.list().unwrap()[0].record.is_err(), "listed as complete");
            assert_eq!(refused(&backups, &record).code(), "backup_damaged");
            fs::remove_file(path).unwrap();
            assert!(backups.list().unwrap()[0].record.is_err(), "listed as complete");
            assert_eq!(refused(&backups, &record).code(), "backup_damaged");
            fs::write(path, whole).unwrap();
        }
        good(&backups, &record);
        // Two files of one size in each other's place.
        let mut same = objects.iter().filter(|path| fs::metadata(path).unwrap().len() > 9000);
        let (one, two) = (same.next().unwrap(), same.next().unwrap());
        let (first, second) = (fs::read(one).unwrap(), fs::read(two).unwrap());
        assert_eq!(first.len(), second.len());
        fs::write(one, &second).unwrap();
        fs::write(two, &first).unwrap();
        assert_eq!(refused(&backups, &record).code(), "backup_damaged");
    }
}

#[test]
fn a_record_under_another_name_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let backups = open(dir.path(), None);
    take(&backups, "1", Kind::Full, &["a"]).unwrap();
    let second = take(&backups, "2", Kind::Incremental, &["a", "b"]).unwrap();
    let path = |id: &str| dir.path().join("1/backups").join(id);
    fs::copy(path("1"), path("2")).unwrap();
    assert_eq!(refused(&backups, &second).code(), "backup_damaged");
}

/// A source that breaks after so many octets, as a killed backup does.
struct Breaks {
    octets: Vec<u8>,
    left: usize,
}

impl Read for Breaks {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 {
            return Err(std::io::Error::other("the node went away"));
        }
        let count = into.len().min(self.left).min(self.octets.len());
        for (to, from) in into.iter_mut().zip(self.octets.drain(..count)) {
            *to = from;
        }
        self.left -= count;
        Ok(count)
    }
}

#[test]
fn a_backup_that_was_cut_short_is_not_in_the_catalogue_and_hinders_nobody() {
    for key in [None, Some(7)] {
        let dir = tempfile::tempdir().unwrap();
        let backups = open(dir.path(), key);
        let name = "abcdefgh";
        let hash = *blake3::hash(&content(name)).as_bytes();
        for (cut, id) in [(1, "1"), (70_000, "2"), (159_999, "3")] {
            let mut session = backups.begin(id, Kind::Incremental).unwrap();
            let source = || {
                let octets = content(name);
                Ok(Box::new(Breaks { octets, left: cut }) as Box<dyn Read>)
            };
            assert!(session.add(name, 160_000, &hash, source).is_err(), "{cut}");
            drop(session);
            assert!(backups.list().unwrap().is_empty(), "cut at {cut}");
            assert_eq!(backups.find(None).unwrap_err().code(), "backup_unknown");
        }
        let record = take(&backups, "4", Kind::Full, &[name]).unwrap();
        good(&backups, &record);
        // The source is not what the manifest said.
        let mut session = backups.begin("5", Kind::Full).unwrap();
        let other = || Ok(Box::new(std::io::Cursor::new(vec![0_u8; 160_000])) as Box<dyn Read>);
        let error = session.add(name, 160_000, &hash, other).unwrap_err();
        assert_eq!(error.code(), "backup_source");
        assert_eq!(backups.list().unwrap().len(), 1);
    }
}

#[test]
fn old_chains_go_and_foreign_files_stay() {
    let dir = tempfile::tempdir().unwrap();
    let backups = open(dir.path(), None);
    for (id, kind) in [
        ("1", Kind::Full),
        ("2", Kind::Incremental),
        ("3", Kind::Full),
        ("4", Kind::Incremental),
        ("5", Kind::Full),
    ] {
        take(&backups, id, kind, &["a", id]).unwrap();
    }
    fs::write(dir.path().join("1/notes.txt"), "mine").unwrap();
    assert_eq!(backups.prune(0).unwrap_err().code(), "backup_keep");
    assert!(backups.prune(3).unwrap().is_empty());
    assert_eq!(backups.prune(2).unwrap(), ["1"]);
    let left: Vec<String> = backups.list().unwrap().into_iter().map(|one| one.id).collect();
    assert_eq!(left, ["3", "4", "5"]);
    for id in &left {
        good(&backups, &backups.find(Some(id)).unwrap());
    }
    assert_eq!(fs::read(dir.path().join("1/notes.txt")).unwrap(), b"mine");
    assert!(!dir.path().join("1/objects").exists());
}
