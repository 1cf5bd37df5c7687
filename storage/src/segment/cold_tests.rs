//! Months in an archive: copied once, read back, let go, fetched again, forgotten.

use std::fs;
use std::path::{Path, PathBuf};

use super::month_tests::{WAIT, answers, february, fold, month, open, put, seal, until};
use super::{LEVEL_MONTH, Segments};

fn archive_of(segments: &Segments, place: &Path) {
    segments.set_archive(place.to_str().unwrap(), 1 << 20).unwrap();
}

/// A folded February with its entry's index.
fn folded(dir: &Path) -> Segments {
    let segments = open(dir);
    february(&segments, &|_, _| {});
    fold(&segments, 20);
    segments.settle(WAIT).unwrap();
    segments
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

fn local(dir: &Path) -> usize {
    files(dir).iter().filter(|path| path.extension().is_some_and(|kind| kind == "parquet")).count()
}

#[test]
fn a_cold_month_answers_as_before_on_every_node() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("archive");
    let (one, two) = (folded(&dir.path().join("one")), folded(&dir.path().join("two")));
    let before = answers(&one);
    assert_eq!(one.archive(month(15), 20).unwrap_err().code(), "archive_unset");
    archive_of(&one, &place);
    archive_of(&two, &place);
    assert_eq!(one.archive(month(15), 19).unwrap_err().code(), "segment_unknown");
    let entries: Vec<_> = [15, 0].map(|minutes| one.archive(month(minutes), 20).unwrap()).to_vec();
    assert_eq!(files(&place).len(), 2);
    assert_eq!(two.archive(month(15), 20).unwrap(), entries[0], "the same file is there already");
    assert_eq!(files(&place).len(), 2);
    let digest = two.digest();
    for (segments, name) in [(&one, "one"), (&two, "two")] {
        assert_eq!(segments.cool(&entries).unwrap(), Vec::<String>::new());
        assert!(segments.entries().iter().all(|entry| entry.level != LEVEL_MONTH));
        let dir = dir.path().join(name);
        until("local files go", || local(&dir) == 0);
        assert_eq!(answers(segments), before);
        assert_eq!(local(&dir), 2, "what was asked for is held");
        assert_eq!(segments.cool(&entries).unwrap(), Vec::<String>::new(), "again is nothing");
    }
    assert_eq!(two.digest(), digest, "a month is the same month wherever its file lies");
    // Late rows stand beside a cold month as beside a warm one.
    put(&one, 30, 0, 7, [Some(99), None]);
    let found = one.query(15, 0, [1, 0, 1, 8, 0, 255], 0, i64::MAX).unwrap();
    assert!(found.iter().any(|point| point.beside && point.value == 99));
    // After a restart the months are told anew, and the cache serves.
    two.stop();
    drop(two);
    fs::remove_dir_all(&place).unwrap();
    let two = open(&dir.path().join("two"));
    archive_of(&two, &place);
    two.cool(&entries).unwrap();
    assert_eq!(answers(&two), before);
}

#[test]
fn what_the_archive_lost_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("archive");
    let segments = folded(&dir.path().join("data"));
    archive_of(&segments, &place);
    let entry = segments.archive(month(15), 20).unwrap();
    segments.cool(&[entry]).unwrap();
    let file = files(&place).remove(0);
    let whole = fs::read(&file).unwrap();
    let ask = || segments.query(15, 0, [1, 0, 1, 8, 0, 255], 0, i64::MAX);
    let mut wrong = whole.clone();
    wrong[100] ^= 1;
    let cache = dir.path().join("data/cold");
    fs::write(&file, wrong).unwrap();
    let error = ask().unwrap_err();
    assert_eq!(error.code(), "archive_damaged");
    assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
    assert_eq!(files(&cache), Vec::<PathBuf>::new());
    fs::remove_file(&file).unwrap();
    assert_eq!(ask().unwrap_err().code(), "not_found");
    // A folder opens as a file does and cannot be read: the copy breaks off.
    fs::create_dir(&file).unwrap();
    let error = ask().unwrap_err();
    assert!(error.to_string().contains("fetch"), "{error}");
    assert_eq!(files(&cache), Vec::<PathBuf>::new(), "half a file stayed behind");
    fs::remove_dir(&file).unwrap();
    fs::write(&file, whole).unwrap();
    assert!(!ask().unwrap().is_empty());
    let other = folded(&dir.path().join("other"));
    other.cool(&other.entries()).unwrap();
    assert!(other.entries().iter().any(|entry| entry.level == LEVEL_MONTH), "nothing goes");
}

#[test]
fn a_copy_that_is_not_what_was_archived_lets_nothing_go() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("archive");
    let segments = folded(&dir.path().join("data"));
    archive_of(&segments, &place);
    let entry = segments.archive(month(15), 20).unwrap();
    let file = files(&place).remove(0);
    fs::write(&file, b"another file of this name").unwrap();
    assert_eq!(segments.archive(month(15), 20).unwrap_err().code(), "archive_damaged");
    let unlike = super::Entry { content_hash: [7; 32], ..entry.clone() };
    assert_eq!(segments.cool(&[unlike]).unwrap(), [entry.name()], "told, and kept");
    assert!(segments.entries().iter().any(|known| known.same(&entry)));
}

#[test]
fn a_forgotten_month_is_gone_with_all_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let (data, place) = (dir.path().join("data"), dir.path().join("archive"));
    let segments = folded(&data);
    archive_of(&segments, &place);
    let entry = segments.archive(month(15), 20).unwrap();
    segments.cool(std::slice::from_ref(&entry)).unwrap();
    put(&segments, 30, 0, 8, [Some(1), None]);
    assert!(!segments.forget(month(15), 20).unwrap(), "sealed by that entry, not before it");
    assert!(segments.forget(month(0), 21).unwrap());
    segments.forget(month(15), 21).unwrap();
    segments.remove_archived(&entry).unwrap();
    segments.remove_archived(&entry).unwrap();
    assert_eq!(files(&place), Vec::<PathBuf>::new());
    let found = segments.query(15, 0, [1, 0, 1, 8, 0, 255], 0, i64::MAX).unwrap();
    assert_eq!(found.len(), 1, "what came later is still there");
    assert_eq!(segments.query(0, 64, [1, 0, 1, 8, 0, 255], 0, i64::MAX).unwrap(), []);
    until("files go", || local(&data) == 0);
}

#[test]
fn a_digest_in_pages_is_the_whole_one() {
    let dir = tempfile::tempdir().unwrap();
    let segments = open(&dir.path().join("data"));
    archive_of(&segments, &dir.path().join("archive"));
    let agrees = |lines: usize| {
        let whole = segments.digest().sealed;
        assert_eq!(whole.len(), lines);
        for limit in 1..=lines + 1 {
            let mut paged = Vec::new();
            loop {
                let after = paged.last().map(super::Sealed::place);
                let page = segments.digest_after(after, limit);
                assert!(page.len() <= limit);
                if page.is_empty() {
                    break;
                }
                paged.extend(page);
            }
            assert_eq!(paged, whole, "pages of {limit}");
        }
    };
    agrees(0);
    february(&segments, &|_, _| {});
    segments.settle(WAIT).unwrap();
    // Four days, the first of them twice, of both intervals.
    agrees(10);
    fold(&segments, 20);
    put(&segments, 30, 0, 7, [Some(99), None]);
    seal(&segments, 31, 15, super::month_tests::FIRST);
    segments.settle(WAIT).unwrap();
    agrees(3);
    let entries = [15, 0].map(|minutes| segments.archive(month(minutes), 20).unwrap());
    segments.cool(&entries).unwrap();
    agrees(3);
}
